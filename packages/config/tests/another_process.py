"""A process of the platform beside the test: it follows one setting and prints each value it has, a line each."""

import asyncio
import sys
from datetime import timedelta

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_config import ConfigPolicy, ConfigService, Environment, settings


@settings
class Part:
    """What this process reads of the settings."""

    retries: int = 3


async def main(postgres: str, redis: str, namespace: str) -> None:
    """Print the setting whenever it is another than before."""
    engine, client = create_async_engine(postgres), Redis.from_url(redis)
    policy = ConfigPolicy(deadline=timedelta(seconds=30), poll_every=timedelta(minutes=10))
    async with ConfigService(
        Part, environment=Environment.TEST, engine=engine, redis=client, namespace=namespace, policy=policy,
        process="another",
    ) as config:  # fmt: skip
        changed = asyncio.Event()
        config.on_change(changed.set)
        said = None
        while True:
            changed.clear()
            if config.current.retries != said:
                said = config.current.retries
                print(said, flush=True)
            await changed.wait()


asyncio.run(main(*sys.argv[1:]))
