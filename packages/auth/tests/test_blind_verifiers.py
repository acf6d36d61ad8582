"""A verifier that can't hear of revocations lets nobody in blindly, unless it was told to."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    FollowPolicy,
    KeyRing,
    Revocations,
    SignedToken,
    StoreUnavailable,
    TokenPolicy,
    Verifier,
    WhenBlind,
)
from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    ManualClock,
    PostgresEndpoint,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)

from .verdicts import accepted, refused

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY, Goal.STABILITY},
    impact="an outage lets nobody in who was signed out",
)

Sign = Callable[..., SignedToken]
OpenVerifier = Callable[..., Awaitable[Verifier]]
HOUR = timedelta(hours=1)
TOLD_ONLY = FollowPolicy(poll_every=HOUR, record_trust=2 * HOUR, trust=HOUR, deadline=timedelta(seconds=30))
WARY = FollowPolicy(trust=timedelta(seconds=1), deadline=timedelta(seconds=5))
FAULTS = pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])


@FAULTS
async def test_a_verifier_without_redis_fails_closed_and_comes_back(
    open_verifier: OpenVerifier,
    signed: Sign,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | HalfOpen,
) -> None:
    """Where nobody can know who was signed out, nobody is let in; when it can be known again, all are."""
    verifier = await open_verifier(redis=linked_redis, following=WARY)
    token = signed()

    await accepted(verifier, token.token)

    async with redis_link.fault(fault):
        await refused(verifier, token.token, StoreUnavailable, seconds=WARY.deadline.total_seconds())

    await accepted(verifier, token.token)


async def test_what_was_revoked_while_redis_was_cut_off_is_refused_after(
    open_verifier: OpenVerifier,
    revocations: Revocations,
    signed: Sign,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
) -> None:
    """A verifier that is back has read what it missed before it lets anybody in."""
    following = TOLD_ONLY.model_copy(update={"trust": timedelta(seconds=1)})
    verifier = await open_verifier(redis=linked_redis, following=following)
    token = signed()

    async with redis_link.fault(Cut()):
        await revocations.revoke_token(token.principal.token)

    await refused(verifier, token.token)


async def test_a_verifier_without_redis_stays_open_by_policy(
    open_verifier: OpenVerifier,
    revocations: Revocations,
    signed: Sign,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
) -> None:
    """Who prefers users at work over the last second of a revocation says so, and the record still counts."""
    shortsighted = timedelta(milliseconds=1)
    following = WARY.model_copy(update={"trust": shortsighted, "when_blind": WhenBlind.ACCEPT})
    verifier = await open_verifier(redis=linked_redis, following=following)
    token, revoked = signed(), signed()

    async with redis_link.fault(Cut()):
        await asyncio.sleep(2 * shortsighted.total_seconds())
        assert verifier.verify(token.token) == token.principal
        await revocations.revoke_token(revoked.principal.token)
        await refused(verifier, revoked.token)


async def test_a_verifier_that_is_open_by_policy_starts_without_redis(
    open_verifier: OpenVerifier, signed: Sign, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """A server that is restarted during an outage serves as those do that were not."""
    token = signed()

    async with redis_link.fault(Cut()):
        verifier = await open_verifier(
            redis=linked_redis, following=WARY.model_copy(update={"when_blind": WhenBlind.ACCEPT})
        )

        assert verifier.verify(token.token) == token.principal


async def test_a_verifier_that_was_never_started_verifies_nothing(
    signed: Sign, engine: AsyncEngine, redis_client: Redis, namespace: str, keys: KeyRing,
    token_policy: TokenPolicy, clock: ManualClock,
) -> None:  # fmt: skip
    """A forgotten start is found at the first request, and not by the first stolen token."""
    verifier = Verifier(
        engine=engine, redis=redis_client, namespace=namespace, keys=keys, policy=token_policy,
        following=WARY.model_copy(update={"when_blind": WhenBlind.ACCEPT}), clock=clock,
    )  # fmt: skip

    with pytest.raises(RuntimeError, match="async with"):
        verifier.verify(signed().token)

    async with verifier:
        assert verifier.verify(signed().token).user == "alice"
    with pytest.raises(RuntimeError, match="async with"):
        verifier.verify(signed().token)


class ClockStopped(Exception):
    """A clock that can't be read any more."""


