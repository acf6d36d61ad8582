"""The worker's part of Redis, emptied after each test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netra_fixtures.evidence import Tap
from netra_fixtures.lease import Lease
from netra_fixtures.services import external
from netra_fixtures.services.backend import choose
from netra_fixtures.services.endpoint import RedisEndpoint
from netra_fixtures.worker import Worker

DEADLINE_S = 30
LASTING = (
    "config|set",
    "config|resetstat",
    "acl|setuser",
    "acl|deluser",
    "function|load",
    "function|restore",
)


class WorkerRedis:
    """The worker's part of Redis: a server of its own, or the keys that start with its namespace elsewhere."""

    SCAN_BATCH = 1000

    def __init__(self, endpoint: RedisEndpoint, *, namespace: str, alone: bool) -> None:
        from redis import Redis

        self.endpoint = endpoint
        self.namespace = namespace
        self.alone = alone
        self._client = Redis.from_url(endpoint.url, socket_timeout=DEADLINE_S)
        if alone:
            self._settings: Any = self._client.config_get("*")
            self._users: set[Any] = set(self._client.acl_users())
            self._lasting = _lasting(self._client.info("commandstats"))

    def empty(self) -> None:
        """Remove every key that the tests wrote; on a server of its own undo settings, users and functions too."""
        if self.alone:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("FLUSHALL", "ASYNC")
                pipeline.info("commandstats")
                _, stats = pipeline.execute()
            if _lasting(stats) != self._lasting:
                self._restore()
        else:
            # with the colon: gw1 must not empty gw10
            for key in self._client.scan_iter(match=f"{self.namespace}:*", count=self.SCAN_BATCH):
                self._client.unlink(key)

    def _restore(self) -> None:
        now = self._client.config_get("*")
        for name, value in self._settings.items():
            if now.get(name) != value:
                self._client.config_set(name, value)
        users: set[Any] = set(self._client.acl_users())
        for user in users - self._users:
            self._client.acl_deluser(user)
        self._client.function_flush("SYNC")
        self._lasting = _lasting(self._client.info("commandstats"))

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


def _lasting(stats: Any) -> int:
    """Count the commands whose effect FLUSHALL doesn't undo."""
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in LASTING)


def _kits_bytes(tap: Tap) -> int:
    return tap.link_counts("kit-redis")["bytes_received"]
