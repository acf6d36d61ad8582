"""Access tokens for the tests of the gateway, by netra-auth: signed in the test, verified where the gateway runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_auth import (
    AccessTokens,
    FollowPolicy,
    KeyRing,
    Method,
    Role,
    SessionId,
    SignedIn,
    SigningKey,
    TenantId,
    TokenPolicy,
    TokenRefused,
    UserId,
    Verifier,
)
from netra_sessions import Authentication
from netra_sessions.settings import GatewaySettings

HOUR = timedelta(hours=1)
POLICY = TokenPolicy(issuer="https://auth.example.com", audience="netra", lifetime=HOUR)
PATIENCE = timedelta(seconds=30)
REFUSALS = (TokenRefused,)


class Tokens:
    """Signs tokens with a key of its own."""

    def __init__(self) -> None:
        self.keys = KeyRing(SigningKey.generate())

    def sign(self, user: str, session: str, *, lasting: timedelta = HOUR) -> str:
        """Sign a token for a session of *user*."""
        who = SignedIn(
            user=UserId(user),
            tenant=TenantId("acme"),
            methods=frozenset({Method.PASSWORD}),
            at=datetime.now(UTC),
        )
        policy = POLICY.model_copy(update={"lifetime": lasting})
        signer = AccessTokens(keys=self.keys, policy=policy)
        signed = signer.sign(who, session=SessionId(session), roles={Role.STANDARD_USER})
        return signed.token.get_secret_value()

    def verifier(self, engine: AsyncEngine, redis: Redis, namespace: str) -> Verifier:
        """Make what verifies them, once it is entered."""
        return verifier(engine, redis, namespace, self.keys)


def verifier(
    engine: AsyncEngine, redis: Redis, namespace: str, keys: KeyRing, deadline: timedelta = PATIENCE
) -> Verifier:
    """Make a verifier that takes no slow store for an outage: that is tested where it is built."""
    following = FollowPolicy(trust=HOUR, record_trust=2 * HOUR, deadline=deadline)
    return Verifier(
        engine=engine, redis=redis, namespace=namespace, keys=keys, policy=POLICY, following=following
    )


@asynccontextmanager
async def authentication(settings: GatewaySettings) -> AsyncIterator[Authentication]:
    """Give a verifier to a gateway that runs as a process; the published keys stand in its file of keys."""
    assert settings.keys_file is not None
    keys = KeyRing.from_jwks(settings.keys_file.read_text())
    engine = create_async_engine(settings.database_url.get_secret_value())
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    try:
        async with verifier(engine, redis, settings.namespace, keys, settings.policy.deadline) as one:
            yield Authentication(one, refusals=REFUSALS)
    finally:
        await redis.aclose()
        await engine.dispose()
