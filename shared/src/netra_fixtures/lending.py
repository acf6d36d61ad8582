"""What one test is lent of the services, and how it is taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from netra_fixtures.evidence import Tap
from netra_fixtures.leaks import LeakWatch, Place

T = TypeVar("T")


class Lending:
    """Holds what a test was lent until all its fixtures are done, whichever asked for what first."""

    def __init__(self, watch: LeakWatch) -> None:
        self.watch = watch
        self._lent = ExitStack()

    def enter(self, thing: AbstractContextManager[T]) -> T:
        """Lend *thing* until the end of the test."""
        return self._lent.enter_context(thing)

    def take_back(self) -> None:
        """Leave everything that was entered, the last first."""
        self._lent.close()


@contextlib.contextmanager
def lending(tap: Tap, test: Place) -> Iterator[Lending]:
    """Lend to the test at *test*; what it left open is closed before what it was lent is taken back.

    Raises:
        Leaked: it left something open.
    """
    watch = LeakWatch(tap, test)
    lent = Lending(watch)
    try:
        with watch.watching():
            yield lent
        lent.take_back()
    finally:
        watch.judge()
