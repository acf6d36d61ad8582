"""A password is tried a handful of times, not a million, however many machines try together."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Account,
    Accounts,
    GuessingPolicy,
    Kind,
    Limit,
    SignedIn,
    SignInRefused,
    StoreUnavailable,
    TenantId,
    ViolationLog,
    WithoutRedis,
)
from netra_auth.guessing import Guessing
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
    within,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="a password can't be found by trying, nor its owner shut out for long",
)
OpenAccounts = Callable[..., Any]
HORSE, WRONG = SecretStr("correct horse battery"), SecretStr("wrong horse battery")
HOME, PATIENT = "192.0.2.7", timedelta(seconds=30)
HASTY = timedelta(seconds=1)
FAULTS = pytest.mark.parametrize("fault", [Cut(), Reset(), HalfOpen()], ids=["cut", "reset", "half-open"])
_MS = timedelta(milliseconds=1)
LIMIT = Limit(
    failures=3,
    first_delay=timedelta(seconds=10),
    longest_delay=timedelta(minutes=2),
    forgets=timedelta(minutes=10),
)


@pytest.fixture
async def alice(accounts: Accounts) -> Account:
    """Somebody with an account."""
    return await accounts.register("alice@example.com", HORSE, tenant=TenantId("acme"))


@pytest.fixture
async def guess(redis_client: Redis, namespace: str, clock: ManualClock) -> AsyncIterator[Guessing]:
    """The limits by account and by address, of three wrong attempts each."""
    policy = GuessingPolicy(account=LIMIT, address=LIMIT, deadline=PATIENT)
    guessing = Guessing(redis=redis_client, namespace=namespace, policy=policy, clock=clock)
    yield guessing
    await guessing.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("email", "attempts"),
    [
        ("alice@example.com", 100),
        pytest.param("alice@example.com", 10_000, marks=pytest.mark.soak),
        pytest.param("nobody@example.com", 10_000, marks=pytest.mark.soak),
    ],
)
async def test_a_hundred_tasks_try_no_more_passwords_than_the_limit(
    open_accounts: OpenAccounts, alice: Account, log: ViolationLog, email: str, attempts: int
) -> None:
    """A crowd that guesses in the same moment gets as many tries as one who guesses alone."""
    processes = [await open_accounts(waiting=attempts) for _ in range(2)]

    async def guess_on(number: int) -> None:
        for _ in range(attempts // 100):
            with pytest.raises(SignInRefused):
                await processes[number % 2].accounts.sign_in(email, WRONG, address=f"192.0.2.{number}")

    await asyncio.gather(*map(guess_on, range(100)))

    kinds = Counter(one.kind for one in await log.find(size=attempts))
    checked = Kind.WRONG_PASSWORD if email == alice.email else Kind.UNKNOWN_ACCOUNT
    assert kinds == {checked: 4, Kind.LOCKOUT: 1, Kind.LOCKED: attempts - 5}


async def test_what_nobody_has_is_locked_as_an_account_is(
    accounts: Accounts, alice: Account, log: ViolationLog
) -> None:
    """That an account can be locked does not tell that it is there."""
    seen: dict[str, list[Kind]] = {}

    for email in (alice.email, "nobody@example.com"):
        for _ in range(6):
            with pytest.raises(SignInRefused):
                await accounts.sign_in(email, WRONG, address=None)
        seen[email] = [one.kind for one in reversed(await log.find(size=6))]

    assert seen[alice.email] == [*[Kind.WRONG_PASSWORD] * 4, Kind.LOCKOUT, Kind.LOCKED]
    assert seen["nobody@example.com"] == [*[Kind.UNKNOWN_ACCOUNT] * 4, Kind.LOCKOUT, Kind.LOCKED]


async def test_a_lock_holds_in_every_process_and_ends_in_time(
    open_accounts: OpenAccounts, alice: Account, clock: ManualClock, redis_client: Redis, namespace: str
) -> None:
    """A thief who turns to another server finds the same lock; the owner is let in when it is over."""
    here, there = await open_accounts(), await open_accounts()
    for _ in range(5):
        with pytest.raises(SignInRefused):
            await here.accounts.sign_in(alice.email, WRONG, address=None)
    await here.accounts.close()
    with pytest.raises(SignInRefused):
        await there.accounts.sign_in(alice.email, HORSE, address=None)

    clock.advance(timedelta(seconds=30))

    assert isinstance(await there.accounts.sign_in(alice.email, HORSE, address=None), SignedIn)
    for _ in range(4):
        with pytest.raises(SignInRefused):
            await there.accounts.sign_in(alice.email, WRONG, address=None)
    assert isinstance(await there.accounts.sign_in(alice.email, HORSE, address=None), SignedIn)
    assert not await redis_client.keys(f"{namespace}:passwords:account:*")


async def test_each_wrong_attempt_after_the_limit_waits_twice_as_long(
    guess: Guessing, clock: ManualClock, redis_client: Redis, namespace: str
) -> None:
    """Guessing gets slower and slower, up to a wait that its owner can still live with."""
    for _ in range(2):
        assert not (await guess.reserve("alice", None)).locks
    waits = []

    for _ in range(6):
        attempt = await guess.reserve("alice", None)
        assert attempt.locks
        began = clock.now()
        clock.set(began + timedelta(milliseconds=attempt.until_ms[0] - began.timestamp() * 1000 - 1))
        assert not (await guess.reserve("alice", None)).admitted
        clock.advance(timedelta(milliseconds=1))
        waits.append(round((clock.now() - began).total_seconds()))

    assert waits == [10, 20, 40, 80, 120, 120]
    [counter] = await redis_client.keys(f"{namespace}:account:*")
    assert 0 < await redis_client.pttl(counter) <= (8 * LIMIT.forgets + LIMIT.longest_delay) / _MS


async def test_wrong_attempts_are_forgotten_one_by_one(guess: Guessing, clock: ManualClock) -> None:
    """Who mistypes now and then over the years is never locked out for it."""
    for _ in range(21):
        for _ in range(2):
            assert not (await guess.reserve("alice", None)).locks
        clock.advance(2.5 * LIMIT.forgets)
    await guess.reserve("alice", None)
    clock.advance(LIMIT.forgets * 0.75)
    await guess.reserve("alice", None)

    assert (await guess.reserve("alice", None)).locks
    clock.advance(LIMIT.forgets)

    assert (await guess.reserve("alice", None)).locks
    clock.advance(3 * LIMIT.forgets)
    assert not (await guess.reserve("alice", None)).locks


async def test_one_address_cannot_try_every_account(guess: Guessing) -> None:
    """Who tries one password on many users is stopped as well, and an account of their own is no way out."""
    own = await guess.reserve("mallory", "2001:db8:1:2::1")
    await guess.succeeded(own)

    admitted = [(await guess.reserve(f"user-{n}", f"2001:db8:1:2::{n}")).admitted for n in range(5)]
    elsewhere = await guess.reserve("user-4", "2001:db8:1:3::1")

    assert admitted == [True, True, True, False, False]
    assert elsewhere.admitted


async def test_a_success_takes_back_only_itself_from_its_address(guess: Guessing) -> None:
    """Signing in to an account of one's own between guesses buys no further guesses."""
    for _ in range(2):
        await guess.reserve("alice", HOME)
    await guess.succeeded(await guess.reserve("mallory", HOME))

    assert (await guess.reserve("bob", HOME)).admitted
    assert not (await guess.reserve("carol", HOME)).admitted


