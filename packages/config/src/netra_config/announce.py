"""Tell every process over Redis that there is a new revision, and hear it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from redis.asyncio.connection import AbstractConnection

from netra_config.line import Line

Heard = Callable[[int | None], None]
_LONGEST_VERSION = 19  # digits; PostgreSQL's bigint has no more


class Channel:
    """The announcements of one environment, whose names in Redis start with *prefix*."""

    def __init__(self, line: Line, prefix: str) -> None:
        self._line = line
        self._name = f"{prefix}:revised"

    async def announce(self, version: int) -> None:
        """Tell every process that *version* was committed.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        await self._line.ask("PUBLISH", self._name, version)

    async def listen(self, heard: Heard, *, silence: timedelta) -> None:
        """Call *heard* with each version announced, and with None once the server confirmed the subscription.

        Returns only by an error: the caller listens again.

        Args:
            silence: after this long without a word the server is asked whether it is there.

        Raises:
            StoreUnavailable: the connection is lost, or only looks alive.
        """
        async with self._line.lent() as connection:
            await self._send(connection, "SUBSCRIBE", self._name)
            while True:
                await self._hear(connection, heard, silence.total_seconds())

    async def _hear(self, connection: AbstractConnection, heard: Heard, silence_s: float) -> None:
        said = await _read(connection, silence_s)
        if said is None:
            await self._send(connection, "PING")
            said = await _read(connection, self._line.deadline_s)
            if said is None:
                raise ConnectionError("the server stopped answering")
        match said:
            case [b"subscribe", *_]:
                heard(None)
            case [b"message", _, bytes() as data] if data.isdigit() and len(data) <= _LONGEST_VERSION:
                heard(int(data))
                await asyncio.sleep(0)  # whom that woke goes first

    async def _send(self, connection: AbstractConnection, *command: str) -> None:
        async with asyncio.timeout(self._line.deadline_s):
            await connection.send_command(*command, check_health=False)


async def _read(connection: AbstractConnection, within_s: float) -> object:
    return await connection.read_response(disable_decoding=True, timeout=within_s, push_request=True)
