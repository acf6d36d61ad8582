"""The rules of sessions that need no store."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from netra_sessions import SessionPolicy, SessionToken
from netra_sessions.session import digest_of, encode_data, issue_token


def test_a_token_is_256_random_bits_and_never_shown() -> None:
    """What is logged by mistake opens nothing."""
    tokens = {issue_token().get_secret_value() for _ in range(100)}

    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {43}
    assert "x" * 43 not in repr(SessionToken("x" * 43)) + str(SessionToken("x" * 43))


def test_what_is_no_token_gets_a_digest_that_no_session_has() -> None:
    """A malformed token takes the way of an unknown one, and finds nothing there."""
    assert digest_of("x" * 43) == digest_of(SessionToken("x" * 43))
    assert digest_of("short") != digest_of("short")


@pytest.mark.parametrize(
    "lifetimes",
    [
        {"idle_lifetime": timedelta(0)},
        {"idle_lifetime": timedelta(days=31)},
        {"deadline": timedelta(seconds=-1)},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(lifetimes: dict[str, timedelta]) -> None:
    """A typing error in the settings shows at the start, not as users who are signed out."""
    with pytest.raises(ValidationError):
        SessionPolicy(**lifetimes)  # type: ignore[arg-type]


def test_data_too_deep_to_be_read_back_is_refused() -> None:
    """What one request may store must not break the next one."""
    deep: dict[str, object] = {}
    for _ in range(5_000):
        deep = {"a": deep}

    with pytest.raises(ValueError, match="session data"):
        encode_data(deep, limit_bytes=1_000_000)  # type: ignore[arg-type]
