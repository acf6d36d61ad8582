"""Passwords against bare PBKDF2, and what four sign-ins at once do to everybody else."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager

from pydantic import SecretBytes, SecretStr
from sqlalchemy.ext.asyncio import create_async_engine

from figures import Figure, Limit, LimitOn
from kit import Kit, standing
from netra_auth import (
    Accounts,
    GuessingPolicy,
    PasswordHasher,
    PasswordPolicy,
    Revocations,
    SecondFactors,
    SignInPolicy,
    SignInRefused,
    TenantId,
    TokenPolicy,
)
from netra_auth import Limit as Guesses
from turns import Contender, Subject, timed

HASH = Limit(on=LimitOn.RATIO_AT_MOST, bound=1.05)
AT_ONCE = 4
TICK_S = 0.001
ALICE, NOBODY = "alice@example.com", "nobody@example.com"
PASSWORD, WRONG = SecretStr("correct horse battery"), SecretStr("wrong horse battery")
POLICY = PasswordPolicy()
GUESSES = GuessingPolicy(account=Guesses(failures=1000), address=Guesses(failures=1000))


@asynccontextmanager
async def opened(kit: Kit) -> AsyncIterator[Accounts]:
    """Open accounts straight to the servers, with one that has registered."""
    engine, redis = create_async_engine(kit.database.endpoint.url()), kit.redis.endpoint.client()
    tokens = TokenPolicy(issuer="https://auth.example.com", audience="bench")
    revocations = Revocations(engine=engine, redis=redis, namespace="bench", policy=tokens)
    try:
        async with (
            PasswordHasher(POLICY) as hasher,
            SecondFactors(
                engine=engine, redis=redis, namespace="bench", key=SecretBytes(bytes(32)), issuer="Netra",
                guessing=GUESSES,
            ) as factors,
            Accounts(
                engine=engine, redis=redis, namespace="bench", hasher=hasher, factors=factors,
                revocations=revocations, policy=SignInPolicy(guessing=GUESSES),
            ) as accounts,
        ):  # fmt: skip
            await accounts.register(ALICE, PASSWORD, tenant=TenantId("bench"))
            yield accounts
    finally:
        await redis.aclose()
        await engine.dispose()


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure one hash, the event loop's stalls, and whether a refusal's time tells its reason."""
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        yield _hash(subject, runner)
        opening = opened(kit)
        accounts = runner.run(opening.__aenter__())
        try:
            yield _stall(subject, runner, accounts)
            yield _refusals(subject, runner, accounts)
        finally:
            runner.run(opening.__aexit__(None, None, None))


def _hash(subject: Subject, runner: asyncio.Runner) -> Figure:
    hasher = PasswordHasher(POLICY, threads=1)
    password = PASSWORD.get_secret_value().encode()

    def bare() -> bytes:
        return hashlib.pbkdf2_hmac("sha256", password, secrets.token_bytes(16), POLICY.rounds)

    try:
        ours, plain = subject.in_turns(
            timed(lambda: runner.run(hasher.hash(password))), timed(bare), turns=20, seconds=12
        )
    finally:
        runner.run(hasher.close())
    return subject.figure("one password hash", ours, [("hashlib.pbkdf2_hmac", plain)], limit=HASH)


def _stall(subject: Subject, runner: asyncio.Runner, accounts: Accounts) -> Figure:
    """Compare how late the event loop is at worst while four sign in, and while nobody does."""

    async def sign_in() -> object:
        return await accounts.sign_in(ALICE, PASSWORD, address=None)

    async def busy() -> float:
        signing_in = asyncio.gather(*(sign_in() for _ in range(AT_ONCE)))
        return await worst_stall(signing_in.done)

    async def idle() -> float:
        until = time.perf_counter() + 0.5
        return await worst_stall(lambda: time.perf_counter() > until)

    def alone(lateness: Callable[[], Coroutine[None, None, float]]) -> Contender:
        return lambda: runner.run(lateness())

    ours, nobody = subject.in_turns(alone(busy), alone(idle), turns=15, seconds=20)
    name = f"the event loop's worst stall under {AT_ONCE} sign-ins"
    return subject.figure(name, ours, [("an idle event loop", nobody)])


async def worst_stall(ended: Callable[[], bool]) -> float:
    """Return by how many milliseconds the event loop was late at worst, until *ended*."""
    worst = 0.0
    while not ended():
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        worst = max(worst, time.perf_counter() - due)
    return worst * 1000


def _refusals(subject: Subject, runner: asyncio.Runner, accounts: Accounts) -> Figure:
    async def refused(email: str) -> None:
        try:
            await accounts.sign_in(email, WRONG, address=None)
        except SignInRefused:
            return
        raise AssertionError("a wrong password was let in")

    missing, wrong = subject.in_turns(
        timed(lambda: runner.run(refused(NOBODY))), timed(lambda: runner.run(refused(ALICE))),
        turns=30, seconds=20,
    )  # fmt: skip
    return subject.figure("a refused sign-in, of a missing user", missing, [("with a wrong password", wrong)])
