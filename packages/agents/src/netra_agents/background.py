"""Tasks that go on for as long as their owner does; one that ends by itself is noticed."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

_log: Final = logging.getLogger(__name__)


class Background:
    """Keep tasks that should never end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* go on until `close`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def broken(self) -> None:
        """Wait until a task ended by itself, and raise its error.

        Raises:
            RuntimeError: with the task's error as the cause.
        """
        await self._over.wait()
        error = None
        if self._broken is not None and not self._broken.cancelled():
            error = self._broken.exception()
        raise RuntimeError("a task in the background ended; start another worker") from error

    async def close(self) -> None:
        """End the tasks, and wait for their end."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task in self._tasks:
            self._tasks.discard(task)
            self._broken = task
            self._over.set()
            error = None if task.cancelled() else task.exception()
            _log.error("a task in the background ended", exc_info=error)
