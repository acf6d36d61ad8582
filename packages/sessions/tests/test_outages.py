"""While a store is cut off, signed-in users work on or are told to retry, and nobody signed out gets in."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    ManualClock,
    PostgresEndpoint,
    RedisEndpoint,
    Reset,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)
from netra_sessions import (
    SessionEnded,
    SessionExpired,
    SessionNotFound,
    SessionPolicy,
    Sessions,
    SessionToken,
    StoreUnavailable,
    UserId,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.SECURITY},
    impact="an outage of one store neither signs users out nor lets anybody back in",
)

OpenSessions = Callable[..., Sessions]
HASTY = SessionPolicy(deadline=timedelta(seconds=2))
WARY = SessionPolicy(deadline=timedelta(seconds=2), cache_trust=timedelta(milliseconds=1))
ALICE = UserId("alice")
FAULTS = pytest.mark.parametrize("fault", [Cut(), Reset(), HalfOpen()], ids=["cut", "reset", "half-open"])


@FAULTS
async def test_without_redis_the_record_answers(
    open_sessions: OpenSessions,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """A cache that is down slows users, and stops none of them."""
    sessions = open_sessions(redis=linked_redis, policy=HASTY)
    issued, ended = await sessions.create(ALICE), await sessions.create(ALICE)
    await sessions.end(ended.token)

    async with redis_link.fault(fault), within(seconds=10):
        found = await sessions.validate(issued.token)
        with pytest.raises(SessionEnded):
            await sessions.validate(ended.token)
        with pytest.raises(SessionNotFound):
            await sessions.validate("")

    assert found.id == issued.session.id


@FAULTS
async def test_without_postgresql_a_change_fails_within_its_deadline(
    open_sessions: OpenSessions,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """A user is told to try again rather than left waiting, and can, as soon as the record is back."""
    sessions = open_sessions(engine=linked_engine, policy=HASTY)
    issued = await sessions.create(ALICE)

    async with postgres_link.fault(fault), within(seconds=HASTY.deadline.total_seconds() * 1.5):
        with pytest.raises(StoreUnavailable):
            await sessions.end(issued.token)

    assert (await sessions.validate(issued.token)).user == ALICE
    await sessions.end(issued.token)


@FAULTS
async def test_without_both_stores_a_validation_fails_within_its_deadline(
    open_sessions: OpenSessions,
    linked_engine: AsyncEngine,
    linked_redis: Redis,
    postgres_link: ServiceLink[PostgresEndpoint],
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """Where nothing can be known, nobody is let in and nobody waits for long."""
    sessions = open_sessions(engine=linked_engine, redis=linked_redis, policy=HASTY)
    issued = await sessions.create(ALICE)

    async with (
        postgres_link.fault(fault),
        redis_link.fault(fault),
        within(seconds=HASTY.deadline.total_seconds() * 1.5),
    ):
        with pytest.raises(StoreUnavailable):
            await sessions.validate(issued.token)

    assert (await sessions.validate(issued.token)).user == ALICE


async def test_a_short_outage_of_the_record_goes_unnoticed(
    open_sessions: OpenSessions, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint]
) -> None:
    """A restart of the database does not stop users who only read their pages."""
    sessions = open_sessions(engine=linked_engine, policy=SessionPolicy(cache_trust=timedelta(hours=1)))
    issued = await sessions.create(ALICE)

    async with postgres_link.fault(Cut()):
        found = await sessions.validate(issued.token)

    assert found.requests == 1


async def test_redis_is_not_believed_for_longer_than_its_trust(
    open_sessions: OpenSessions, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint]
) -> None:
    """Without the record nobody can know whether a session was ended elsewhere, so nobody is let in."""
    sessions = open_sessions(engine=linked_engine, policy=WARY)
    issued = await sessions.create(ALICE)

    async def refused() -> None:
        with pytest.raises(StoreUnavailable):
            await sessions.validate(issued.token)

    async with postgres_link.fault(Cut()):
        await eventually(refused, seconds=5)


@FAULTS
async def test_a_session_ended_while_redis_was_out_of_reach_stays_ended(
    open_sessions: OpenSessions,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """A sign-out counts even if the cache, which still shows the user as signed in, can't be told."""
    cut_off, others = open_sessions(redis=linked_redis, policy=HASTY), open_sessions(policy=WARY)
    issued = await others.create(ALICE)
    await others.validate(issued.token)

    async with redis_link.fault(fault):
        await cut_off.end(issued.token)

    with pytest.raises(SessionEnded):
        await open_sessions().validate(issued.token)

    async def refused() -> None:
        with pytest.raises(SessionEnded):
            await others.validate(issued.token)

    await eventually(refused, seconds=5)


