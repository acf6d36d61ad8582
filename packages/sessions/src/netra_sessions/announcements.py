"""One connection to Redis on which a gateway hears of everything its users' histories gain."""

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from netra_sessions.errors import StoreUnavailable
from netra_sessions.lane import private_pool

_RETRY_S = 0.1
_NO_NOTICES: Final = MaintNotificationsConfig(enabled=False)
_AT_ONCE = 500


class Announcements:
    """Hear what is published on channels that come and go.

    Args:
        heard: is called with channel and message, in order.
        subscribed: is called with a channel when it is heard from now on, the first time or again: what was
            published before was missed.
        deadline: how long Redis may take; a silence of two of them is a lost connection.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        heard: Callable[[bytes, bytes], None],
        subscribed: Callable[[bytes], None],
        deadline: timedelta,
    ) -> None:
        # by protocol 2 announcements are ordinary replies; notices of maintenance need 3
        self._pool = private_pool(redis, protocol=2, maint_notifications_config=_NO_NOTICES)
        self._heard = heard
        self._subscribed = subscribed
        self._deadline_s = deadline.total_seconds()
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._connection: AbstractConnection | None = None
        self._alive_at = 0.0

    async def run(self) -> None:
        """Listen until cancelled, through outages."""
        try:
            while True:
                try:
                    await self._listen()
                except* (RedisError, OSError):
                    await asyncio.sleep(_RETRY_S)
        finally:
            await self._pool.disconnect(inuse_connections=True)

    async def follow(self, channel: bytes) -> None:
        """Hear *channel* from now on; two callers of one channel share it.

        Raises:
            StoreUnavailable: Redis did not confirm it within the deadline.
        """
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = self._confirmed[channel] = asyncio.Event()
            await self._tell(b"SUBSCRIBE", channel)
        try:
            async with asyncio.timeout(self._deadline_s):
                await confirmed.wait()
        except TimeoutError as error:
            raise StoreUnavailable("Redis") from error

    async def leave(self, channel: bytes) -> None:
        """Hear *channel* no more."""
        if self._confirmed.pop(channel, None) is not None:
            await self._tell(b"UNSUBSCRIBE", channel)

    async def _tell(self, *command: bytes) -> None:
        """Send a command; where that fails the listener finds out, and subscribes again."""
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                await connection.send_command(*command)
        except (RedisError, OSError):
            return

    async def _listen(self) -> None:
        async with asyncio.timeout(self._deadline_s):
            connection = await self._pool.get_connection()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_asking(connection))
                self._connection = connection
                await self._subscribe(connection, self._confirmed)
                while True:
                    reply = await connection.read_response(disable_decoding=True, timeout=math.inf)
                    self._alive_at = asyncio.get_running_loop().time()
                    self._take(reply)
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _subscribe(self, connection: AbstractConnection, channels: Iterable[bytes]) -> None:
        wanted = list(channels)
        for start in range(0, len(wanted), _AT_ONCE):
            await connection.send_command(b"SUBSCRIBE", *wanted[start : start + _AT_ONCE])

    async def _keep_asking(self, connection: AbstractConnection) -> None:
        """Notice a server that fell silent: each deadline it is asked for a sign of life."""
        loop = asyncio.get_running_loop()
        self._alive_at = loop.time()
        while True:
            asked = loop.time()
            await self._tell(b"PING")
            await asyncio.sleep(self._deadline_s)
            if self._alive_at < asked:
                raise ConnectionError("the server stopped answering")

    def _take(self, reply: Any) -> None:
        if not isinstance(reply, list):
            return
        if reply[0] == b"message":
            self._heard(reply[1], reply[2])
        elif reply[0] == b"subscribe" and (confirmed := self._confirmed.get(reply[1])) is not None:
            confirmed.set()
            self._subscribed(reply[1])
