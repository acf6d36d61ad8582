"""A Redis client that knows which of its connections a test holds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.client import PubSub

from netra_fixtures.errors import FlushRefused
from netra_fixtures.leaks import Leak, LeakWatch
from netra_fixtures.services.endpoint import RedisEndpoint


class LentPool(ConnectionPool):
    """Keeps in mind who took each connection that is out: a command while it runs, a subscription until its end."""

    watch: LeakWatch

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lent: dict[Any, Leak] = {}

    async def get_connection(self, *args: Any, **options: Any) -> Connection:
        """Lend a connection."""
        taker = sys._getframe(1)
        place, command = self.watch.place(taker), taker.f_locals.get("command_name")
        if command in ("FLUSHALL", "FLUSHDB"):
            raise FlushRefused(command)
        connection: Connection = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        if isinstance(taker.f_locals.get("self"), PubSub):
            self._lent[connection] = Leak("a subscription of `redis_client`", place)
        else:
            what = f"a client blocked in {command}" if command else "a connection"
            self._lent[connection] = Leak(f"{what}, of `redis_client`", place)
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        self._lent.pop(connection, None)
        await super().release(connection)

    def take_back(self) -> None:
        """Name what was not given back; closing the client closes it."""
        for leak in self._lent.values():
            self.watch.found(leak)


@contextlib.asynccontextmanager
async def lent_client(
    endpoint: RedisEndpoint, watch: LeakWatch, client_class: type[Redis]
) -> AsyncIterator[Redis]:
    """Give a test a client, and take back what it lent."""
    pool = LentPool.from_url(endpoint.url)
    pool.watch = watch
    client = client_class.from_pool(pool)
    yield client
    await watch.until_cancelled_end()
    pool.take_back()
    await client.aclose()
