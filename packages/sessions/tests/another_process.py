"""A process of the platform beside the test: it does acts, and prints what it learns, a line each."""

import asyncio
import sys
from datetime import datetime

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_sessions import SessionRefused, Sessions


async def main(postgres: str, redis: str, namespace: str, now: str, token: str, *acts: str) -> None:
    """Do the acts, one after another, on the sessions that the addresses lead to."""
    engine, client = create_async_engine(postgres), Redis.from_url(redis)
    clock = datetime.fromisoformat(now)
    async with Sessions(engine=engine, redis=client, namespace=namespace, clock=lambda: clock) as sessions:
        for act in acts:
            if act == "validate":
                try:
                    print((await sessions.validate(token)).user)
                except SessionRefused as refused:
                    print(type(refused).__name__)
            elif act == "end":
                await sessions.end(token)
            elif act == "listen":
                async with sessions.endings() as endings:
                    print("listening", flush=True)
                    print((await endings.next()).session)
    await client.aclose()
    await engine.dispose()


asyncio.run(main(*sys.argv[1:]))
