"""Connections to PostgreSQL that are given up at a deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

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

    try:
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
    cause = error.orig.__cause__ if isinstance(error, exc.DBAPIError) and error.orig is not None else None
    return isinstance(error, kinds) or isinstance(cause, kinds)
