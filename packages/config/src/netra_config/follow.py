"""Follow the revisions while a block lasts: announcements wake the poll, the poll stands behind them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from netra_config.announce import Heard
from netra_config.errors import StoreUnavailable

_RETRY_S = 0.5
_LULL_S = 0.05
log = logging.getLogger(__name__)
Step = Callable[[], Awaitable[None]]


class Channel(Protocol):
    """Where announcements come from."""

    async def listen(self, heard: Heard, *, silence: timedelta) -> None:
        """Call *heard* with each version, and with None once it listens."""


class Follower:
    """Three tasks of one owner: listen, poll, and report; none of them ends before `stop`.

    Args:
        version: tells which version is in memory, so that its own announcement wakes nobody.
        refresh: reads PostgreSQL.
        upkeep: is done every *upkeep_every*.
    """

    def __init__(
        self, channel: Channel, *, version: Callable[[], int], refresh: Step, poll_every: timedelta, upkeep: Step,
        upkeep_every: timedelta,
    ) -> None:  # fmt: skip
        self.listening = False
        self._channel = channel
        self._version = version
        self._refresh = refresh
        self._upkeep = upkeep
        self._poll_every = poll_every
        self._upkeep_every = upkeep_every
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self, *, patience: timedelta) -> None:
        """Begin, and wait for up to *patience* until announcements come in; without Redis the poll carries."""
        steps = (self._listen, self._poll, self._keep_up)
        self._tasks = tuple(asyncio.create_task(self._supervised(step), name=step.__name__) for step in steps)
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await self._subscribed.wait()
        except TimeoutError:
            log.warning("no announcements yet: settings are polled every %s", self._poll_every)
        except BaseException:
            await self.stop()
            raise

    def changed(self) -> None:
        """Let the upkeep come at once: there is something to report."""
        self._changed.set()

    async def stop(self) -> None:
        """End the tasks and wait until they are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _supervised(self, step: Step) -> None:
        """Do *step* again and again; a store out of reach delays it, and nothing ends it."""
        while True:
            try:
                await step()
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
            except (Exception, asyncio.CancelledError) as error:
                if _is_being_ended():
                    raise
                # named, not shown: its text may hold a value
                log.error("following the settings met %s; it goes on", type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        try:
            await self._channel.listen(self._heard, silence=self._poll_every)
        finally:
            self.listening = False

    def _heard(self, version: int | None) -> None:
        if version is None:
            self.listening = True
            self._subscribed.set()
        if version is None or version > self._version():
            self._wake.set()

    async def _poll(self) -> None:
        await _wait(self._wake, self._poll_every)
        try:
            await self._refresh()
        except StoreUnavailable:
            self._wake.set()  # what was announced is still to be read
            raise

    async def _keep_up(self) -> None:
        await self._upkeep()
        await _wait(self._changed, self._upkeep_every)
        await asyncio.sleep(_LULL_S)  # changes come in bursts, and a report is in no hurry


def _is_being_ended() -> bool:
    """Tell `stop` from a driver that gives up a future of its own, which ends no task of ours."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _wait(event: asyncio.Event, longest: timedelta) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(longest.total_seconds()):
            await event.wait()
    event.clear()
