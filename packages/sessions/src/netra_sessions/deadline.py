"""One deadline for all that an operation asks of its stores, each of which ends its own calls by then."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

_due: ContextVar[float] = ContextVar("due", default=math.inf)


@contextmanager
def due_within(duration: timedelta) -> Iterator[None]:
    """Let the store calls of the block end within *duration*, all of them together."""
    token = _due.set(due_after(duration))
    try:
        yield
    finally:
        _due.reset(token)


def due_after(duration: timedelta) -> float:
    """Return when, on the event loop's clock, a call that may take *duration* must have ended."""
    return min(_due.get(), asyncio.get_running_loop().time() + duration.total_seconds())
