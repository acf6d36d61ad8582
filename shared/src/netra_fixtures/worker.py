"""One process that runs tests: who it is, what its tests sent, and what it tells the report."""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

from netra_fixtures.collecting import is_integration, services_untouched
from netra_fixtures.deaths import Deaths
from netra_fixtures.errors import (
    AddressUnusable,
    NetraFixturesError,
    ServerDied,
    ServicesUnavailable,
    ServiceUntouched,
)
from netra_fixtures.evidence import SHOWN, Ledger
from netra_fixtures.hold import Place, die_with
from netra_fixtures.settings import Settings
from netra_fixtures.shards import shard_of
from netra_fixtures.snapshot import Snapshots
from netra_fixtures.waiting import set_time_factor

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from netra_fixtures.budgets import Recorder

ACCOUNT = "netra"


class Worker:
    """One process that runs tests: ``gw0``, ``gw1``, … under xdist, ``main`` without.

    Args:
        place: of the run, the same in all its workers.
        seed: of the run.
    """

    KEY: pytest.StashKey[Worker] = pytest.StashKey()

    def __init__(self, *, name: str, place: Place, seed: int, settings: Settings) -> None:
        self.name = name
        self.place = place
        self.directory = place.directory
        self.deaths = Deaths(place.directory)
        self.seed = seed
        self.settings = settings
        self.ledger = Ledger()
        self.snapshots = Snapshots(self)
        self.services: list[dict[str, Any]] = []
        self.counters: list[dict[str, Any]] = []
        self.data: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, str]] = []
        self.account: dict[str, Any] | None = None
        self._nothing_can_follow = False
        self._lacks = ""

    @classmethod
    def begin(cls, config: pytest.Config, told: Mapping[str, Any], name: str) -> Worker:
        """Begin with what the controller tells."""
        chosen = Settings.from_json(told["settings"])
        place = Place.from_json(told["place"])
        worker = cls(name=name, place=place, seed=told["seed"], settings=chosen)
        config.stash[cls.KEY] = worker
        config.pluginmanager.register(worker.deaths, "netra-deaths")
        if place.holder != os.getpid():
            die_with(place.holder)
        set_time_factor(chosen.time_factor)
        return worker

    @property
    def prefix(self) -> str:
        """What the names of the run's databases and keys start with."""
        return self.directory.name.replace("-", "_")

    @property
    def namespace(self) -> str:
        """What the names of this worker's keys, channels and streams start with; a colon follows it."""
        return f"{self.directory.name}:{self.name}"

    @functools.cached_property
    def recorder(self) -> Recorder:
        """Measures the operations of the test that runs."""
        from netra_fixtures.budgets import Recorder

        return Recorder()

    @functools.cached_property
    def _observed(self) -> Callable[[], None]:
        from netra_fixtures.budgets import observe_sqlalchemy

        return observe_sqlalchemy(self.recorder)

    def observe_engines(self) -> None:
        """Measure every statement of every engine from now on."""
        self._observed  # noqa: B018  the first look begins it

    def client_class(self) -> type[Redis]:
        """Give the Redis client that measures its commands."""
        from netra_fixtures.budgets import measured_client_class

        return measured_client_class(self.recorder)

    def serves(self, name: str, server: Mapping[str, Any], backend: str, reason: str) -> None:
        """Note once which server the tests of this process talked to: its name, version and seconds to start."""
        if all(known["name"] != name for known in self.services):
            about = {key: server[key] for key in ("server", "version", "start_s")}
            self.services.append({"name": name, **about, "backend": backend, "reason": reason})

    def compare(self, link: str, counted: Mapping[str, int], server: Mapping[str, int | None]) -> None:
        """Note what the tap counted beside what the server counted itself."""
        known = {name: count for name, count in server.items() if count is not None}
        why: dict[str, str] = {}
        if known.get("rows_written", 0) > counted.get("rows_written", 0):
            why["rows_written"] = "what functions, triggers and WITH write passes no wire"
        if known.get("transactions", 0) > counted.get("transactions", 0) and counted.get("listens"):
            why["transactions"] = "who listens is told in a transaction of the server's own"
        note = "; ".join(why.values()) if known else "others use this server too, so its counters say nothing"
        shown = {name: counted[name] for name in (*SHOWN[link], *server) if name in counted}
        self.counters.append(
            {"link": link, "counted": shown, "server": known, "note": note, "explained": sorted(why)}
        )

    # a test, phase by phase

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch a test's setup; a service that can't be had skips the test, or fails it where it must be there."""
        self._nothing_can_follow = False
        try:
            with self._guarded(item, "setup"):
                return (yield)
        except ServicesUnavailable as error:
            if self.settings.strict or isinstance(error, AddressUnusable):
                self._end_where_nothing_can_follow(item.session)
                raise _plainly(error) from None
            self._lacks = str(error)
            pytest.skip(str(error))
        except ServerDied as error:
            self.deaths.tell(error)
            raise _plainly(error) from None
        except NetraFixturesError as error:
            self._end_where_nothing_can_follow(item.session)
            raise _plainly(error) from None

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        """Note that what all tests share can't be had: each of them would say the same."""
        try:
            return (yield)
        except NetraFixturesError:
            self._nothing_can_follow |= fixturedef.scope == "session"
            raise

    def _end_where_nothing_can_follow(self, session: pytest.Session) -> None:
        if self._nothing_can_follow:
            session.shouldfail = "the tests end here: what they share can't be had, as said above"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch a test's body; one that asks for a service and sends it nothing fails."""
        if not is_integration(item):
            return (yield)
        from netra_fixtures.guard import MockRefused

        try:
            with self._guarded(item, "call"):
                outcome = yield
                if untouched := services_untouched(item, self.ledger.passed()):
                    raise ServiceUntouched(untouched)
        except (MockRefused, ServiceUntouched) as error:
            raise _plainly(error) from None
        return outcome

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch a test's teardown."""
        try:
            self.snapshots.watch(item)
            with self._guarded(item, "teardown"):
                return (yield)
        except NetraFixturesError as error:
            raise _plainly(error) from None

    @contextlib.contextmanager
    def _guarded(self, item: pytest.Item, phase: Literal["setup", "call", "teardown"]) -> Iterator[None]:
        if not is_integration(item):
            yield
            return
        from netra_fixtures.guard import guarding

        with guarding(item, phase):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach what the test is worth to its first report, and to its last what passed over the wire."""
        report = yield
        self.snapshots.reported(item, report)
        if report.when == "setup":
            report.netra = self._worth(item)  # type: ignore[attr-defined]
        elif report.when == "teardown":
            report.netra = self._proof()  # type: ignore[attr-defined]
        return report

    def _worth(self, item: pytest.Item) -> dict[str, Any]:
        integration = is_integration(item)
        lacks, self._lacks = self._lacks, ""
        value = None
        if integration:
            from netra_fixtures.value import value_of

            value = value_of(item)
        return {
            "worker": self.name,
            "doc": _first_paragraph(getattr(item, "function", None)),
            "promise": _first_paragraph(getattr(item, "module", None)),
            "integration": integration,
            "value": value.model_dump(mode="json") if value else None,
            "lacks": lacks,
        }

    def _proof(self) -> dict[str, Any]:
        measured = self.recorder.take() if "recorder" in vars(self) else {}
        outcomes, self.outcomes = self.outcomes, []
        return {
            "outcomes": outcomes,
            "snapshot": self.snapshots.take(),
            "evidence": self.ledger.take(),
            "budgets": {name: samples.to_json() for name, samples in measured.items()},
        }

    @pytest.hookimpl(wrapper=True)  # after the split: shards split one list, and each has a seed of its own
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Order the tests by chance where asked to; by the run's seed, so that all workers agree."""
        outcome = yield
        if config.getoption("random_order"):
            random.Random(self.seed).shuffle(items)
        return outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Draw up what the report takes from this process, unless it only led others."""
        if "_observed" in vars(self):
            self._observed()
        if session.testscollected and not session.config.pluginmanager.hasplugin("dsession"):
            self.account = {
                "worker": self.name,
                "services": self.services,
                "data": self.data,
                "counters": self.counters,
                "collected": session.testscollected,
                "shard": shard_of(session.config),
            }
            getattr(session.config, "workeroutput", {})[ACCOUNT] = self.account


def _first_paragraph(documented: object) -> str | None:
    text = (getattr(documented, "__doc__", None) or "").strip().partition("\n\n")[0]
    return " ".join(text.split()) or None


def _plainly(error: NetraFixturesError) -> BaseException:
    """Give the failure that shows the sentence and no traceback of ours."""
    return pytest.fail.Exception(str(error), pytrace=False)
