"""What happens in a run, written down behind it: steps, events, and how it ended, in batches and in order."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from pydantic import JsonValue

from netra_agents.claims import Claim, Claims, Noted, Untold
from netra_agents.course import Ending
from netra_agents.errors import StoreUnavailable
from netra_agents.events import Event
from netra_agents.outbox import Outbox
from netra_agents.screen import Screen
from netra_agents.turn import StepRecord

_AGAIN_S: Final = 0.1
_KEPT: Final = {"events"}


class Journal:
    """The journal of one run that is carried here; *lost* is called where another carries it now."""

    def __init__(
        self, claim: Claim, claims: Claims, outbox: Outbox, screen: Screen, *,
        linger: timedelta, lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self._claim = claim
        self._claims = claims
        self._outbox = outbox
        self._screen = screen
        self._linger = linger.total_seconds()
        self._lost = lost
        self._steps: dict[str, dict[str, JsonValue]] = {}
        self._events: list[Event] = []
        self._some = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self.ending = False
        self.over = False

    def tell(self, event: Event) -> None:
        """Tell an event."""
        self._events.append(event)
        self._some.set()

    def begin(self, step: str, agent: str, version: str, at: str) -> None:
        """Note that a step is being taken."""
        taken: dict[str, JsonValue] = {"name": step, "agent": agent, "version": version}
        self._steps.setdefault(step, taken | {"state": "running", "attempts": 0, "started_at": at})
        self._some.set()

    def keep(self, records: Iterable[StepRecord]) -> None:
        """Note what steps came to, and what they told, which was told already unless a crash came between."""
        for record in records:
            self._steps[record.name] = record.model_dump(mode="json", exclude=_KEPT)
            self._some.set()

    async def write(self) -> None:
        """Write what is noted, for ever: the first at once, and what follows it closely together."""
        while True:
            await self._some.wait()
            await self._flush(None)
            await asyncio.sleep(self._linger)

    async def finish(self, ending: Ending, events: Iterable[Event]) -> None:
        """Write how the run ended, with all that was noted before."""
        self.ending = True  # from here on the note itself says whether the run is another's
        self._events += events
        await self._flush(ending)

    async def _flush(self, ending: Ending | None) -> None:
        async with self._one_at_a_time:
            self._some.clear()
            steps, self._steps = self._steps, {}
            events, self._events = self._events, []
            if self.over or (ending is None and not steps and not events):
                return
            while True:
                try:
                    noted = await self._claims.note(self._claim.id, list(steps.values()), events, ending)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(_AGAIN_S)
            self.over = noted is None or ending is not None
            if noted is None:
                self._lost()
                return
            await self._send(events, noted)
            self._screen.show(self._claim.id, noted.view)

    async def _send(self, events: list[Event], noted: Noted) -> None:
        user = self._claim.caller.user
        if noted.told - noted.before == len(events):
            numbered = enumerate(events, noted.before + 1)
            self._outbox.put(self._claim.id, [Untold(number, user, event) for number, event in numbered])
            return
        while True:  # some were told before a crash
            try:
                self._outbox.put(self._claim.id, await self._claims.untold(self._claim.id))
                return
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
