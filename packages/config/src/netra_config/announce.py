"""Tell every process over Redis that there is a new revision, and hear it."""

import asyncio
import math
from collections.abc import Callable
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from netra_config.errors import StoreUnavailable
from netra_config.revision import Environment

Heard = Callable[[int | None], None]
_LONGEST_VERSION = 19  # digits; PostgreSQL's bigint has no more


class Channel:
    """The announcements of one environment, on two connections of their own.

    Commands go to redis-py's connections straight: through its pool and `PubSub` an announcement takes about twice as
    long, and every process waits for it between a commit and the change.
    """

    def __init__(
        self, redis: Redis, namespace: str, environment: Environment, *, deadline: timedelta
    ) -> None:
        self._name = f"{namespace}:config:{environment.value}:revised"
        self._deadline = deadline.total_seconds()
        self._pool = _private_pool(redis)
        self._speaking: AbstractConnection | None = None
        self._one_speaks = asyncio.Lock()

    async def announce(self, version: int) -> None:
        """Tell every process that *version* was committed.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        try:
            async with asyncio.timeout(self._deadline), self._one_speaks:
                try:
                    await self._publish(version)
                except (RedisError, OSError):  # the server may have closed it while nothing was said
                    await self._publish(version)
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error

    async def listen(self, heard: Heard, *, silence: timedelta) -> None:
        """Call *heard* with each version announced, and with None once the server confirmed the subscription.

        Returns only by an error: the caller listens again.

        Args:
            silence: after this long without a word the server is asked whether it is there.

        Raises:
            StoreUnavailable: the connection is lost, or only looks alive.
        """
        connection: AbstractConnection | None = None
        try:
            async with asyncio.timeout(self._deadline):
                connection = await self._pool.get_connection()
                await connection.send_command("SUBSCRIBE", self._name, check_health=False)
            while True:
                await self._hear(connection, heard, silence.total_seconds())
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error
        finally:
            await self._let_go(connection)

    async def close(self) -> None:
        """Close the connection that speaks; the next announcement would open another."""
        connection, self._speaking = self._speaking, None
        await self._let_go(connection)

    async def _publish(self, version: int) -> None:
        try:
            if self._speaking is None:
                self._speaking = await self._pool.get_connection()
            await self._speaking.send_command("PUBLISH", self._name, version, check_health=False)
            await self._speaking.read_response(timeout=math.inf)
        except BaseException:  # a reply may still be under way: this connection can't be used again
            await self.close()
            raise

    async def _hear(self, connection: AbstractConnection, heard: Heard, silence_s: float) -> None:
        said = await _read(connection, silence_s)
        if said is None:
            async with asyncio.timeout(self._deadline):
                await connection.send_command("PING", check_health=False)
            said = await _read(connection, self._deadline)
            if said is None:
                raise ConnectionError("the server stopped answering")
        match said:
            case [b"subscribe", *_]:
                heard(None)
            case [b"message", _, bytes() as data] if data.isdigit() and len(data) <= _LONGEST_VERSION:
                heard(int(data))
                await asyncio.sleep(0)  # whom that woke goes first

    async def _let_go(self, connection: AbstractConnection | None) -> None:
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)


async def _read(connection: AbstractConnection, within_s: float) -> object:
    return await connection.read_response(disable_decoding=True, timeout=within_s, push_request=True)


def _private_pool(redis: Redis) -> ConnectionPool:
    """Open a pool to the server of *redis* whose reads wait as long as the caller does."""
    pool = redis.connection_pool
    settings = {**pool.connection_kwargs, "socket_timeout": None, "health_check_interval": 0}
    return ConnectionPool(
        connection_class=pool.connection_class, **{**settings, "retry": Retry(NoBackoff(), 0)}
    )
