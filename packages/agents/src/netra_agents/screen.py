"""Keeps the view of runs up to date while they go on; only the last state of a run is written."""

import asyncio
from typing import Final

from netra_agents.errors import StoreUnavailable
from netra_agents.run import RunId
from netra_agents.view import View

_AGAIN_S: Final = 0.2
_MOST: Final = 200
_MOST_WAITING: Final = 10_000


class Screen:
    """Writes views behind the runs; without Redis nobody waits, and what is missing is rebuilt."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._waiting: dict[RunId, str] = {}
        self._some = asyncio.Event()

    def show(self, run: RunId, view: str) -> None:
        """Show a state of a run."""
        if run in self._waiting or len(self._waiting) < _MOST_WAITING:
            self._waiting[run] = view
            self._some.set()

    async def draw(self) -> None:
        """Write what is to be shown, for ever."""
        while True:
            await self._some.wait()
            if not await self._write():
                await asyncio.sleep(_AGAIN_S)

    async def finish(self) -> None:
        """Write what is left, unless Redis is away."""
        while self._waiting and await self._write():
            pass

    async def _write(self) -> bool:
        taken = list(self._waiting.items())[:_MOST]
        for run, _ in taken:
            del self._waiting[run]
        try:
            await self._view.show(taken)
        except BaseException as error:  # it may be cut short, and what was taken is shown by `finish` then
            self._waiting = dict(taken) | self._waiting
            if isinstance(error, StoreUnavailable):
                return False
            raise
        if not self._waiting:
            self._some.clear()
        return True
