"""What processes tell each other over PostgreSQL: that a run waits, is to be cancelled, or ended."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import asyncpg
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_CHANNEL: Final = "agents"
_SILENCE_S: Final = 10.0
_RETRY_S: Final = 0.2
_AWAY: Final = (
    OSError,  # TimeoutError is one
    exc.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Notices:
    """Hear notices; one that is missed is made up for by whoever looks again."""

    def __init__(self, engine: AsyncEngine, namespace: str, *, deadline: timedelta) -> None:
        self.connected = asyncio.Event()
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._namespace = namespace
        self._deadline = deadline.total_seconds()

    async def listen(self, told: Callable[[str, str], None]) -> None:
        """Call *told* with the kind and the run of each notice, for ever."""

        def hear(_: object, _pid: int, _channel: str, payload: object) -> None:
            space, _, rest = str(payload).rpartition(" ")[0].rpartition(" ")
            if space == self._namespace:
                told(rest, str(payload).rpartition(" ")[2])

        while True:
            with suppress(*_AWAY):
                await self._hear(hear)
            self.connected.clear()
            await asyncio.sleep(_RETRY_S)

    async def _hear(self, hear: Callable[..., None]) -> None:
        async with asyncio.timeout(self._deadline):
            connection = await self._engine.connect()
        driver = await _driver(connection)
        over = asyncio.Event()

        def ended(_: object) -> None:
            over.set()

        try:
            driver.add_termination_listener(ended)
            async with asyncio.timeout(self._deadline):
                await driver.add_listener(_CHANNEL, hear)
            self.connected.set()
            while not over.is_set():
                try:
                    async with asyncio.timeout(_SILENCE_S):
                        await over.wait()
                except TimeoutError:
                    async with asyncio.timeout(self._deadline):
                        await driver.execute("select 1")
        finally:
            driver.terminate()  # it listens: no pool shall have it again
            with suppress(exc.SQLAlchemyError, OSError):
                await connection.invalidate()
                await connection.close()


async def _driver(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection
