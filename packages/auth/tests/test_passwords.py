"""A password that is easy to guess can't be set, and one that was stolen from the store is costly to find."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from netra_auth import PasswordFault, PasswordPolicy, PasswordRefused, SecretListMissing, passwords
from netra_auth.email import normalised
from netra_fixtures.data import ThirdPartyData

ALICE = normalised("alice.liddell@example.com")
PLAIN = PasswordPolicy(blocklist={"Wonderland"}, rounds=100_000)
MANY_ROUNDS = 1_000_000


def refused(policy: PasswordPolicy, password: str) -> PasswordFault | None:
    """Ask the policy about a password of Alice's."""
    try:
        policy.check(SecretStr(password), ALICE)
    except PasswordRefused as error:
        return error.fault
    return None


FAULTY = {
    "empty": ("", PasswordFault.TOO_SHORT),
    "seven letters": ("seven77", PasswordFault.TOO_SHORT),
    "seven letters of two parts each": ("a\u0308" * 7, PasswordFault.TOO_SHORT),
    "one letter too many": ("x" * 257, PasswordFault.TOO_LONG),
    "huge": ("x" * 1_000_000, PasswordFault.TOO_LONG),
    "listed, in another case": ("wONDERLAND", PasswordFault.COMMON),
    "listed, in another width": ("\N{FULLWIDTH LATIN CAPITAL LETTER W}onderland", PasswordFault.COMMON),
    "the e-mail": ("Alice.Liddell@EXAMPLE.com", PasswordFault.OWN_EMAIL),
    "its local part": ("alice.LIDDELL", PasswordFault.OWN_EMAIL),
    "NUL": ("down the\x00rabbit hole", PasswordFault.UNUSABLE),
    "a lone surrogate": ("down the \ud800 hole", PasswordFault.UNUSABLE),
    "no character": ("down the \uffff hole", PasswordFault.UNUSABLE),
}


@pytest.mark.parametrize(("password", "fault"), FAULTY.values(), ids=FAULTY.keys())
def test_a_password_is_refused_with_its_fault(password: str, fault: PasswordFault) -> None:
    """A user is told what is wrong with the password they wanted, and it is not shown."""
    with pytest.raises(PasswordRefused) as refusal:
        PLAIN.check(SecretStr(password), ALICE)

    assert refusal.value.fault is fault
    assert str(refusal.value) == str(PasswordRefused(fault))


@pytest.mark.parametrize(
    "password",
    [
        "rabbitho",
        "        8 blanks",
        "x" * 256,
        "a\u0308" * 256,
        "\u200fright to left",
        "pässwörter",
        "🐇🕳🎩🐛🍄🃏👑🫖",
    ],
)
def test_any_composition_is_good(password: str) -> None:
    """Nobody has to find a digit and a sign; any language, blanks and emoji will do."""
    assert refused(PLAIN, password) is None


