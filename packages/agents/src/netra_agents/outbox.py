"""Events on their way to the sink: those of one run one after another, each until the sink takes it."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from netra_agents.claims import Claims, Untold
from netra_agents.errors import StoreUnavailable
from netra_agents.events import EventSink
from netra_agents.run import RunId

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
_ACKNOWLEDGE_S: Final = 0.25  # what a crash makes come again, under its id
_log: Final = logging.getLogger(__name__)


@dataclass
class _Line:
    """The events of one run that wait; `last` is the number of the last that was put here."""

    waiting: deque[Untold] = field(default_factory=deque)
    last: int = 0
    sending: "asyncio.Task[None] | None" = None
    closed: bool = False


class Outbox:
    """Sends events; what a worker that died left here another finds in PostgreSQL."""

    def __init__(self, sink: EventSink | None, claims: Claims, *, deadline: timedelta) -> None:
        self._sink = sink
        self._claims = claims
        self._deadline = deadline.total_seconds()
        self._lines: dict[RunId, _Line] = {}
        self._sent: dict[RunId, int] = {}
        self._acknowledge = asyncio.Event()

    def put(self, run: RunId, events: Sequence[Untold]) -> None:
        """Send events after those that wait already, which they may repeat."""
        line = self._lines.setdefault(run, _Line())
        for untold in events:
            if untold.number > line.last:
                line.last = untold.number
                line.waiting.append(untold)
        if line.waiting and line.sending is None:
            line.sending = asyncio.create_task(self._send(run, line))

    def close_line(self, run: RunId) -> None:
        """Forget a run once its last event is sent: no others follow from here."""
        line = self._lines.get(run)
        if line is not None:
            line.closed = True
            if line.sending is None:
                del self._lines[run]

    async def acknowledge(self) -> None:
        """Write down what was sent, for ever."""
        while True:
            await self._acknowledge.wait()
            await asyncio.sleep(_ACKNOWLEDGE_S)
            await self._write()

    async def drain(self, seconds: float) -> None:
        """Send what waits for so long at most, and stop."""
        tasks = {line.sending for line in self._lines.values() if line.sending is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._write()

    async def _send(self, run: RunId, line: _Line) -> None:
        try:
            while line.waiting:
                await self._deliver(run, line.waiting[0])
                self._sent[run] = line.waiting.popleft().number
                self._acknowledge.set()
        finally:
            line.sending = None
            if line.closed and not line.waiting:
                self._lines.pop(run, None)

    async def _deliver(self, run: RunId, untold: Untold) -> None:
        """Give one event to the sink, again and again until it takes it."""
        if self._sink is None:
            return
        event, wait = untold.event, _FIRST_WAIT_S
        while True:
            try:
                async with asyncio.timeout(self._deadline):
                    await self._sink.emit(
                        event.kind, user=untold.user, run=str(run), event_id=event.id, data=event.data
                    )
                return
            except Exception as error:
                _log.warning(
                    "an event was not taken; it is sent again", extra={"error": type(error).__name__}
                )
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _write(self) -> None:
        self._acknowledge.clear()
        sent, self._sent = self._sent, {}
        if not sent:
            return
        try:
            await self._claims.sent(sent)
        except BaseException as error:  # it may be cut short, and `drain` writes it down then
            self._sent = sent | self._sent
            self._acknowledge.set()
            if not isinstance(error, StoreUnavailable):
                raise
