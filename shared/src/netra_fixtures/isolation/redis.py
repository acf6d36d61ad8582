"""The worker's part of Redis, emptied after each test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netra_fixtures.evidence import Tap
from netra_fixtures.lease import Lease
from netra_fixtures.services import external
from netra_fixtures.services.backend import choose
from netra_fixtures.services.endpoint import RedisEndpoint
from netra_fixtures.worker import Worker

if TYPE_CHECKING:
    from redis import Redis

DEADLINE_S = 30


class WorkerRedis:
    """The worker's part of Redis: a server of its own, or the keys that start with its namespace elsewhere."""

    SCAN_BATCH = 1000

    def __init__(self, endpoint: RedisEndpoint, *, namespace: str, alone: bool) -> None:
        self.endpoint = endpoint
        self.namespace = namespace
        self.alone = alone
        self.own_commands = 0
        self._client = self._connect()
        self._baseline = self._processed() if alone else 0

    def _connect(self) -> "Redis":
        from redis import Redis

        return Redis.from_url(self.endpoint.url, socket_timeout=DEADLINE_S)

    def _processed(self) -> int:
        stats: Any = self._client.info("stats")
        return int(stats["total_commands_processed"])

    def empty(self) -> None:
        """Remove every key that the tests wrote."""
        if self.alone:
            self._client.execute_command("FLUSHALL", "ASYNC")
            self.own_commands += 1
        else:
            # with the colon: gw1 must not empty gw10
            for key in self._client.scan_iter(match=f"{self.namespace}:*", count=self.SCAN_BATCH):
                self._client.unlink(key)

    def server_commands(self) -> int | None:
        """Give how many commands of the tests the server itself counted; None where others use it too."""
        if not self.alone:
            return None
        return self._processed() - self._baseline - self.own_commands - 1

    def close(self) -> None:
        """Remove the keys and close the connection."""
        self.empty()
        self._client.close()


@contextlib.contextmanager
def acquired(worker: Worker, lease: Lease, tap: Tap) -> Iterator[WorkerRedis]:
    """Give the worker a server of its own, or its part of one that is shared.

    Raises:
        ServicesUnavailable: there is no server to be had.
    """
    backend, reason = choose(worker.settings, "redis")
    if backend == "external":
        endpoint, server, version = external.redis(worker.settings)
        start_s = 0.0
    else:
        answer = lease.ask("redis", worker=worker.name)
        endpoint = RedisEndpoint(socket=Path(answer["socket"]))
        server, version, start_s = answer["server"], answer["version"], answer["start_s"]
    tap.link("redis", "redis", endpoint.target)
    own = WorkerRedis(endpoint, namespace=worker.namespace, alone=backend != "external")
    worker.serves("redis", server, version, backend, start_s, reason)
    yield own
    if lease.died():
        return
    worker.compare("redis", tap.link_counts("redis"), {"commands": own.server_commands()})
    own.close()
