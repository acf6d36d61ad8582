"""One mailbox is one account, however its address is typed, and what is no address is never repeated."""

import json
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netra_auth import InvalidEmail
from netra_auth.email import local_part, normalised
from netra_fixtures.data import ThirdPartyData

BAD = {
    "empty": "",
    "no @": "alice.example.com",
    "two @": "alice@home@example.com",
    "a blank": "al ice@example.com",
    "a line break": "alice@example.com\n",
    "header splitting": "alice@example.com\r\nBcc: eve@example.com",
    "NUL": "ali\x00ce@example.com",
    "a right-to-left mark": "ali\u200fce@example.com",
    "a lone surrogate": "\ud800alice@example.com",
    "huge": "a" * 1_000_000 + "@example.com",
    "longer than mail allows": "a" * 60 + "@" + "b" * 200 + ".com",
    "a display name": "Alice <alice@example.com>",
    "an address of a machine": "alice@[192.0.2.7]",
}


@pytest.mark.parametrize(
    "typed",
    ["Alice@Example.COM", "ALICE@EXAMPLE.com", "alice@example.com"],
)
def test_case_makes_no_other_address(typed: str) -> None:
    """Somebody who holds down the shift key finds their account."""
    assert normalised(typed) == "alice@example.com"


def test_the_way_a_letter_is_composed_makes_no_other_address() -> None:
    """The same name typed on a phone and on a desk is the same account."""
    assert normalised("Zoe\u0308@B\u00fccher.example.com") == normalised("zo\u00eb@xn--bcher-kva.example.com")


@pytest.mark.parametrize("typed", BAD.values(), ids=BAD.keys())
def test_what_is_no_address_is_refused_and_not_repeated(typed: str) -> None:
    """What somebody typed into the wrong field, perhaps a password, is not shown to anybody."""
    with pytest.raises(InvalidEmail) as refused:
        normalised(typed)

    assert str(refused.value) == str(InvalidEmail())
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None or refused.value.__suppress_context__


@given(
    st.builds(
        "{}@{}.{}".format,
        st.text(
            st.sampled_from("aAzZ09.+-_E\u0301\u0130\u0131\u00df\u1e9e\u03a3\u03c2\u212a\ufb00"),
            min_size=1,
            max_size=12,
        ),
        st.text(st.sampled_from("aAzZ09-E\u0301\u00df\u03a3\u03c2"), min_size=1, max_size=12),
        st.sampled_from(["com", "COM", "\u0440\u0444", "xn--p1ai", "example.org"]),
    )
)
def test_a_normalised_address_is_its_own_normal_form(typed: str) -> None:
    """An account that is found once is found again by the address that is shown for it."""
    try:
        email = normalised(typed)
    except InvalidEmail:
        return

    assert normalised(email) == email
    assert email == unicodedata.normalize("NFC", email.lower())
    assert local_part(email) in email


def test_published_attack_strings_are_addresses_or_refused(third_party_data: ThirdPartyData) -> None:
    """Nothing that is known to break careless code gets past as anything but an address."""
    texts: list[str] = []
    for file in third_party_data.files("bad-inputs", "payloads/*.txt"):
        lines = file.read_bytes().decode("utf-8", "replace").split("\n")
        third_party_data.read(file, cases=len(lines))
        texts += lines
    for file in third_party_data.files("bad-inputs", "*.json"):
        strings = [text for text in json.loads(file.read_text(encoding="utf-8")) if isinstance(text, str)]
        third_party_data.read(file, cases=len(strings))
        texts += strings

    for text in texts:
        for typed in (text, f"{text}@example.com", f"alice@{text}"):
            with suppress(InvalidEmail):
                assert normalised(typed).count("@") == 1
