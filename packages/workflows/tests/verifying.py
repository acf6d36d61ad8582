"""What a gateway verifies tokens with, in the test's process or, as `NETRA_GATEWAY_AUTHENTICATION`, in its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_auth import FollowPolicy, KeyRing, TokenPolicy, TokenRefused, Verifier
from netra_sessions import Authentication
from netra_sessions.settings import GatewaySettings

PATIENCE = timedelta(seconds=30)  # a busy machine is no outage
TOKENS = TokenPolicy(issuer="https://auth.example.com", audience="netra", lifetime=timedelta(hours=1))
FOLLOWING = FollowPolicy(deadline=PATIENCE)


@asynccontextmanager
async def authentication(settings: GatewaySettings) -> AsyncIterator[Authentication]:
    """Open a verifier for a gateway process, with the public keys in its file."""
    assert settings.keys_file is not None
    keys = KeyRing.from_jwks(settings.keys_file.read_text())
    engine = create_async_engine(settings.database_url.get_secret_value())
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    stores = {"engine": engine, "redis": redis, "namespace": settings.namespace}
    try:
        async with Verifier(**stores, keys=keys, policy=TOKENS, following=FOLLOWING) as verifier:
            yield Authentication(verifier, refusals=(TokenRefused,))
    finally:
        await redis.aclose()
        await engine.dispose()
