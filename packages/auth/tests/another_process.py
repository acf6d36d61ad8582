"""A process of the platform beside the test: it verifies a token, and says when that is refused."""

import asyncio
import sys
from datetime import datetime, timedelta

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_auth import FollowPolicy, KeyRing, TokenPolicy, TokenRefused, Verifier

HOUR = timedelta(hours=1)


async def main(postgres: str, redis: str, namespace: str, now: str) -> None:
    """Verify until it is refused; the record is read once an hour, so only an announcement tells in time."""
    keys, token = KeyRing.from_jwks(sys.stdin.readline()), sys.stdin.readline().strip()
    engine, client, clock = create_async_engine(postgres), Redis.from_url(redis), datetime.fromisoformat(now)
    verifier = Verifier(
        engine=engine, redis=client, namespace=namespace, keys=keys,
        policy=TokenPolicy(issuer="https://auth.example.com", audience="netra"),
        following=FollowPolicy(poll_every=HOUR, record_trust=2 * HOUR, trust=HOUR, deadline=timedelta(seconds=30)),
        clock=lambda: clock,
    )  # fmt: skip
    async with verifier:
        print(verifier.verify(token).user, flush=True)
        try:
            while True:
                await asyncio.sleep(0.01)
                verifier.verify(token)
        except TokenRefused as refused:
            print(type(refused).__name__, flush=True)
    await client.aclose()
    await engine.dispose()


asyncio.run(main(*sys.argv[1:]))
