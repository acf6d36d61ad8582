"""Access tokens against PyJWT's own decode of the same token, in turns."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretBytes
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from figures import Figure, Limit, LimitOn
from kit import Kit, standing
from netra_auth import (
    AccessTokens,
    Algorithm,
    FollowPolicy,
    KeyRing,
    Method,
    Role,
    SessionId,
    SignedIn,
    SigningKey,
    TenantId,
    TokenPolicy,
    UserId,
    Verifier,
)
from turns import Contender, Subject

NEW = Limit(on=LimitOn.RATIO_AT_MOST, bound=1.3)
SEEN = Limit(on=LimitOn.RATIO_AT_MOST, bound=0.1)
HOUR = timedelta(hours=1)
TOKENS = 200  # different ones, in one turn
POLICY = TokenPolicy(issuer="https://auth.example.com", audience="netra")


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure verification; what passwords cost belongs here too."""
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        for algorithm in (Algorithm.HS256, Algorithm.EDDSA):
            yield from _verification(subject, kit, runner, algorithm)


def _key(algorithm: Algorithm) -> tuple[SigningKey, Any]:
    """Draw a key, and return what PyJWT verifies its tokens with."""
    if algorithm.is_symmetric:
        secret = secrets.token_bytes(32)
        return SigningKey(SecretBytes(secret), algorithm=algorithm, kid="bench"), secret
    key = SigningKey.generate()
    return key, load_pem_private_key(key.pem().get_secret_value().encode(), None).public_key()


def _tokens(ring: KeyRing, count: int) -> list[str]:
    """Sign different tokens."""
    now = datetime.now(UTC)
    who = SignedIn(
        user=UserId("alice"), tenant=TenantId("acme"), methods=frozenset({Method.PASSWORD}), at=now
    )
    access = AccessTokens(keys=ring, policy=POLICY)
    signed = [access.sign(who, session=SessionId("session"), roles={Role.DEVELOPER}) for _ in range(count)]
    return [one.token.get_secret_value() for one in signed]


def _verification(
    subject: Subject, kit: Kit, runner: asyncio.Runner, algorithm: Algorithm
) -> Iterator[Figure]:
    key, theirs = _key(algorithm)
    ring = KeyRing(key)
    tokens = _tokens(ring, TOKENS)
    engine, client = create_async_engine(kit.database.endpoint.url()), kit.redis.endpoint.client()
    verifier = _verifier(ring, engine, client)

    def decode(token: str) -> object:
        return jwt.decode(
            token,
            theirs,
            algorithms=[algorithm],
            audience=POLICY.audience,
            issuer=POLICY.issuer,
        )

    async def each(verify: Callable[[str], object]) -> float:
        began = time.perf_counter()
        for token in tokens:
            verify(token)
        return (time.perf_counter() - began) / TOKENS * 1000

    def turn(verify: Callable[[str], object], *, forget: bool = False) -> Contender:
        def once() -> float:
            if forget:
                verifier.use(ring)
            return runner.run(each(verify))

        return once

    runner.run(verifier.__aenter__())
    try:
        new, seen, plain = subject.in_turns(
            turn(verifier.verify, forget=True),
            turn(verifier.verify),
            turn(decode),
            turns=60,
            seconds=8,
            warmup=3,
        )
    finally:
        runner.run(verifier.__aexit__(None, None, None))
        runner.run(client.aclose())
        runner.run(engine.dispose())
    reference = [("PyJWT's decode", plain)]
    yield subject.figure(f"a token not seen before, {algorithm}", new, reference, limit=NEW)
    yield subject.figure(f"a token seen before, {algorithm}", seen, reference, limit=SEEN)


def _verifier(ring: KeyRing, engine: AsyncEngine, client: Redis) -> Verifier:
    """Verify as in production, but for the trust: between turns nothing on the loop runs that renews it."""
    return Verifier(
        engine=engine, redis=client, namespace="bench", keys=ring, policy=POLICY, following=FollowPolicy(
            trust=HOUR, poll_every=HOUR, record_trust=2 * HOUR
        ),
    )  # fmt: skip
