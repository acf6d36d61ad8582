"""What a verifier knows of revocations: what they cover, and for how long they are remembered."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netra_auth import Method, Principal, Role, SessionId, TenantId, TokenId, UserId
from netra_auth.revocation import Revocation, RevocationSet, Revoked

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIFETIME, MOMENT = timedelta(minutes=10), timedelta(microseconds=1)
MINUTES = st.integers(0, 60)
REVOCATIONS = st.builds(
    lambda what, subject, minute: Revocation(
        what=what, subject=subject, at=NOON + minute * 6 * MOMENT, until=NOON + minute * 6 * MOMENT + LIFETIME
    ),
    st.sampled_from(Revoked), st.sampled_from("ab"), MINUTES,
)  # fmt: skip


def of_alice(at: datetime) -> Revocation:
    """The revocation of a user."""
    return Revocation(what=Revoked.USER, subject="a", at=at, until=at + LIFETIME)


def principal(user: str, session: str, token: str, issued_at: datetime) -> Principal:
    """Whom a token speaks for."""
    return Principal(
        user=UserId(user), tenant=TenantId("acme"), session=SessionId(session), token=TokenId(token),
        roles=frozenset({Role.ADMIN}), methods=frozenset({Method.PASSWORD}), authenticated_at=NOON,
        issued_at=issued_at, expires_at=issued_at + LIFETIME,
    )  # fmt: skip


@example(made=[of_alice(NOON), of_alice(NOON + 9 * MOMENT)], issued=5, names=("a", "b", "c"))
@given(
    made=st.lists(REVOCATIONS, max_size=8),
    issued=st.integers(0, 400),
    names=st.tuples(*[st.sampled_from("abc")] * 3),
)
def test_a_token_is_covered_by_what_revokes_it_and_nothing_else(
    made: list[Revocation], issued: int, names: tuple[str, str, str]
) -> None:
    """In whichever order and however often revocations are told, the answer is that of the rule."""
    user, session, token = names
    whom = principal(user, session, token, NOON + issued * MOMENT)
    known = RevocationSet()

    for revocation in [*made, *reversed(made)]:
        known.add(revocation)

    assert known.covers(whom) is any(
        (one.what, one.subject) in {(Revoked.TOKEN, token), (Revoked.SESSION, session)}
        or ((one.what, one.subject) == (Revoked.USER, user) and whom.issued_at <= one.at)
        for one in made
    )


@pytest.mark.parametrize("what", Revoked)
def test_a_revocation_is_forgotten_once_it_covers_nothing(what: Revoked) -> None:
    """Memory holds what was revoked within the life of a token, and no more."""
    known = RevocationSet()
    whom = principal("a", "a", "a", NOON)
    known.add(Revocation(what=what, subject="a", at=NOON, until=NOON + LIFETIME))

    known.forget(NOON + LIFETIME - MOMENT)
    assert known.covers(whom)
    known.forget(NOON + LIFETIME)

    assert len(known) == 0
    assert not known.covers(whom)
