"""Connections to PostgreSQL that are given up at a deadline."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from netra_config.errors import NotPermitted, StoreUnavailable

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


@asynccontextmanager
async def connected(engine: AsyncEngine, deadline: timedelta) -> AsyncIterator[AsyncConnection]:
    """Lend a connection that is torn down at the deadline: a cancelled statement would wait for a dead link.

    Raises:
        StoreUnavailable: PostgreSQL did not answer in time.
        NotPermitted: the engine's role may not do what was asked.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + deadline.total_seconds()
    lent: asyncpg.Connection | None = None

    def tear_down() -> None:
        if lent is not None:
            lent.terminate()

    with _typed_errors():
        async with AsyncExitStack() as opened:
            opened.callback(loop.call_at(due, tear_down).cancel)
            async with asyncio.timeout_at(due):
                connection = await opened.enter_async_context(engine.connect())
                while driver(connection).is_closed():  # the server went away while it lay in the pool
                    await connection.invalidate()
                    await connection.close()
                    connection = await opened.enter_async_context(engine.connect())
            lent = driver(connection)
            yield connection


class Kept:
    """One question on a connection beside the engine's pool, for what is asked again and again.

    It is opened and prepared when it is first asked, and again after it was lost; through the pool it takes twice as
    long.
    """

    def __init__(self, engine: AsyncEngine, question: str, deadline: timedelta) -> None:
        self._engine = engine
        self._question = question
        self._deadline = deadline.total_seconds()
        self._connection: asyncpg.Connection | None = None
        self._prepared: Any = None
        self._one_asks = asyncio.Lock()

    async def ask(self, *values: object) -> asyncpg.Record | None:
        """Return the first row; raises what `connected` does."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._deadline
        with _typed_errors():
            async with self._one_asks:  # who asks before us ends before us
                if loop.time() >= due:
                    raise TimeoutError  # a connect that is cancelled as it begins leaves an error behind
                async with asyncio.timeout_at(due):
                    connection = await self._opened()
                armed = loop.call_at(due, self.close)
                try:
                    return await self._answer(connection, values)
                except BaseException:
                    self.close()
                    raise
                finally:
                    armed.cancel()

    def close(self) -> None:
        """Close it at once; the next question would open another."""
        connection, self._connection, self._prepared = self._connection, None, None
        if connection is not None:
            connection.terminate()

    async def _opened(self) -> asyncpg.Connection:
        while self._connection is None or self._connection.is_closed():
            self._prepared = None
            lent = await self._engine.raw_connection()
            self._connection = lent.driver_connection
            assert isinstance(self._connection, asyncpg.Connection), "the engine's driver is asyncpg"
            lent.detach()  # so that the pool lends as many as before
        return self._connection

    async def _answer(
        self, connection: asyncpg.Connection, values: tuple[object, ...]
    ) -> asyncpg.Record | None:
        if self._prepared is None:
            self._prepared = await connection.prepare(self._question)
        return await self._prepared.fetchrow(*values)


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if _is_caused_by(error, asyncpg.InsufficientPrivilegeError):
            raise NotPermitted from None
        if not _is_unreachable(error):
            raise
        raise StoreUnavailable("PostgreSQL") from error


def driver(connection: AsyncConnection) -> asyncpg.Connection:
    """Return the driver's own connection below *connection*."""
    assert connection.sync_connection is not None, "it is open"
    lent = connection.sync_connection.connection.driver_connection
    assert isinstance(lent, asyncpg.Connection), "the engine's driver is asyncpg"
    return lent


def _is_unreachable(error: BaseException) -> bool:
    """Tell an absent server from a wrong statement."""
    invalidated = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    return invalidated or _is_caused_by(error, _UNREACHABLE)


def _is_caused_by(error: BaseException, kinds: type | tuple[type, ...]) -> bool:
    below = (
        error.orig if isinstance(error, exc.DBAPIError) else error
    )  # a raw connection's errors come unwrapped
    cause = below.__cause__ if below is not None else None
    return isinstance(error, kinds) or isinstance(cause, kinds)
