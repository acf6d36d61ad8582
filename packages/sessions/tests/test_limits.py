"""A user has at most as many sessions as the policy allows, under any race."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from netra_fixtures import Goal, ManualClock, Tier, business_value
from netra_sessions import (
    EndReason,
    SessionEnded,
    SessionNotFound,
    SessionPolicy,
    Sessions,
    TooManySessions,
    UserId,
    WhenFull,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="a shared or stolen password cannot open sessions without end",
)

OpenSessions = Callable[..., Sessions]
ALICE, BOB = UserId("alice"), UserId("bob")
SLOW = timedelta(seconds=30)
OLDEST = SessionPolicy(limit_per_user=3, deadline=SLOW)
REFUSE = SessionPolicy(limit_per_user=3, deadline=SLOW, when_full=WhenFull.REFUSE)


async def test_the_oldest_session_makes_room(open_sessions: OpenSessions, clock: ManualClock) -> None:
    """Somebody with a new phone gets in, and the device signed in longest ago is signed out."""
    sessions = open_sessions(policy=OLDEST)
    issued = []
    for _ in range(4):
        clock.advance(timedelta(minutes=1))
        issued.append(await sessions.create(ALICE))

    with pytest.raises(SessionEnded) as refused:
        await sessions.validate(issued[0].token)

    assert refused.value.reason is EndReason.REPLACED
    assert [session.id for session in await sessions.list(ALICE)] == [one.session.id for one in issued[1:]]


async def test_a_full_user_is_refused_where_the_policy_says_so(open_sessions: OpenSessions) -> None:
    """Where contracts count seats, one seat too many is not given."""
    sessions = open_sessions(policy=REFUSE)
    issued = [await sessions.create(ALICE) for _ in range(3)]

    with pytest.raises(TooManySessions):
        await sessions.create(ALICE)

    await sessions.end(issued[1].token)
    assert (await sessions.create(ALICE)).session.user == ALICE


async def test_an_expired_session_takes_no_room(open_sessions: OpenSessions, clock: ManualClock) -> None:
    """A device forgotten for weeks does not keep its owner out, and one in use is not taken for forgotten."""
    sessions = open_sessions(policy=REFUSE)
    used, *_ = [await sessions.create(ALICE) for _ in range(3)]
    clock.advance(REFUSE.idle_lifetime * 0.2)
    await sessions.validate(used.token)
    clock.advance(REFUSE.idle_lifetime * 0.9)

    await sessions.create(ALICE)
    await sessions.create(ALICE)

    with pytest.raises(TooManySessions):
        await sessions.create(ALICE)
    assert (await sessions.validate(used.token)).id == used.session.id


@pytest.mark.parametrize("policy", [OLDEST, REFUSE], ids=["the oldest ends", "refused"])
async def test_sign_ins_at_once_never_exceed_the_limit(
    open_sessions: OpenSessions, policy: SessionPolicy
) -> None:
    """Thirty browsers that sign in in the same moment open three sessions, not thirty."""
    processes = [open_sessions(policy=policy) for _ in range(2)]

    results = await asyncio.gather(
        *(processes[n % 2].create(ALICE) for n in range(30)), return_exceptions=True
    )

    issued = [one for one in results if not isinstance(one, BaseException)]
    assert all(isinstance(one, TooManySessions) for one in results if one not in issued)
    assert len(issued) == (30 if policy is OLDEST else 3)
    assert len(await processes[0].list(ALICE)) == 3


async def test_ending_all_others_keeps_the_one_in_use(sessions: Sessions) -> None:
    """Somebody who lost a phone ends every session but the one they sit at, and nobody else's."""
    kept, lost, sold = [await sessions.create(ALICE) for _ in range(3)]
    other = await sessions.create(BOB)

    ended = await sessions.end_others(kept.token)

    assert set(ended) == {lost.session.id, sold.session.id}
    assert [session.id for session in await sessions.list(ALICE)] == [kept.session.id]
    assert (await sessions.validate(other.token)).user == BOB


async def test_a_user_ends_only_sessions_of_their_own(sessions: Sessions) -> None:
    """Knowing the name of somebody's session is no power over it."""
    issued = await sessions.create(ALICE)

    with pytest.raises(SessionNotFound):
        await sessions.end_by_id(issued.session.id, user=BOB)
    assert (await sessions.validate(issued.token)).user == ALICE

    await sessions.end_by_id(issued.session.id, user=ALICE)
    with pytest.raises(SessionEnded):
        await sessions.validate(issued.token)
