"""One run as it is carried here: its steps are taken, or remembered, and its journal is kept."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from netra_agents import events
from netra_agents.agent import Tools
from netra_agents.claims import Claim
from netra_agents.course import Ending, Once, follow
from netra_agents.journal import Journal
from netra_agents.payload import Misfit
from netra_agents.plan import Plan, Step
from netra_agents.run import RunState
from netra_agents.turn import ActingTurn, StepRecord, take

CANCELLED = Ending(RunState.CANCELLED, error="Cancelled", message="it was cancelled")
TIMED_OUT = Ending(RunState.TIMED_OUT, error="TimedOut", message="it was not done in time")


class Carrying:
    """A run from its claim to its end; *done* are its steps that were taken before, also within a stage."""

    def __init__(
        self, claim: Claim, plan: Plan[Any, Any], journal: Journal, done: Iterable[StepRecord],
        tools: Tools | None, *, limit_bytes: int,
    ) -> None:  # fmt: skip
        self.claim = claim
        self.journal = journal
        self.cancelled = False
        self.lost = False
        self._plan = plan
        self._done = {record.name: record for record in done}
        self._tools = tools
        self._limit_bytes = limit_bytes
        self._live: set[str] = set()
        self._begun = False

    async def go(self, once: Once) -> None:
        """Follow the plan to the run's end, and write it."""
        claim = self.claim
        self._begin()
        ending = TIMED_OUT
        if claim.cancel_requested or self.cancelled:
            ending = CANCELLED
        elif claim.left.total_seconds() > 0:
            ending = await self._ending(once)
        await self.end(ending)

    async def end(self, ending: Ending) -> None:
        """Write how the run ended, also where its work was never begun."""
        claim = self.claim
        self._begin()
        if ending.state is RunState.COMPLETED:
            last = events.completed(claim.id, claim.plan, result=ending.result, partial=ending.partial)
        else:
            last = events.failed(claim.id, claim.plan, state=ending.state.value, message=ending.message or "")
        await self.journal.finish(ending, [last])

    async def take(self, step: Step, value: Any) -> StepRecord:
        """Take a step's turn, unless it was taken before in a stage that was not recorded as a whole."""
        if self.cancelled:  # an agent before this one may not have listened
            raise asyncio.CancelledError
        if step.name in self._done:
            return self._done[step.name]
        self._live.add(step.name)
        agent, now = step.agent, datetime.now(UTC).isoformat()
        self.journal.begin(step.name, agent.name, agent.version, now)
        turn = ActingTurn(self.claim.id, step.name, self.claim.caller, self._tools, self.journal.tell)
        record = await take(step, value, turn, limit_bytes=self._limit_bytes)
        self.journal.keep([record])
        return record

    def keep(self, records: Iterable[StepRecord]) -> None:
        """Note what steps came to; what those remembered told is told again, under the same ids."""
        for record in records:
            if record.name not in self._live:
                for event in record.events:
                    self.journal.tell(event)
                self.journal.keep([record])

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self.journal.tell(events.started(self.claim.id, self.claim.plan, self.claim.version))

    async def _ending(self, once: Once) -> Ending:
        timeout = asyncio.timeout(self.claim.left.total_seconds())
        try:
            async with timeout:
                return await follow(self._plan, self.claim.input, once, self)
        except TimeoutError:
            if timeout.expired():
                return TIMED_OUT
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.cancelled or task is None:
                raise
            task.uncancel()
            return CANCELLED
        except Misfit:
            return Ending(RunState.FAILED, error="ResultRefused", message="a result can't be kept")
