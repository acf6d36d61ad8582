"""Tasks that go on for as long as their owner does; one that ends by itself is noticed."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """Keep tasks that should never end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Task[None] | None = None

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* go on until `close`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def check(self) -> None:
        """Make sure that all tasks go on.

        Raises:
            RuntimeError: none was ever begun, or one ended; with its error as the cause.
        """
        if self._broken is not None:
            error = None if self._broken.cancelled() else self._broken.exception()
            raise RuntimeError("a task in the background ended; open another executor") from error
        if not self._tasks:
            raise RuntimeError("the executor isn't open; enter its block first")

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
