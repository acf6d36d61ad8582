"""Connections to Redis of one's own, given up at a deadline."""

import asyncio
from datetime import timedelta
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from netra_auth.errors import StoreUnavailable


def private(redis: Redis) -> dict[str, Any]:
    """Give the settings of a pool that leads where *redis* does, whose reads wait as long as the caller, once."""
    pool = redis.connection_pool
    own = {
        "socket_timeout": None, "health_check_interval": 0, "retry": Retry(NoBackoff(), 0),
        "decode_responses": False,  # what a stranger sent need not be text
    }  # fmt: skip
    return {**pool.connection_kwargs, **own, "connection_class": pool.connection_class}


class Memory:
    """What Redis is asked through; a call that it does not answer raises `StoreUnavailable`.

    The connections go where those of *redis* go. None is tried a second time and none has a timeout of its
    own, so that the deadline alone says how long a caller waits, also for a free connection.
    """

    def __init__(self, redis: Redis, *, deadline: timedelta) -> None:
        self._pool = BlockingConnectionPool(max_connections=16, timeout=None, **private(redis))
        self._redis = Redis(connection_pool=self._pool)
        self._deadline = deadline.total_seconds()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect(inuse_connections=True)

    async def run(self, script: str, keys: list[str], *arguments: bytes | str | int) -> Any:
        """Run a script, which no other command comes between.

        Raises:
            StoreUnavailable: Redis did not answer within the deadline.
        """
        try:
            async with asyncio.timeout(self._deadline):
                return await self._redis.execute_command("EVAL", script, len(keys), *keys, *arguments)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise StoreUnavailable("Redis") from error
