"""The worker's part of Redis, emptied after each test."""

import contextlib
from collections.abc import Callable, Iterator
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
    """The worker's part of Redis: a server of its own, or the keys that start with its namespace elsewhere.

    Args:
        kits: the kit's own way to the same server.
        administration: counts the tests' commands whose effect FLUSHALL doesn't undo.
    """

    SCAN_BATCH = 1000

    def __init__(
        self,
        endpoint: RedisEndpoint,
        kits: RedisEndpoint,
        *,
        namespace: str,
        alone: bool,
        administration: Callable[[], int],
    ) -> None:
        from redis import Redis

        self.endpoint = endpoint
        self._kits = kits
        self.namespace = namespace
        self.alone = alone
        self._client = Redis.from_url(kits.url, socket_timeout=DEADLINE_S)
        self._administration = administration
        self._administered = administration()
        if alone:
            self._settings: Any = self._client.config_get("*")
            self._users: set[Any] = set(self._client.acl_users())

    @contextlib.contextmanager
    def lent(self, left: Callable[["WorkerRedis"], None] = lambda _: None) -> Iterator[RedisEndpoint]:
        """Give a test its part, and leave nothing of the test behind.

        Args:
            left: looks at what the test left, before that is gone.
        """
        yield self.endpoint
        left(self)
        self.empty()

    def empty(self) -> None:
        """Remove every key that the tests wrote; on a server of its own undo settings, users and functions too."""
        if self.alone:
            self._client.execute_command("FLUSHALL", "ASYNC")
            if self._administration() != self._administered:
                self._restore()
                self._administered = self._administration()
        else:
            # with the colon: gw1 must not empty gw10
            for key in self._client.scan_iter(match=f"{self.namespace}:*", count=self.SCAN_BATCH):
                self._client.unlink(key)

    def another_client(self, *, timeout_s: float) -> "Redis":
        """Give a client of the kit's own, in no test's count; the caller closes it."""
        from redis import Redis

        return Redis.from_url(self._kits.url, socket_timeout=timeout_s)

    def _restore(self) -> None:
        now = self._client.config_get("*")
        for name, value in self._settings.items():
            if now.get(name) != value:
                self._client.config_set(name, value)
        users: set[Any] = set(self._client.acl_users())
        for user in users - self._users:
            self._client.acl_deluser(user)
        self._client.function_flush("SYNC")

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
    from redis import RedisError

    choice = choose(worker.settings, "redis", lease.ask)
    if choice.shared:
        endpoint, about = external.redis(
            choice.url, worker.namespace, time_factor=worker.settings.time_factor
        )
        about["start_s"] = choice.start_s
    else:
        about = lease.ask("redis", worker=worker.name)
        endpoint = RedisEndpoint(socket=Path(about["socket"]))
    tap.link("redis", "redis", endpoint.target)
    alone = not choice.shared
    # the kit's own words pass the tap too, apart from the tests', so that they can be taken off
    kits = endpoint.over(tap.link("kit-redis", "redis", endpoint.target, of_tests=False))
    own = WorkerRedis(
        endpoint, kits, namespace=worker.namespace, alone=alone,
        administration=lambda: tap.link_counts("redis")["administration"],
    )  # fmt: skip
    before = own.bytes_received() - _kits_bytes(tap)
    if not alone:
        lease.ask(
            "lend", name=f"{worker.name}-keys", worker=worker.name, redis=endpoint.url, stays=choice.stays
        )
    worker.serves("redis", about, choice.backend, choice.reason)
    yield own
    if worker.deaths.seen():
        if choice.stays:
            with contextlib.suppress(
                RedisError, OSError
            ):  # where the tap is gone, the supervisor removes the keys
                own.close()
        return
    with worker.deaths.ending():
        of_tests = own.bytes_received() - _kits_bytes(tap) - before
        worker.compare("redis", tap.link_counts("redis"), {"bytes_received": of_tests if alone else None})
        own.close()
        if not alone:
            lease.ask("returned", name=f"{worker.name}-keys")


def _kits_bytes(tap: Tap) -> int:
    return tap.link_counts("kit-redis")["bytes_received"]