async def test_data_changed_while_redis_was_out_of_reach_is_read_after(
    open_sessions: OpenSessions, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """A setting that a user saved does not come back as it was."""
    cut_off = open_sessions(redis=linked_redis, policy=HASTY)
    issued = await cut_off.create(ALICE)

    async with redis_link.fault(Cut()):
        await cut_off.update(issued.token, {"theme": "dark"}, expected_version=1)
        renewed = await cut_off.rotate(issued.token)

    assert (await open_sessions().validate(renewed.token)).data == {"theme": "dark"}
    with pytest.raises(SessionNotFound):
        await open_sessions().validate(issued.token)


async def test_without_redis_lifetimes_hold(
    open_sessions: OpenSessions,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    clock: ManualClock,
) -> None:
    """A used session slides and an unused one expires, also while only the record remembers."""
    sessions = open_sessions(redis=linked_redis, policy=HASTY)
    issued, unused = await sessions.create(ALICE), await sessions.create(ALICE)

    async with redis_link.fault(Cut()):
        for _ in range(3):
            clock.advance(HASTY.idle_lifetime / 2)
            await sessions.validate(issued.token)
        with pytest.raises(SessionExpired):
            await sessions.validate(unused.token)
        purge = await sessions.purge_expired()

    assert purge.expired == (unused.session.id,)
    assert (await sessions.validate(issued.token)).last_seen_at == clock.now()


async def test_a_page_that_is_due_for_the_record_does_not_wait_for_it_long(
    open_sessions: OpenSessions,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
    clock: ManualClock,
) -> None:
    """Noting a user's last visit is no reason to keep the user waiting until the deadline."""
    policy = SessionPolicy(deadline=timedelta(seconds=4), cache_trust=timedelta(hours=1))
    sessions = open_sessions(engine=linked_engine, policy=policy)
    issued = await sessions.create(ALICE)
    clock.advance(policy.idle_lifetime / 2)

    async with postgres_link.fault(HalfOpen()), within(seconds=policy.deadline.total_seconds() * 0.9):
        found = await sessions.validate(issued.token)

    assert found.last_seen_at == clock.now()


async def test_a_request_that_was_cancelled_leaves_its_note_to_the_next(
    open_sessions: OpenSessions,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
    clock: ManualClock,
    row_of: Callable[[SessionToken], Awaitable[dict[str, object]]],
) -> None:
    """A browser that hangs up early does not make the record forget that its user was there."""
    sessions, watching = open_sessions(engine=linked_engine), open_sessions()
    issued = await sessions.create(ALICE)
    clock.advance(HASTY.idle_lifetime / 2)

    async def counted() -> None:
        assert (await watching.list(ALICE))[0].requests == 1

    async with postgres_link.fault(HalfOpen()):
        request = asyncio.create_task(sessions.validate(issued.token))
        await eventually(counted, seconds=5)
        request.cancel()
        await asyncio.wait([request])
    clock.advance(timedelta(minutes=1))

    await sessions.validate(issued.token)

    assert (await row_of(issued.token))["last_seen_at"] == clock.now()


async def test_a_session_that_expired_while_redis_was_out_of_reach_stays_ended(
    open_sessions: OpenSessions,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    clock: ManualClock,
) -> None:
    """A purge counts for all, also for a process whose clock is behind that of the one that purged."""
    cut_off = open_sessions(redis=linked_redis, policy=HASTY, clock=lambda: clock.now() + timedelta(days=9))
    others = open_sessions(policy=WARY)
    issued = await others.create(ALICE)

    async with redis_link.fault(Cut()):
        purge = await cut_off.purge_expired()

    async def refused() -> None:
        with pytest.raises(SessionEnded):
            await others.validate(issued.token)

    await eventually(refused, seconds=5)
    assert purge.expired == (issued.session.id,)