async def test_a_follower_that_ended_by_a_fault_of_its_own_is_noticed(
    signed: Sign, engine: AsyncEngine, redis_client: Redis, namespace: str, keys: KeyRing,
    token_policy: TokenPolicy, clock: ManualClock,
) -> None:  # fmt: skip
    """A task that died in the background must not leave a verifier that never hears of a revocation again."""
    broken = False

    def read() -> datetime:
        if broken:
            raise ClockStopped
        return clock()

    following = TOLD_ONLY.model_copy(
        update={"poll_every": timedelta(milliseconds=10), "when_blind": WhenBlind.ACCEPT}
    )
    token = signed()

    async def refuses() -> None:
        try:
            verifier.verify(token.token)
        except StoreUnavailable:
            return
        except ClockStopped as error:
            raise AssertionError("nobody has noticed yet") from error

    async def serve() -> None:
        nonlocal broken
        async with verifier:
            assert verifier.verify(token.token) == token.principal
            broken = True
            await eventually(refuses, seconds=10)

    verifier = Verifier(
        engine=engine, redis=redis_client, namespace=namespace, keys=keys, policy=token_policy,
        following=following, clock=read,
    )  # fmt: skip
    with pytest.raises(ClockStopped):
        await serve()


async def test_a_follower_that_somebody_else_cancelled_is_noticed(
    signed: Sign, engine: AsyncEngine, redis_client: Redis, namespace: str, keys: KeyRing,
    token_policy: TokenPolicy, clock: ManualClock,
) -> None:  # fmt: skip
    """However the task ended, a verifier that is open by policy doesn't go on without it for ever."""
    verifier = Verifier(
        engine=engine, redis=redis_client, namespace=namespace, keys=keys, policy=token_policy,
        following=TOLD_ONLY.model_copy(update={"when_blind": WhenBlind.ACCEPT}), clock=clock,
    )  # fmt: skip
    others = asyncio.all_tasks()

    async def serve() -> None:
        async with verifier:
            for task in asyncio.all_tasks() - others:
                task.cancel()
            await asyncio.wait(asyncio.all_tasks() - others)
            with pytest.raises(StoreUnavailable):
                verifier.verify(signed().token)

    with pytest.raises(RuntimeError, match="ended"):
        await serve()


async def test_a_verifier_without_the_record_fails_closed_in_the_end(
    open_verifier: OpenVerifier,
    signed: Sign,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
) -> None:
    """Announcements alone are believed for a while, since one may have been lost."""
    following = FollowPolicy(
        poll_every=timedelta(milliseconds=50), trust=HOUR, record_trust=timedelta(seconds=1),
        deadline=timedelta(seconds=5),
    )  # fmt: skip
    verifier = await open_verifier(engine=linked_engine, following=following)
    token = signed()

    async with postgres_link.fault(Cut()):
        await refused(verifier, token.token, StoreUnavailable)


async def test_a_verifier_that_reaches_no_redis_does_not_start(
    open_verifier: OpenVerifier, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """A server that could not hear of revocations says so before it serves anybody."""
    async with redis_link.fault(HalfOpen()), within(seconds=10):
        with pytest.raises(StoreUnavailable):
            await open_verifier(
                redis=linked_redis, following=WARY.model_copy(update={"deadline": timedelta(seconds=1)})
            )


async def test_a_verifier_that_is_left_as_soon_as_it_is_entered_ends(
    engine: AsyncEngine, redis_client: Redis, namespace: str, keys: KeyRing, token_policy: TokenPolicy
) -> None:
    """A process that is told to stop while it starts does so, whatever an answer comes together with."""
    for _ in range(5):
        async with (
            within(seconds=10),
            Verifier(engine=engine, redis=redis_client, namespace=namespace, keys=keys, policy=token_policy),
        ):
            pass
