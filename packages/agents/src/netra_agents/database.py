"""Connections to PostgreSQL that are given up at a deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import exc, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from netra_agents.errors import StoreUnavailable

_UNREACHABLE = (
    OSError,  # TimeoutError is one
    exc.InterfaceError,
    exc.OperationalError,
    exc.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.TransactionRollbackError,  # as by a deadlock: it may be asked again
)


class Statement:
    """A statement as the driver takes it, straight: SQLAlchemy's own way to it costs as much as the round trip.

    Args:
        sql: with its values named as in ``:run``.
    """

    def __init__(self, sql: str) -> None:
        compiled = text(sql).compile(dialect=dialect())  # type: ignore[no-untyped-call]
        self.text = str(compiled)
        self.names = tuple(compiled.positiontup or ())


class Database:
    """What PostgreSQL is asked through; a call that it does not answer raises `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine, *, deadline: timedelta) -> None:
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._deadline = deadline.total_seconds()

    async def execute(self, statement: Statement, **values: object) -> list[Any]:
        """Run one statement that commits by itself, and return its rows, whose columns have names."""
        async with self._connected() as connection:
            arguments = (values[name] for name in statement.names)
            return list(await _driver(connection).fetch(statement.text, *arguments))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection, and terminate it where the block is not done by the deadline.

        A statement that is cancelled instead waits for the server's answer, which a dead link never gives.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._deadline
        try:
            async with asyncio.timeout_at(due):
                connection = await _alive(self._single)
            ending = loop.call_at(due, _driver(connection).terminate)
            try:
                yield connection
            finally:
                ending.cancel()
                await connection.close()
        except Exception as error:
            if not _is_unreachable(error):
                raise
            raise StoreUnavailable("PostgreSQL") from error


async def _alive(engine: AsyncEngine) -> AsyncConnection:
    """Open a connection, past those whose server went away while they lay in the pool."""
    while True:
        connection = await engine.connect()
        if not _driver(connection).is_closed():
            return connection
        await connection.invalidate()
        await connection.close()


def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    assert connection.sync_connection is not None, "it is open"
    driver = connection.sync_connection.connection.driver_connection
    assert isinstance(driver, asyncpg.Connection), "the engine's driver is asyncpg"
    return driver


def _is_unreachable(error: BaseException) -> bool:
    """Tell an absent server from a wrong statement."""
    if isinstance(error, exc.DBAPIError):
        cause = error.orig.__cause__ if error.orig is not None else None
        return error.connection_invalidated or any(isinstance(one, _UNREACHABLE) for one in (error, cause))
    return isinstance(error, _UNREACHABLE)
