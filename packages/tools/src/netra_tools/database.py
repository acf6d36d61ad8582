"""Connections to PostgreSQL that are given up at a deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import exc, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from netra_tools.errors import StoreUnavailable

_MOST = 8
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
    """What PostgreSQL is asked through, over at most 8 connections; what it doesn't answer raises `StoreUnavailable`.

    The connections are made by the engine and taken out of its pool, whose way to the driver costs as much as a
    round trip.
    """

    def __init__(self, engine: AsyncEngine, *, deadline: timedelta) -> None:
        self._engine = engine
        self._deadline = deadline.total_seconds()
        self._room = asyncio.Semaphore(_MOST)
        self._free: list[asyncpg.Connection] = []
        self._closed = False

    def close(self) -> None:
        """Close the connections, those that are in use once they are given back."""
        self._closed = True
        self._forget()

    async def execute(self, statement: Statement, **values: object) -> list[Any]:
        """Run one statement that commits by itself, and return its rows, whose columns have names.

        At the deadline its connection is terminated. A statement that is cancelled instead waits for the server's
        answer, which a dead link never gives.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._deadline
        try:
            async with self._lent(due) as connection:
                ending = loop.call_at(due, connection.terminate)
                try:
                    arguments = (values[name] for name in statement.names)
                    return list(await connection.fetch(statement.text, *arguments))
                finally:
                    ending.cancel()
        except Exception as error:
            if not _is_unreachable(error):
                raise
            self._forget()  # the others lead to the same server
            raise StoreUnavailable("PostgreSQL") from error

    @asynccontextmanager
    async def _lent(self, due: float) -> AsyncIterator[asyncpg.Connection]:
        async with asyncio.timeout_at(due):
            await self._room.acquire()
        connection: asyncpg.Connection | None = None
        try:
            while self._free and (connection is None or connection.is_closed()):
                connection = self._free.pop()
            if connection is None or connection.is_closed():
                async with asyncio.timeout_at(due):
                    connection = await self._opened()
            yield connection
        except asyncio.CancelledError:
            if connection is not None:
                connection.terminate()  # an answer may be under way still
            raise
        finally:
            self._room.release()
            if connection is not None and not connection.is_closed():
                self._free.append(connection)
            if self._closed:
                self._forget()

    def _forget(self) -> None:
        while self._free:
            self._free.pop().terminate()

    async def _opened(self) -> asyncpg.Connection:
        """Take a connection out of the engine's pool, past those whose server went away while they lay there."""
        while True:
            lent = await self._engine.raw_connection()
            connection = lent.driver_connection
            assert isinstance(connection, asyncpg.Connection), "the engine's driver is asyncpg"
            if not connection.is_closed():
                lent.detach()
                return connection
            lent.invalidate()
            await greenlet_spawn(lent.close)


def _is_unreachable(error: BaseException) -> bool:
    """Tell an absent server from a wrong statement."""
    invalidated = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    below = (
        error.orig if isinstance(error, exc.DBAPIError) else error
    )  # a raw connection's errors come unwrapped
    cause = below.__cause__ if below is not None else None
    return invalidated or any(isinstance(one, _UNREACHABLE) for one in (error, cause))
