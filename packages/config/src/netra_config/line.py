"""Redis by connections of our own: one for commands, one for whoever listens."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from netra_config.errors import StoreUnavailable


class Line:
    """Commands to the server of a client, one after another on one connection; each ends within the deadline.

    They go to redis-py's connection straight. Through its pool they take about twice as long, and with a socket timeout
    its writes lose a cancellation: before Python 3.12 `asyncio.wait_for` returns normally in place of it.
    """

    def __init__(self, redis: Redis, *, deadline: timedelta) -> None:
        self.deadline_s = deadline.total_seconds()
        pool = redis.connection_pool
        settings = {**pool.connection_kwargs, "socket_timeout": None, "health_check_interval": 0}
        self._pool = ConnectionPool(
            connection_class=pool.connection_class, **{**settings, "retry": Retry(NoBackoff(), 0)}
        )
        self._connection: AbstractConnection | None = None
        self._one_speaks = asyncio.Lock()
        self.kept = False  # where nobody says that it will be closed, each command closes it

    async def ask(self, *command: str | bytes | int) -> object:
        """Send a command that may be sent twice, and return the reply as it came, texts as bytes.

        Raises:
            StoreUnavailable: Redis did not answer, or refused.
        """
        try:
            async with asyncio.timeout(self.deadline_s), self._one_speaks:
                return await self._ask(command)
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[AbstractConnection]:
        """Lend a connection of one's own, closed at the end."""
        connection: AbstractConnection | None = None
        try:
            async with asyncio.timeout(self.deadline_s):
                connection = await self._pool.get_connection()
            yield connection
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error
        finally:
            await self._let_go(connection)

    async def close(self) -> None:
        """Close the connection for commands; the next one would open another."""
        connection, self._connection = self._connection, None
        await self._let_go(connection)

    async def _ask(self, command: tuple[str | bytes | int, ...]) -> object:
        try:
            try:
                return await self._exchange(command)
            except (RedisError, OSError):  # the server may have closed it while nothing was said
                return await self._exchange(command)
        finally:
            if not self.kept:
                await self.close()

    async def _exchange(self, command: tuple[str | bytes | int, ...]) -> object:
        try:
            if self._connection is None:
                self._connection = await self._pool.get_connection()
            await self._connection.send_command(*command, check_health=False)
            return await self._connection.read_response(disable_decoding=True, timeout=math.inf)
        except BaseException:  # a reply may still be under way: this connection can't be used again
            await self.close()
            raise

    async def _let_go(self, connection: AbstractConnection | None) -> None:
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