@pytest.mark.parametrize("examples", [25, pytest.param(2_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
def test_limits_keep_to_the_rules(redis_endpoint: RedisEndpoint, namespace: str, examples: int) -> None:
    """Whatever comes in whatever order, an attempt is let through exactly when the rules say so."""
    acts = st.sampled_from(["wrong", "wrong", "right", 1, 10, 299, 600, 601, 1799])

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(acts, max_size=30))
    def keep_to_the_rules(acts: list[str | int]) -> None:
        asyncio.run(_play(redis_endpoint, f"{namespace}:{uuid4().hex[:8]}", acts))

    keep_to_the_rules()


async def _play(endpoint: RedisEndpoint, namespace: str, acts: list[str | int]) -> None:
    clock = ManualClock()
    failures, since, until = 0, clock.now(), clock.now()
    async with endpoint.client() as redis:
        policy = GuessingPolicy(account=LIMIT, deadline=PATIENT)
        guess = Guessing(redis=redis, namespace=namespace, policy=policy, clock=clock)
        for act in acts:
            if isinstance(act, int):
                clock.advance(timedelta(seconds=act))
                continue
            attempt = await guess.reserve("alice", None)
            assert attempt.admitted is (until <= clock.now())
            if not attempt.admitted:
                continue
            forgotten = min(failures, (clock.now() - since) // LIMIT.forgets)
            failures, since = failures - forgotten, since + forgotten * LIMIT.forgets
            since = since if failures else clock.now()
            if act == "right":
                await guess.succeeded(attempt)
                failures, until = 0, clock.now()
                continue
            failures += 1
            if failures >= LIMIT.failures:
                delay = LIMIT.first_delay * 2 ** (failures - LIMIT.failures)
                until = clock.now() + min(delay, LIMIT.longest_delay)
        await guess.close()


@FAULTS
async def test_without_redis_nobody_signs_in(
    open_accounts: OpenAccounts,
    alice: Account,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """Where attempts can't be counted, no password is tried, and nobody waits for long."""
    one = await open_accounts(redis=linked_redis, redis_within=HASTY)

    async with redis_link.fault(fault), within(seconds=HASTY.total_seconds() * 4):
        with pytest.raises(StoreUnavailable) as unavailable:
            await one.accounts.sign_in(alice.email, HORSE, address=HOME)

    assert (unavailable.value.store, one.hasher.hashes) == ("Redis", 0)
    assert isinstance(await one.accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)


@FAULTS
async def test_an_installation_may_choose_to_go_on_without_limits(
    open_accounts: OpenAccounts,
    alice: Account,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """Who would rather have users work than guessing limited says so, and passwords are still checked."""
    policy = GuessingPolicy(without_redis=WithoutRedis.OPEN, deadline=timedelta(milliseconds=200))
    one = await open_accounts(redis=linked_redis, guessing=policy)

    async with redis_link.fault(fault), within(seconds=20):
        with pytest.raises(SignInRefused):
            await one.accounts.sign_in(alice.email, WRONG, address=HOME)
        signed_in = await one.accounts.sign_in(alice.email, HORSE, address=HOME)

    assert isinstance(signed_in, SignedIn)


@FAULTS
async def test_an_outage_of_the_record_locks_nobody_out(
    open_accounts: OpenAccounts,
    alice: Account,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """Attempts that were never checked don't count, so users get in as soon as the database is back."""
    one = await open_accounts(engine=linked_engine, deadline=timedelta(milliseconds=100))

    async with postgres_link.fault(fault), within(seconds=20):
        for _ in range(6):
            with pytest.raises(StoreUnavailable) as unavailable:
                await one.accounts.sign_in(alice.email, HORSE, address=HOME)

    assert unavailable.value.store == "PostgreSQL"
    patient = await open_accounts()
    assert isinstance(await patient.accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)