def test_fewer_than_100_000_rounds_are_a_mistake() -> None:
    """A setting that would make stolen passwords cheap to guess stops the start."""
    with pytest.raises(ValueError, match="rounds"):
        PasswordPolicy(rounds=99_999)

    assert PasswordPolicy().rounds == 600_000


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CR LF"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_blocklist_may_be_any_file(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    """A company brings its own list, in whatever form it has it."""
    file = tmp_path / "list"
    file.write_bytes(pack(ending.join(["first one", "Zweites Wort", "", "last one"]).encode()))

    policy = PasswordPolicy(blocklist=file)

    assert refused(policy, "zweites wort") is PasswordFault.COMMON
    assert refused(policy, "last one") is PasswordFault.COMMON
    assert refused(policy, "password123") is None


def test_a_blocklist_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    """Nobody learns at the first registration that the list was never there."""
    with pytest.raises(SecretListMissing):
        PasswordPolicy(blocklist=tmp_path / "missing")


def test_common_passwords_are_refused(third_party_data: ThirdPartyData) -> None:
    """Each password of a published list of those that everybody tries is refused."""
    default = PasswordPolicy()

    for file in third_party_data.files("auth-vectors", "common_passwords.txt.gz"):
        lines = gzip.decompress(file.read_bytes()).split(b"\n")
        words = [line.rstrip(b"\r").decode() for line in lines if line]
        third_party_data.read(file, cases=len(words))
        given_alone = PasswordPolicy(blocklist=file)
        for word in words:
            assert refused(default, word) is not None
            assert refused(given_alone, word.upper()) is not None


def test_a_password_fits_however_its_letters_are_composed() -> None:
    """A password set on a phone opens the account on a desk."""
    stored = passwords.hashed(passwords.normalised(SecretStr("zoe\u0308 and ame\u0301lie")), 100_000)

    assert passwords.verified(passwords.normalised(SecretStr("zo\u00eb and am\u00e9lie")), stored, 100_000)
    assert not passwords.verified(passwords.normalised(SecretStr("zoe and amelie")), stored, 100_000)


@pytest.mark.parametrize("stored_with", [None, 100_000, 120_000])
def test_a_wrong_password_costs_the_same_however_the_right_one_is_stored(stored_with: int | None) -> None:
    """How long a refusal takes tells neither that there is an account nor how old it is."""
    spent: list[int] = []

    def counted(password: bytes, salt: bytes, rounds: int) -> bytes:
        spent.append(rounds)
        return passwords.derived(password, salt, rounds)

    stored = None if stored_with is None else passwords.hashed(b"rabbit hole", stored_with)

    assert not passwords.verified(b"looking glass", stored, 120_000, derive=counted)

    assert sum(spent) == 120_000


def test_what_is_stored_says_how_it_was_made_and_never_twice_the_same() -> None:
    """Two users with one password can't be told from the store, and old rounds can be raised one by one."""
    first, second = (passwords.hashed(b"rabbit hole", 100_000) for _ in range(2))

    assert first != second
    assert len(passwords.parsed(first).salt) >= 16
    assert str(passwords.parsed(first)) == first
    assert passwords.needs_rehash(first, 100_001)
    assert not passwords.needs_rehash(first, 100_000)


@given(st.text(st.sampled_from("$=i019aA+/-\x00é\ud800")))
def test_no_text_is_taken_for_a_stored_password(text: str) -> None:
    """A damaged row is named as such, and what is left of a secret in it is not shown."""
    with pytest.raises(ValueError, match="can't be read") as unreadable:
        passwords.parsed(text)

    assert str(unreadable.value).startswith("a stored password can't be read; ")


@pytest.mark.parametrize(
    "few",
    [pytest.param(True, id="usual rounds"), pytest.param(False, id="many rounds", marks=pytest.mark.soak)],
)
def test_published_vectors_of_pbkdf2_hold(third_party_data: ThirdPartyData, *, few: bool) -> None:
    """The function that passwords rest on is the one that the standard means."""
    for file in third_party_data.files("auth-vectors", "wycheproof/pbkdf2_*_test.json"):
        suite = json.loads(file.read_text(encoding="utf-8"))
        cases = [case for case in _cases(suite) if (case["iterationCount"] <= MANY_ROUNDS) is few]
        third_party_data.read(file, cases=len(cases))
        name = suite["algorithm"].removeprefix("PBKDF2-HMAC").lower()
        for case in cases:
            password, salt, expected = (bytes.fromhex(case[key]) for key in ("password", "salt", "dk"))
            rounds, valid = case["iterationCount"], case["result"] == "valid"

            found = hashlib.pbkdf2_hmac(name, password, salt, rounds, case["dkLen"])

            assert (found == expected) is valid, case["tcId"]
            if name == "sha256":
                ours = passwords.derived(password, salt, rounds)
                assert (ours[: case["dkLen"]] == expected[: len(ours)]) is valid, case["tcId"]


def _cases(suite: dict[str, list[dict[str, list[dict[str, object]]]]]) -> Iterable[dict[str, object]]:
    return [case for group in suite["testGroups"] for case in group["tests"]]
