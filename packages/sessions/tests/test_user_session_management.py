"""Users stay signed in, on every device and in every service, until they or time end it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from netra_fixtures import Goal, ManualClock, PrivateRedis, Program, Tier, business_value, within
from netra_sessions import (
    EndReason,
    SessionEnded,
    SessionExpired,
    SessionPolicy,
    Sessions,
    SessionToken,
    UserId,
    VersionConflict,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.RETENTION, Goal.SECURITY},
    impact="users return to where they were, and nobody else does",
)

OpenSessions = Callable[..., Sessions]
RowOf = Callable[[SessionToken], Awaitable[dict[str, object]]]
ALICE, BOB = UserId("alice"), UserId("bob")
RUSH = SessionPolicy(deadline=timedelta(minutes=4))  # thousands wait for a handful of connections


async def test_user_login_creates_session_in_redis(
    sessions: Sessions, redis_client: Redis, namespace: str, row_of: RowOf
) -> None:
    """Every service finds a new sign-in in Redis at once, and a thief of either store finds no token."""
    issued = await sessions.create(ALICE, device="Firefox", address="192.0.2.7")

    digest = hashlib.sha256(issued.token.get_secret_value().encode())
    entry = await redis_client.get(f"{namespace}:session:{digest.hexdigest()}")
    row = await row_of(issued.token)
    assert f'"id":"{issued.session.id}","user":"alice"' in str(entry)
    assert (row["id"], row["device"], row["token_digest"]) == (issued.session.id, "Firefox", digest.digest())
    assert issued.token.get_secret_value() not in f"{entry!r} {row} {issued!r}"


async def test_concurrent_user_sessions_isolation(sessions: Sessions) -> None:
    """What one user does at the same moment as twenty others reaches none of the others."""
    users = [UserId(f"user-{number}") for number in range(20)]

    async def live_a_day(user: UserId) -> tuple[SessionToken, SessionToken]:
        desk, phone = [(await sessions.create(user)).token for _ in range(2)]
        await sessions.update(desk, {"owner": user}, expected_version=1)
        if user == users[0]:
            await sessions.end_all(user)
        return desk, phone

    tokens = await asyncio.gather(*(live_a_day(user) for user in users))

    with pytest.raises(SessionEnded):
        await sessions.validate(tokens[0][0])
    for user, (desk, phone) in list(zip(users, tokens, strict=True))[1:]:
        found = [await sessions.validate(token) for token in (desk, phone)]
        assert [(session.user, session.data) for session in found] == [(user, {"owner": user}), (user, {})]


async def test_session_expiration_and_cleanup(
    open_sessions: OpenSessions, clock: ManualClock, redis_client: Redis, namespace: str
) -> None:
    """A forgotten browser signs itself out, a used one does not until its last day, and nothing is left."""
    week = SessionPolicy(idle_lifetime=timedelta(days=2), absolute_lifetime=timedelta(days=7))
    sessions = open_sessions(policy=week)
    used, forgotten = await sessions.create(ALICE), await sessions.create(ALICE)
    for _ in range(4):
        clock.advance(timedelta(days=1, hours=17))
        await sessions.validate(used.token)

    with pytest.raises(SessionExpired) as idle:
        await sessions.validate(forgotten.token)
    clock.set(used.session.expires_at)
    with pytest.raises(SessionExpired) as absolute:
        await sessions.validate(used.token)
    purge = await sessions.purge_expired()
    clock.advance(week.ended_kept * 2)

    assert (idle.value.idle, absolute.value.idle) == (True, False)
    assert set(purge.expired) == {used.session.id, forgotten.session.id}
    assert (await sessions.purge_expired()).deleted == 2
    for key in await redis_client.keys(f"{namespace}:session:*"):
        assert "alice" not in str(await redis_client.get(key))


async def test_session_update_and_activity_tracking(
    sessions: Sessions, clock: ManualClock, row_of: RowOf
) -> None:
    """A user's own page shows each device and its last use, which costs the database nothing per request."""
    issued = await sessions.create(ALICE, device="Firefox", address="192.0.2.7")
    clock.advance(timedelta(minutes=5))
    await sessions.update(issued.token, {"theme": "dark"}, expected_version=1)
    for address in ("192.0.2.8", "192.0.2.9", "198.51.100.1"):
        clock.advance(timedelta(minutes=1))
        await sessions.validate(issued.token, address=address)

    with pytest.raises(VersionConflict) as conflict:
        await sessions.update(issued.token, {"theme": "light"}, expected_version=1)

    [shown] = await sessions.list(ALICE)
    unsaved = await row_of(issued.token)
    assert (conflict.value.expected, conflict.value.current.version) == (1, 2)
    assert (shown.data, shown.requests, shown.device) == ({"theme": "dark"}, 5, "Firefox")
    assert (shown.address, shown.last_seen_at) == ("198.51.100.1", clock.now())
    assert (unsaved["requests"], unsaved["address"]) == (1, "192.0.2.7")


