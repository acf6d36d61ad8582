"""A code shows that the phone is at hand now: it fits the moment, and almost no other."""

import csv

from hypothesis import given
from hypothesis import strategies as st

from netra_auth import Hash, Totp
from netra_fixtures.data import ThirdPartyData

PLANS = st.builds(
    Totp,
    hash=st.sampled_from(Hash),
    digits=st.integers(6, 8),
    step_seconds=st.integers(1, 300),
    drift_steps=st.integers(0, 10),
)
SECRETS = st.binary(min_size=16, max_size=64)


def test_published_codes_are_made_and_matched(third_party_data: ThirdPartyData) -> None:
    """Our codes are those of every authenticator app."""
    for file in third_party_data.files("auth-vectors", "rfc6238_totp.csv"):
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        third_party_data.read(file, cases=len(rows))
        for row in rows:
            totp = Totp(
                hash=Hash(row["algorithm"]),
                digits=int(row["digits"]),
                step_seconds=int(row["step_seconds"]),
                drift_steps=0,
            )
            secret, at = row["secret_ascii"].encode(), int(row["unix_time"])

            assert totp.code(secret, totp.step(at)) == row["totp"]
            assert totp.matched(secret, row["totp"], at) == totp.step(at)


@given(PLANS, SECRETS, st.integers(0, 10**10), st.integers(-400, 400))
def test_a_code_fits_as_many_steps_off_as_the_drift_allows(
    totp: Totp, secret: bytes, at: int, apart: int
) -> None:
    """A phone whose clock is a little off still works, and one far off does not."""
    step = totp.step(at)
    made = step + apart // 20
    code = totp.code(secret, max(made, 0))
    near = range(max(0, step - totp.drift_steps), step + totp.drift_steps + 1)

    matched = totp.matched(secret, code, at)

    fits = [one for one in near if totp.code(secret, one) == code]
    assert matched == (fits[-1] if fits else None)
    assert (matched is not None) or max(made, 0) not in near


DIGITS = st.text(st.sampled_from("019\u00b2\u0663\U0001d7dc"), min_size=6, max_size=8)
TYPED = st.text(st.sampled_from("0123456789aA -+\x00\ud800"), max_size=10)


@given(PLANS, SECRETS, DIGITS | TYPED)
def test_what_is_no_code_fits_nothing(totp: Totp, secret: bytes, typed: str) -> None:
    """Letters, other scripts' digits and signs that make no text are wrong, and nothing worse."""
    expected = len(typed) == totp.digits and all(character in "0123456789" for character in typed)

    assert totp.looks_right(typed) is expected
    assert expected or totp.matched(secret, typed, 0) is None


def test_an_app_reads_the_same_from_the_picture() -> None:
    """The picture names issuer and account as they are, whatever signs they hold."""
    uri = Totp(hash=Hash.SHA256, digits=8).uri(b"0123456789", issuer="Netra & Co/1", name="a+b?@example.com")

    assert uri == (
        "otpauth://totp/Netra%20%26%20Co%2F1:a%2Bb%3F@example.com"
        "?secret=GAYTEMZUGU3DOOBZ&issuer=Netra%20%26%20Co%2F1&algorithm=SHA256&digits=8&period=30"
    )
