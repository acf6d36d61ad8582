"""Follows one test after another and takes the state of those that fail, before the kit empties it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from netra_fixtures.collecting import is_integration

if TYPE_CHECKING:
    from netra_fixtures.isolation.connection import Database
    from netra_fixtures.isolation.redis import WorkerRedis
    from netra_fixtures.report.left import DatabaseLeft, RedisLeft
    from netra_fixtures.services.endpoint import PostgresEndpoint
    from netra_fixtures.snapshot.keeping import Keeping
    from netra_fixtures.worker import Worker

Keep = Callable[["PostgresEndpoint"], None]


class Taken(NamedTuple):
    """What was done to a database at the end of its test.

    Attributes:
        transactions: how many of the kit's own the server counts for it.
        keep: what is to be done with the database before it is dropped; None where it is emptied as ever.
    """

    transactions: int = 0
    keep: Keep | None = None


LEFT_ALONE = Taken()


class Snapshots:
    """The snapshots of one process that runs tests; whatever goes wrong here is said in them and fails no test."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._failed = False
        self._item: pytest.Item | None = None
        self._keeping: Keeping | None = None
        self._begin()

    def _begin(self) -> None:
        self._postgres: DatabaseLeft | None = None
        self._redis: RedisLeft | None = None
        self._notes: list[str] = []

    # what the hooks tell

    def reported(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take note of how a phase ended; the test's first phase begins anew."""
        if report.when == "setup":
            self._item, self._failed = item, False
            self._begin()
        self._failed |= report.failed

    def watch(self, item: pytest.Item) -> None:
        """Notice when a fixture of the test fails as it is torn down: pytest tells only once all are."""
        if not is_integration(item):
            return
        try:
            finalizers = item.session._setupstate.stack[item][0]
        except (AttributeError, LookupError, TypeError):  # not public: without it such a test keeps no state
            return
        finalizers[:] = [self._noticing(finalizer) for finalizer in finalizers]

    def _noticing(self, finalizer: Callable[[], object]) -> Callable[[], object]:
        def finalize() -> object:
            try:
                return finalizer()
            except BaseException:
                self._failed = True
                raise

        return finalize

    # what the services ask as a test lets go of them

    def database(self, database: Database, endpoint: PostgresEndpoint) -> Taken:
        """Read the rows of a test that failed, and say whether its database is to be kept."""
        if not self._failed:
            return LEFT_ALONE
        from netra_fixtures.snapshot.rows import Look

        look = Look(database, endpoint, time_factor=self._worker.settings.time_factor)
        with self._noting("The rows could not be read"):
            written = self._worker.ledger.passed()["postgres"]["rows_written"]
            self._postgres = look.read(on_the_wire=written)
        return Taken(look.transactions, self._kept(database) if self._keeps else None)

    def redis(self, own: WorkerRedis) -> None:
        """Read the keys of a test that failed."""
        if not self._failed:
            return
        from netra_fixtures.snapshot import keys

        factor = self._worker.settings.time_factor
        with self._noting("The keys could not be read"):
            self._redis = keys.read_keys(own, keys.SHOWN, time_factor=factor)
        if self._keeps:
            with self._noting("The keys could not be kept"):
                self._kept_state().keys(keys.read_keys(own, keys.KEPT, time_factor=factor))

    @property
    def _keeps(self) -> bool:
        return self._item is not None and bool(self._item.config.getoption("keep_failed"))

    def _kept(self, database: Database) -> Keep:
        def keep(endpoint: PostgresEndpoint) -> None:
            with self._noting("The database could not be kept"):
                self._kept_state().database(database, endpoint, external=self._is_external)

        return keep

    def _kept_state(self) -> Keeping:
        from netra_fixtures.snapshot.keeping import Keeping

        assert self._item is not None
        if self._keeping is None:
            self._keeping = Keeping(self._item.nodeid, self._item.config.rootpath, self._worker)
        return self._keeping

    @property
    def _is_external(self) -> bool:
        backends = {str(one["name"]): str(one["backend"]) for one in self._worker.services}
        return backends.get("postgres") == "external"

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is, how the test ended is not for its snapshot to change
            said = " ".join(str(error).split()) or type(error).__name__
            self._notes.append(f"{what}: {said}")

    # what the report takes

    def take(self) -> dict[str, Any] | None:
        """Give the snapshot of the test that has just ended; None where there is nothing to say."""
        keeping, self._keeping = self._keeping, None
        if not (self._postgres or self._redis or self._notes) or self._item is None:
            return None
        from netra_fixtures.report.left import Snapshot

        finished = None
        if keeping is not None:
            with self._noting("The state could not be kept"):
                finished = keeping.finish()
        kept, command = finished or (None, self._again(self._item))
        snapshot = Snapshot(
            postgres=self._postgres,
            redis=self._redis,
            notes=tuple(self._notes),
            kept=kept,
            command=command,
        )
        self._begin()
        return snapshot.model_dump(mode="json")

    def _again(self, item: pytest.Item) -> str:
        """Say how to run the test again so that its state is kept."""
        engine = self._worker.settings.redis
        options = [f"--seed={self._worker.seed}", *([f"--redis={engine}"] if engine != "valkey" else [])]
        words = [python(item.config.rootpath), "-m", "pytest", item.nodeid, "--keep-failed", *options]
        return shlex.join(words)


def python(root: Path) -> str:
    """Say how a person calls this interpreter from *root*, without naming a folder of this machine alone."""
    executable = Path(sys.executable)
    return str(executable.relative_to(root)) if executable.is_relative_to(root) else "python"
