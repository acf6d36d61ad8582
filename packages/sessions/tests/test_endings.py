"""Whoever holds a connection for a session hears when the session ends."""

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
    PrivateRedis,
    Program,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    within,
)
from netra_sessions import EndReason, SessionPolicy, Sessions, UserId

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="an open screen closes when its session ends"
)

OpenSessions = Callable[..., Sessions]
ALICE, BOB = UserId("alice"), UserId("bob")
SLOW = timedelta(seconds=30)


async def test_another_process_hears_of_an_ending(
    sessions: Sessions, another_process: Callable[..., Awaitable[Program]]
) -> None:
    """The server that holds the user's screen is seldom the one where they signed out."""
    issued = await sessions.create(ALICE)
    listener = await another_process(issued.token, "listen")

    async with within(seconds=30):
        assert await listener.stdout.readline() == b"listening\n"
        await sessions.end(issued.token)
        heard = await listener.stdout.readline()

    assert heard.decode().strip() == str(issued.session.id)


async def test_every_way_to_end_is_announced_with_its_reason(
    open_sessions: OpenSessions, clock: ManualClock
) -> None:
    """The screen can say why it closed."""
    sessions = open_sessions(policy=SessionPolicy(limit_per_user=2, deadline=SLOW))
    async with sessions.endings() as endings:
        issued = []
        for _ in range(4):
            clock.advance(timedelta(minutes=1))
            issued.append(await sessions.create(ALICE))
        await sessions.end_others(issued[3].token)
        await sessions.end(issued[3].token)
        forgotten = await sessions.create(ALICE)
        clock.advance(timedelta(days=365))
        await sessions.purge_expired()

        async with within(seconds=5):
            heard = [await endings.next() for _ in range(5)]

    expected = [EndReason.REPLACED] * 2 + [EndReason.REVOKED, EndReason.SIGNED_OUT, EndReason.EXPIRED]
    assert [one.reason for one in heard] == expected
    assert [one.session for one in heard] == [*(i.session.id for i in issued), forgotten.session.id]


async def test_endings_of_another_installation_are_not_heard(
    open_sessions: OpenSessions, namespace: str
) -> None:
    """A message that comes after theirs is the first one we see."""
    ours, theirs = open_sessions(), open_sessions(namespace=f"{namespace}:other")
    first, second = await theirs.create(ALICE), await ours.create(ALICE)

    async with ours.endings() as endings:
        await theirs.end(first.token)
        await ours.end(second.token)
        async with within(seconds=5):
            heard = await endings.next()

    assert heard.session == second.session.id


async def test_endings_during_a_restart_of_redis_are_heard_after(
    open_sessions: OpenSessions, private_redis: PrivateRedis, own_redis: Redis
) -> None:
    """A lost connection delays the news and swallows none, and none comes twice."""
    sessions = open_sessions(redis=own_redis)
    before, meanwhile, after = [await sessions.create(ALICE) for _ in range(3)]

    async with sessions.endings() as endings, within(seconds=30):
        await sessions.end(before.token)
        heard = [await endings.next()]
        await private_redis.kill()
        await sessions.end(meanwhile.token)
        heard.append(await endings.next())
        await private_redis.start()
        await sessions.end(after.token)
        heard.append(await endings.next())

    assert [one.session for one in heard] == [one.session.id for one in (before, meanwhile, after)]


@pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])
async def test_an_ending_that_could_not_be_announced_is_heard_too(
    open_sessions: OpenSessions,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | HalfOpen,
) -> None:
    """The process that ends a session may lose Redis in that moment."""
    quick = SessionPolicy(deadline=timedelta(seconds=2), cache_trust=timedelta(milliseconds=50))
    cut_off, listening = open_sessions(redis=linked_redis, policy=quick), open_sessions(policy=quick)
    issued = await cut_off.create(ALICE)

    async with listening.endings() as endings, within(seconds=10), redis_link.fault(fault):
        await cut_off.end(issued.token)
        heard = await endings.next()

    assert heard.session == issued.session.id


async def test_a_listener_cut_off_hears_when_it_is_back(
    open_sessions: OpenSessions, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """A connection that only looks alive is found out, and what it missed is made up for."""
    quick = SessionPolicy(deadline=timedelta(seconds=1), cache_trust=timedelta(milliseconds=50))
    cut_off, ending = open_sessions(redis=linked_redis, policy=quick), open_sessions()
    issued = await ending.create(ALICE)

    async with cut_off.endings() as endings, within(seconds=10), redis_link.fault(HalfOpen()):
        await ending.end(issued.token)
        heard = await endings.next()

    assert heard.session == issued.session.id


async def test_a_lost_announcement_is_made_up_for_amid_others(
    open_sessions: OpenSessions, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """A screen that should close closes also where so many do that there is never a silence."""
    quick = SessionPolicy(deadline=timedelta(seconds=5), cache_trust=timedelta(seconds=1))
    cut_off, listening = open_sessions(redis=linked_redis, policy=quick), open_sessions(policy=quick)
    busy = open_sessions()
    issued = await cut_off.create(ALICE)

    heard = asyncio.Event()

    async def never_silent() -> None:
        while not heard.is_set():
            await busy.end((await busy.create(BOB)).token)

    async with listening.endings() as endings, within(seconds=10), asyncio.TaskGroup() as others:
        others.create_task(never_silent())
        async with redis_link.fault(Cut()):
            await cut_off.end(issued.token)
        while (await endings.next()).session != issued.session.id:
            pass
        heard.set()


async def test_a_listener_without_the_record_hears_what_is_announced(
    open_sessions: OpenSessions, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint]
) -> None:
    """One store is enough to tell a screen to close."""
    quick = SessionPolicy(deadline=timedelta(seconds=2), cache_trust=timedelta(milliseconds=1))
    listening, ending = open_sessions(engine=linked_engine, policy=quick), open_sessions()
    issued = await ending.create(ALICE)

    async with listening.endings() as endings, postgres_link.fault(Cut()), within(seconds=10):
        await ending.end(issued.token)
        heard = await endings.next()

    assert heard.session == issued.session.id
