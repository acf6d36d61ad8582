"""An SQLAlchemy engine that knows which of its connections a test holds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from netra_fixtures.leaks import Leak, LeakWatch, Place
from netra_fixtures.services.endpoint import PostgresEndpoint

FEWEST = 64


class Lent:
    """The connections that are out; each is kept until it is closed: one that is forgotten isn't collected unseen."""

    def __init__(self) -> None:
        self._connections: list[tuple[AsyncConnection, Place]] = []
        self._most = FEWEST

    def add(self, connection: AsyncConnection, place: Place) -> None:
        """Keep a connection; those that were closed are let go whenever their number has doubled."""
        if len(self._connections) >= self._most:
            self._connections = [(one, where) for one, where in self._connections if not _has_ended(one)]
            self._most = max(FEWEST, 2 * len(self._connections))
        self._connections.append((connection, place))

    def open(self) -> list[tuple[AsyncConnection, Place]]:
        """Give those that were opened and not closed."""
        return [(one, place) for one, place in self._connections if one.sync_connection and not one.closed]


def _has_ended(connection: AsyncConnection) -> bool:
    return connection.sync_connection is not None and connection.closed


class LentEngine(AsyncEngine):
    """Knows where each connection that it gave out was asked for."""

    __slots__ = ("_lent", "_watch")

    def __init__(self, engine: AsyncEngine, watch: LeakWatch, lent: Lent) -> None:
        super().__init__(engine.sync_engine)
        self._watch = watch
        self._lent = lent

    def connect(self) -> AsyncConnection:
        """Give out a connection."""
        connection = super().connect()
        self._lent.add(connection, self._watch.place(sys._getframe(1)))
        return connection

    def execution_options(self, **options: Any) -> AsyncEngine:
        """Give an engine with other options, whose connections are this one's too."""
        return LentEngine(super().execution_options(**options), self._watch, self._lent)


@contextlib.asynccontextmanager
async def lent_engine(endpoint: PostgresEndpoint, watch: LeakWatch) -> AsyncIterator[AsyncEngine]:
    """Give a test an engine, and take back what it gave out."""
    lent = Lent()
    engine = LentEngine(create_async_engine(endpoint.url()), watch, lent)
    yield engine
    await watch.until_cancelled_end()
    for connection, place in lent.open():
        begun = connection.in_transaction()
        watch.found(Leak(f"{'an open transaction' if begun else 'a connection'} of `engine`", place))
        await connection.invalidate()
        await connection.close()
    await engine.dispose()
