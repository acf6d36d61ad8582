"""Connections to Redis of one's own, given up at a deadline."""

import asyncio
import math
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from netra_tools.errors import StoreUnavailable

_MOST = 16


def private_pool(redis: Redis) -> ConnectionPool:
    """Open a pool to the server of *redis* whose reads wait as long as the caller does, once."""
    pool = redis.connection_pool
    own = {"socket_timeout": None, "health_check_interval": 0, "retry": Retry(NoBackoff(), 0)}
    return ConnectionPool(connection_class=pool.connection_class, **{**pool.connection_kwargs, **own})


def packed(*arguments: bytes) -> bytes:
    """Write a command the way Redis reads it."""
    parts = (b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments)
    return b"*%d\r\n" % len(arguments) + b"".join(parts)


class Memory:
    """What Redis is asked through, over at most 16 connections; what it doesn't answer raises `StoreUnavailable`.

    The commands are written and read past redis-py's own dispatch, which costs more than the round trip.
    """

    def __init__(self, redis: Redis, *, deadline: timedelta) -> None:
        self._pool = private_pool(redis)
        self._deadline = deadline.total_seconds()
        self._room = asyncio.Semaphore(_MOST)
        self._free: list[AbstractConnection] = []
        self._closed = False

    async def close(self) -> None:
        """Close the connections, those that are in use once they are given back."""
        self._closed = True
        self._free.clear()
        await self._pool.disconnect(inuse_connections=True)

    async def ask(self, *command: bytes) -> Any:
        """Send one command and return its reply, in bytes.

        Raises:
            StoreUnavailable: no reply came within the deadline, or the server refused the command.
        """
        connection: AbstractConnection | None = None
        answered = False
        try:
            async with asyncio.timeout(self._deadline), self._room:
                try:
                    connection = self._free.pop() if self._free else await self._pool.get_connection()
                    await connection.send_packed_command(packed(*command), check_health=False)
                    reply = await connection.read_response(disable_decoding=True, timeout=math.inf)
                    answered = True
                except ResponseError:
                    answered = True
                    raise
                finally:
                    if connection is not None:
                        await self._give_back(connection, whole=answered)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            while self._free and not answered:
                await self._drop(self._free.pop())  # the others lead to the same server
            raise StoreUnavailable("Redis") from error
        return reply

    async def run(self, script: bytes, keys: list[bytes], *arguments: bytes) -> Any:
        """Run a script, which no other command comes between."""
        return await self.ask(b"EVAL", script, b"%d" % len(keys), *keys, *arguments)

    async def _give_back(self, connection: AbstractConnection, *, whole: bool) -> None:
        if whole and not self._closed:
            self._free.append(connection)
        else:
            await self._drop(connection)  # a reply may be under way still

    async def _drop(self, connection: AbstractConnection) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)
