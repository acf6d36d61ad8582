"""A test that is cut short from outside, as by pytest-timeout, is ended, so that its fixtures can be.

anyio runs a test and its fixtures in one task, and takes the outcome that a timeout raises into the event loop for the
test's own: the test would stay where it hangs, and the first fixture to be left would wait for it for ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import asyncio

TRIES: Final = 5
PATIENCE_S: Final = 1.0


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run an async test in a way that it can be ended."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test) or hasattr(test, "hypothesis"):
        return (yield)
    running = Running(test)
    pyfuncitem.obj = running.run
    try:
        return (yield)
    except BaseException:
        running.end()
        raise
    finally:
        pyfuncitem.obj = test


class Running:
    """An async test that runs in a task which isn't its own."""

    def __init__(self, test: Callable[..., Awaitable[object]]) -> None:
        self._test = test
        self._task: asyncio.Task[Any] | None = None
        self._over: asyncio.Future[None] | None = None

    async def run(self, **given: object) -> None:
        """Run it."""
        import asyncio

        __tracebackhide__ = True
        self._task = asyncio.current_task()
        try:
            await self._test(**given)
        except asyncio.CancelledError:
            if self._over is None or self._task is None:
                raise
            while self._task.uncancel():
                pass
        finally:
            self._task = None
            if self._over is not None:
                self._over.set_result(None)

    def end(self) -> None:
        """Cancel it where it goes on; one that swallows that is asked again, for as long as there is patience."""
        import asyncio

        if self._task is None:  # the outcome is its own
            return
        loop = self._task.get_loop()
        self._over = loop.create_future()
        for _ in range(TRIES):
            if self._task is not None:
                self._task.cancel()
                loop.run_until_complete(asyncio.wait([self._over], timeout=PATIENCE_S))
