"""A step's turn: its agent is asked until it answers, its errors are final, or nobody is left to ask."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from netra_agents.agent import AnyAgent, Tools
from netra_agents.errors import AgentError
from netra_agents.events import Event, Numbered
from netra_agents.payload import Misfit, words
from netra_agents.plan import Step
from netra_agents.run import Caller, RunId, StepState, check_name

_LONGEST: Final = 1_000
_MOST_EVENTS: Final = 1_000


class StepRecord(BaseModel):
    """What a step came to, as the engine keeps it, with the events that it made."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: StepState
    agent: str
    version: str
    attempts: int = 0
    result: JsonValue = None
    error: str | None = None
    message: str | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    events: tuple[Event, ...] = ()


class ToolMissing(AgentError):
    """The agent asked for a tool, and the worker was given none."""

    def __init__(self) -> None:
        super().__init__("no tools are at hand")


class ActingTurn:
    """The turn that an agent is handed: it acts through the tools, and tells what it does as events."""

    def __init__(
        self, run: RunId, step: str, caller: Caller, tools: Tools | None, tell: Callable[[Event], None]
    ) -> None:
        self.run = run
        self.step = step
        self.caller = caller
        self.attempt = 0
        self.agent = ""
        self.made: list[Event] = []
        self._tools = tools
        self._tell = tell
        self._numbered = Numbered(run, step)
        self._calls = 0

    async def think(self, thought: str) -> None:
        self._add(self._numbered.thinking(self.agent, thought))

    async def tool(self, name: str, arguments: Mapping[str, JsonValue]) -> JsonValue:
        if self._tools is None:
            raise ToolMissing
        try:
            check_name(name)
        except ValueError as error:
            raise AgentError(f"there is no such tool: {error}") from None
        self._calls += 1
        call = f"{self.run}/{self.step}/{self._calls}"
        self._add(self._numbered.executing(self.agent, name, call))
        succeeded = False
        try:
            result = await self._tools.run(name, arguments, caller=self.caller, key=call)
            succeeded = True
        finally:
            self._add(self._numbered.executed(self.agent, name, call, succeeded=succeeded))
        return result

    def _add(self, event: Event) -> None:
        if len(self.made) >= _MOST_EVENTS:
            raise AgentError(f"it told more than {_MOST_EVENTS} things in one turn")
        self.made.append(event)
        self._tell(event)


async def take(step: Step, value: Any, turn: ActingTurn, *, limit_bytes: int) -> StepRecord:
    """Ask the step's agent, and its fallback after it, with *value* as plain JSON."""
    began = datetime.now(UTC)
    made, agent, failure = 0, step.agent, ("", "")
    state, result = StepState.FAILED, None
    for agent in filter(None, (step.agent, step.fallback)):
        turn.agent = agent.name
        try:
            made, result = await _asked(step, agent, value, turn, made, limit_bytes)
            state = StepState.COMPLETED
            break
        except _Final as final:
            made, failure = final.made, final.failure
    error, message = (None, None) if state is StepState.COMPLETED else failure
    return StepRecord(
        name=step.name, state=state, agent=agent.name, version=agent.version, attempts=made, result=result,
        error=error, message=message, started_at=began, ended_at=datetime.now(UTC), events=tuple(turn.made),
    )  # fmt: skip


def skipped(step: Step, missing: str) -> StepRecord:
    """Tell that a step can't be taken for want of what another gives."""
    return StepRecord(
        name=step.name, state=StepState.SKIPPED, agent=step.agent.name, version=step.agent.version,
        error="SourceFailed", message=f"what it takes of {missing} is not there",
    )  # fmt: skip


class _Final(Exception):
    """An agent won't be asked again."""

    def __init__(self, made: int, error: Exception) -> None:
        self.made = made
        self.failure = _told(error)


async def _asked(
    step: Step, agent: AnyAgent, value: Any, turn: ActingTurn, made: int, limit_bytes: int
) -> tuple[int, JsonValue]:
    """Ask one agent as often as the policy allows; gives how often any was asked, and the result."""
    own = 0
    while True:
        own += 1
        turn.attempt = made + own
        try:
            async with asyncio.timeout(step.timeout.total_seconds()):
                given = await agent.call(agent.takes.read(value), turn)
            return made + own, agent.gives.plain(given, limit_bytes=limit_bytes)
        except Exception as error:
            wait = step.retry.wait(error, own)
            if wait is None:
                raise _Final(made + own, error) from error
        await asyncio.sleep(wait.total_seconds())


def _told(error: Exception) -> tuple[str, str]:
    """Say what went wrong, in words that are the agent's own or ours, never a library's."""
    if isinstance(error, Misfit):
        return "ResultRefused", words(str(error), longest=_LONGEST)
    if isinstance(error, TimeoutError):
        return "TimedOut", "no answer in time"
    if isinstance(error, AgentError):
        return type(error).__name__, words(str(error), longest=_LONGEST)
    return words(type(error).__name__, longest=200), "it raised what it has no words for"
