"""What tests can't do without: the supervisor, its servers and the tap. Whichever ends first ends the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from netra_fixtures.collecting import is_integration
from netra_fixtures.errors import ServerDied
from netra_fixtures.lease import died, record_death

FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)  # pytest's own are no `Exception`
Look = Callable[[], ServerDied | None]


class Deaths:
    """Looks after each test whether something died, and stops the worker with one sentence where it did.

    A hundred tests that each say "connection refused" would hide the one thing that happened.

    Args:
        directory: of the run, where a death is noted for its other workers.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._looks: list[Look] = []
        self._confirms: list[Callable[[], None]] = []
        self._failed = False
        self._first: ServerDied | None = None

    def watch(self, look: Look, *, confirm: Callable[[], None] | None = None) -> None:
        """Watch something from now on.

        Args:
            confirm: makes sure that *look* knows of a death that a test has just met.
        """
        self._looks.append(look)
        if confirm:
            self._confirms.append(confirm)

    def rest(self) -> None:
        """Watch no more: what was watched is about to be asked to end."""
        self.seen()
        self._looks.clear()
        self._confirms.clear()

    def seen(self) -> ServerDied | None:
        """Say what died, if something did; the first one that was seen."""
        if self._first is None:
            self._first = died(self._directory) or next(filter(None, (look() for look in self._looks)), None)
            if self._first:
                record_death(self._directory, self._first)
        return self._first

    def tell(self, death: ServerDied) -> None:
        """Take a death that somebody met before anything was watched."""
        if self._first is None:
            self._first = death
            record_death(self._directory, death)

    def confirm(self) -> ServerDied | None:
        """Say what died, where something just failed: a death that it met is known then."""
        if self.seen() is None:
            for confirm in self._confirms:
                confirm()
        return self.seen()

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """What fails in the block because something died is no failure of its own."""
        try:
            yield
        except Exception:
            if self.confirm() is None:
                raise

    def met(self, item: pytest.Item) -> ServerDied | None:
        """Say what died, after a test that failed; end the run where something did."""
        dead = self.confirm()
        if dead:
            item.session.shouldstop = str(dead)
        return dead

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember that a test failed."""
        report = yield
        self._failed = (self._failed and report.when != "setup") or report.failed
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Where a setup failed because something died, say that instead."""
        try:
            return (yield)
        except FAILURES:
            dead = self.met(item) if is_integration(item) else None
            if dead:
                raise pytest.fail.Exception(str(dead), pytrace=False) from None
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Where something died, end the run here; what the teardown then can't do is no failure of the test."""
        looked = False
        try:
            result = yield
        except FAILURES:
            if not is_integration(item) or not self.met(item):
                raise
            looked, result = True, None
        if not looked and is_integration(item):
            dead = self.met(item) if self._failed else self.seen()
            if dead:
                item.session.shouldstop = str(dead)
        return result
