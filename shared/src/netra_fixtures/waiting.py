"""Wait for what a test is about to see, under deadlines that one time factor stretches."""

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, overload

T = TypeVar("T")

FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05

_time_factor = 1.0


def time_factor() -> float:
    """Return what every deadline is multiplied by; 1.0 unless the run says otherwise."""
    return _time_factor


def set_time_factor(factor: float) -> None:
    """Stretch every later deadline of this process by *factor*."""
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"the time factor must be a number above 0, not {factor}")
    global _time_factor
    _time_factor = factor


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Cancel the block and raise `TimeoutError` when it takes longer than *seconds* times the time factor."""
    timer = asyncio.timeout(seconds * _time_factor)
    try:
        async with timer:
            yield
    except TimeoutError as error:
        if not timer.expired():
            raise  # the block's own
        raise TimeoutError(f"not within {_deadline(seconds)}") from error


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, seconds: float) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, seconds: float) -> T: ...
async def eventually(check: Callable[[], object], *, seconds: float) -> object:
    """Repeat *check* while it raises `AssertionError`, and return what it returns in the end.

    For changes that nothing announces; where something does, await that inside `within`.

    Raises:
        AssertionError: the last one, with a note of the time waited; any other error passes at once.
        TimeoutError: the first call of *check* itself did not come back.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds * _time_factor
    pause = FIRST_PAUSE_S
    tries = 0
    last: AssertionError | None = None
    while True:
        tries += 1
        try:
            async with asyncio.timeout_at(deadline) as timer:
                found = check()
                return await found if inspect.isawaitable(found) else found
        except AssertionError as error:
            last = error
        except TimeoutError as error:
            if not timer.expired():
                raise
            if last is None:
                raise TimeoutError(f"the check did not come back within {_deadline(seconds)}") from error
        if (left := deadline - loop.time()) <= 0:
            last.add_note(f"still so after {_deadline(seconds)}, tried {tries} times")
            raise last
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _deadline(seconds: float) -> str:
    return f"{seconds:g} s (time factor {_time_factor:g})"
