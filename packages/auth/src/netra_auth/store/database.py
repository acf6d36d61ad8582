"""Connections to PostgreSQL that are given up at a deadline."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import Row, TextClause, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from netra_auth.errors import StoreUnavailable

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


class Transaction:
    """One transaction: statements see each other's work, and all or none of it stays."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def execute(self, statement: TextClause, **values: object) -> Sequence[Row[Any]]:
        """Run a statement and return its rows, none where it has none to return."""
        result = await self._connection.execute(statement, values)
        return result.fetchall() if result.returns_rows else ()


class Database:
    """What PostgreSQL is asked through; a call that it does not answer raises `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine, *, deadline: timedelta) -> None:
        self._single = _discreet(engine, "AUTOCOMMIT")
        self._joint = _discreet(engine, "READ COMMITTED")
        self._deadline = deadline.total_seconds()

    async def execute(self, statement: TextClause, **values: object) -> Sequence[Row[Any]]:
        """Run one statement that commits by itself, and return its rows."""
        async with self._connected(self._single) as connection:
            return await Transaction(connection).execute(statement, **values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction that commits when the block ends, and not when it raises."""
        async with self._connected(self._joint) as connection, connection.begin():
            yield Transaction(connection)

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Lend a connection, and terminate it where the block is not done by the deadline.

        A statement that is cancelled instead waits for the server's answer, which a dead link never gives.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._deadline
        try:
            async with asyncio.timeout_at(due):
                connection = await _alive(engine)
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


def _discreet(engine: AsyncEngine, isolation_level: str) -> AsyncEngine:
    """Return *engine* with values left out of its errors and its log, for they are digests and sealed secrets."""
    own = engine.execution_options(isolation_level=isolation_level)
    own.sync_engine.hide_parameters = True  # of this view alone: the caller's engine keeps its own setting
    return own


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
