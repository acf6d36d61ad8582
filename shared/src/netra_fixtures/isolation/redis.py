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
    pass

DEADLINE_S = 30


class WorkerRedis:
    """The worker's part of Redis: a server of its own, or the keys that start with its namespace elsewhere."""

    SCAN_BATCH = 1000

    def __init__(self, endpoint: RedisEndpoint, *, namespace: str, alone: bool) -> None:
        from redis import Redis

        self.endpoint = endpoint
        self.namespace = namespace
        self.alone = alone
        self._client = Redis.from_url(endpoint.url, socket_timeout=DEADLINE_S)

    def empty(self) -> None:
        """Remove every key that the tests wrote."""
        if self.alone:
            self._client.execute_command("FLUSHALL", "ASYNC")
        else:
            # with the colon: gw1 must not empty gw10
            for key in self._client.scan_iter(match=f"{self.namespace}:*", count=self.SCAN_BATCH):
                self._client.unlink(key)

    def bytes_received(self) -> int:
        """Read how many bytes the server says that it received, those of this question included.

        Commands would say less: the server also counts those that a script runs.
        """
        stats: Any = self._client.info("stats")
        return int(stats["total_net_input_bytes"])

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
        endpoint, about = external.redis(worker.settings)
    else:
        about = lease.ask("redis", worker=worker.name)
        endpoint = RedisEndpoint(socket=Path(about["socket"]))
    tap.link("redis", "redis", endpoint.target)
    alone = backend != "external"
    # the kit's own words pass the tap too, apart from the tests', so that they can be taken off
    kits = endpoint.over(tap.link("kit-redis", "redis", endpoint.target, of_tests=False))
    own = WorkerRedis(kits, namespace=worker.namespace, alone=alone)
    before = own.bytes_received() - _kits_bytes(tap)
    worker.serves("redis", about, backend, reason)
    yield own
    if lease.died():
        return
    of_tests = own.bytes_received() - _kits_bytes(tap) - before
    worker.compare("redis", tap.link_counts("redis"), {"bytes_received": of_tests if alone else None})
    own.close()


def _kits_bytes(tap: Tap) -> int:
    return tap.link_counts("kit-redis")["bytes_received"]