async def test_session_invalidation_on_logout(open_sessions: OpenSessions, clock: ManualClock) -> None:
    """Signing out works at once in every process, on this device only, and open screens hear of it."""
    here, there = open_sessions(), open_sessions()
    desk, phone = await here.create(ALICE), await here.create(ALICE)
    await there.validate(desk.token)

    async with there.endings() as endings:
        await here.end(desk.token)
        async with within(seconds=5):
            announced = await endings.next()

    with pytest.raises(SessionEnded) as refused:
        await there.validate(desk.token)
    assert refused.value.reason is announced.reason is EndReason.SIGNED_OUT
    assert (announced.session, announced.ended_at) == (desk.session.id, clock.now())
    assert (await there.validate(phone.token)).id == phone.session.id


@pytest.mark.parametrize("snapshot", [False, True], ids=["empty", "with an old snapshot"])
async def test_session_recovery_after_service_restart(
    open_sessions: OpenSessions, private_redis: PrivateRedis, own_redis: Redis, *, snapshot: bool
) -> None:
    """A restart of Redis signs nobody out, and brings nobody back who had signed out before."""
    sessions = open_sessions(redis=own_redis)
    stays, leaves = await sessions.create(ALICE), await sessions.create(BOB)
    await sessions.validate(leaves.token)
    if snapshot:
        await own_redis.save()
    await sessions.end(leaves.token)

    await private_redis.kill()
    await private_redis.start()
    assert bool(await own_redis.dbsize()) is snapshot

    for process in (open_sessions(redis=own_redis), sessions):
        for _ in range(2):
            with pytest.raises(SessionEnded):
                await process.validate(leaves.token)
            assert (await process.validate(stays.token)).id == stays.session.id
    await private_redis.flush()
    assert await sessions.recover() == 1


@pytest.mark.timeout(RUSH.deadline.total_seconds())
@pytest.mark.parametrize("number", [20, 2_000], ids=["20 at once", "2,000 at once"])
async def test_session_performance_under_load(open_sessions: OpenSessions, number: int) -> None:
    """A morning's rush of sign-ins is served, each to the right user, with every request counted."""
    sessions = open_sessions(policy=RUSH)
    users = [UserId(f"user-{n}") for n in range(number)]

    issued = await asyncio.gather(*(sessions.create(user) for user in users))
    for expected in (1, 2):
        found = await asyncio.gather(*(sessions.validate(one.token) for one in issued))

        assert [(session.user, session.requests) for session in found] == [(user, expected) for user in users]
    assert len({one.token.get_secret_value() for one in issued}) == number


async def test_session_cross_service_validation(
    sessions: Sessions, another_process: Callable[..., Awaitable[Program]]
) -> None:
    """A sign-in at one service is a sign-in at all of them, and so is a sign-out."""
    here, there = await sessions.create(ALICE), await sessions.create(ALICE)
    await sessions.validate(there.token)

    service = await another_process(there.token, "validate", "end", "validate")
    async with within(seconds=30):
        said = await service.communicate()

    assert said.decode().split() == [ALICE, "SessionEnded"]
    with pytest.raises(SessionEnded):
        await sessions.validate(there.token)
    assert (await sessions.validate(here.token)).user == ALICE
