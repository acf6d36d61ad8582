"""Servers of one test's own, to restart and kill: what a proxy on the link can't show."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netra_fixtures.evidence import Tap
from netra_fixtures.isolation.connection import Database
from netra_fixtures.isolation.migrations import Migrations
from netra_fixtures.isolation.postgres import cluster
from netra_fixtures.isolation.template import TEMPLATE, build_template
from netra_fixtures.lease import Lease
from netra_fixtures.services.endpoint import PostgresEndpoint, RedisEndpoint
from netra_fixtures.services.redis import ask
from netra_fixtures.worker import Worker


class PrivateServer:
    """A server that the supervisor runs for one test."""

    def __init__(self, lease: Lease, name: str) -> None:
        self._lease = lease
        self.name = name

    async def _act(self, act: str, **arguments: Any) -> None:
        await asyncio.to_thread(self._lease.ask, "act", name=self.name, act=act, **arguments)

    async def kill(self) -> None:
        """End it with SIGKILL and return once it is gone; `start` brings it back."""
        await self._act("kill")

    async def start(self) -> None:
        """Start it again at the same address and return once it answers."""
        await self._act("start")


class PrivatePostgres(PrivateServer):
    """A cluster of the test's own, with a clone of the migrated template."""

    def __init__(self, lease: Lease, name: str, endpoint: PostgresEndpoint) -> None:
        super().__init__(lease, name)
        self.endpoint = endpoint

    async def restart(self) -> None:
        """Shut it down without waiting for its clients, and start it again; what was committed is kept."""
        await self._act("stop")
        await self._act("start")


class PrivateRedis(PrivateServer):
    """A Redis of the test's own.

    It saves nothing unless told to (`SAVE`); killed and started again, it is back with what it saved last.
    """

    def __init__(self, lease: Lease, name: str, endpoint: RedisEndpoint, direct: Path) -> None:
        super().__init__(lease, name)
        self.endpoint = endpoint
        self._direct = direct

    async def restart(self, *, keep: bool = False) -> None:
        """Shut it down and start it again, empty unless told to *keep* what it held."""
        await self._act("stop", keep=keep)
        await self._act("start")

    async def flush(self) -> None:
        """Remove every key, as an operator would.

        Raises:
            ConnectionError: the server doesn't run.
        """
        if await asyncio.to_thread(ask, self._direct, b"FLUSHALL") != b"+OK":
            raise ConnectionError(f"{self.name} took no FLUSHALL; start it first")


@contextlib.contextmanager
def private_postgres(worker: Worker, lease: Lease, tap: Tap) -> Iterator[PrivatePostgres]:
    """Start a cluster that holds one migrated database, counted by the tap; end it after."""
    migrations = Migrations(lease.settings.migrations)
    answer = lease.ask("private", kind="postgres", key=migrations.key())
    database = Database(cluster(answer["socket"]), time_factor=lease.settings.time_factor)
    if not answer["sealed"]:
        build_template(database, TEMPLATE, migrations)
    own = database.clone(TEMPLATE, "netra")
    database.close()
    with _counted(worker, lease, tap, answer, "postgres") as path:
        yield PrivatePostgres(lease, answer["name"], own.over(path))


@contextlib.contextmanager
def private_redis(worker: Worker, lease: Lease, tap: Tap) -> Iterator[PrivateRedis]:
    """Start an empty Redis, counted by the tap; end it after."""
    answer = lease.ask("private", kind="redis")
    with _counted(worker, lease, tap, answer, "redis") as path:
        yield PrivateRedis(lease, answer["name"], RedisEndpoint(socket=path), Path(answer["socket"]))


@contextlib.contextmanager
def _counted(worker: Worker, lease: Lease, tap: Tap, answer: dict[str, Any], protocol: str) -> Iterator[Path]:
    worker.serves(f"private {protocol}", answer, "embedded", "tests may kill it")
    yield tap.link(answer["name"], protocol, answer["socket"])
    tap.drop(answer["name"])
    lease.ask("discard", name=answer["name"])
