"""One connection to Redis that many tasks share: what waits when it is free goes out together."""

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, cast

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

Reply = bytes | int | None | ResponseError
_Waiting = tuple[bytes, "asyncio.Future[Reply | BaseException | None]"]

# What a waiting task is told instead of a reply: send for yourself and for those behind you.
_LEAD: Final = None


class CacheUnavailable(Exception):
    """Redis did not answer, or not as it should; PostgreSQL is asked instead."""


class _Interrupted(Exception):
    """The task that sent for others was cancelled; they send again."""


def private_pool(redis: Redis, **differently: object) -> ConnectionPool:
    """Open a pool to the server of *redis* whose reads wait as long as the caller does."""
    pool = redis.connection_pool
    settings = {**pool.connection_kwargs, "socket_timeout": None, "health_check_interval": 0, **differently}
    return ConnectionPool(
        connection_class=pool.connection_class, **{**settings, "retry": Retry(NoBackoff(), 0)}
    )


def packed(*arguments: bytes) -> bytes:
    """Write a part of a command the way Redis reads it."""
    return b"".join(b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments)


class Lane:
    """Send packed commands and return their replies, in batches when several tasks ask at once.

    One task at a time leads: it writes its own command with all that wait, reads the replies and hands
    over to the first task that came meanwhile. No task of the lane's own runs in between.
    """

    def __init__(self, redis: Redis, *, timeout: timedelta) -> None:
        self._pool = private_pool(redis)
        self._connection: AbstractConnection | None = None
        self._timeout = timeout.total_seconds()
        self._waiting: list[_Waiting] = []
        self._led = False
        self._crowded = False

    async def close(self) -> None:
        """Close the connection; the next command would open another."""
        await self._pool.disconnect(inuse_connections=True)

    async def send(self, command: bytes) -> Reply:
        """Send *command* and return its reply; an error of the command itself is returned, not raised.

        Raises:
            CacheUnavailable: no reply came within the timeout.
        """
        while self._led:
            answer: asyncio.Future[Reply | BaseException | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((command, answer))
            try:
                reply = await answer
            except asyncio.CancelledError:
                if answer.done() and not answer.cancelled() and answer.result() is _LEAD:
                    self._hand_over()
                raise
            if reply is _LEAD:
                break
            if isinstance(reply, CacheUnavailable):
                raise reply
            if not isinstance(reply, _Interrupted):
                return cast(Reply, reply)
        self._led = True
        return await self._lead(command)

    async def _lead(self, command: bytes) -> Reply:
        batch: Sequence[_Waiting] = ()
        outcome: Sequence[Reply | BaseException] = ()
        try:
            if self._crowded:
                await asyncio.sleep(0)  # let those who were just answered ask again
            batch, self._waiting = self._waiting, []
            self._crowded = bool(batch)
            first, *rest = await self._exchange([command, *(waiting for waiting, _ in batch)])
            outcome = rest
            return first
        except CacheUnavailable as error:
            batch, self._waiting = [*batch, *self._waiting], []
            outcome = [error] * len(batch)
            raise
        except BaseException:
            outcome = [_Interrupted()] * len(batch)
            raise
        finally:
            for (_, answer), reply in zip(batch, outcome, strict=True):
                if not answer.done():
                    answer.set_result(reply)
            self._hand_over()

    def _hand_over(self) -> None:
        """Let the first task that still waits lead, or leave the lane free."""
        while self._waiting:
            _, answer = self._waiting.pop(0)
            if not answer.done():
                answer.set_result(_LEAD)
                return
        self._led = False

    async def _exchange(self, commands: Sequence[bytes]) -> list[Reply]:
        connection = self._connection
        try:
            async with asyncio.timeout(self._timeout):
                if connection is None:
                    connection = self._connection = await self._pool.get_connection()
                await connection.send_packed_command(b"".join(commands), check_health=False)
                return [await self._reply(connection) for _ in commands]
        except (RedisError, OSError) as error:
            await self._drop()
            raise CacheUnavailable from error
        except BaseException:
            await self._drop()  # replies are still under way: this connection can't be used again
            raise

    async def _reply(self, connection: AbstractConnection) -> Reply:
        try:
            reply = await connection.read_response(disable_decoding=True, timeout=math.inf)
        except ResponseError as error:
            return error
        return cast(Reply, reply)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
