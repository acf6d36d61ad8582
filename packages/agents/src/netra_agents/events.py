"""What the users are told while a run goes on; pure."""

from collections.abc import Mapping
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from netra_agents.payload import canonical, words
from netra_agents.run import RunId

STARTED: Final = "agent_started"
THINKING: Final = "agent_thinking"
EXECUTING: Final = "tool_executing"
EXECUTED: Final = "tool_completed"
COMPLETED: Final = "agent_completed"
FAILED: Final = "agent_failed"
_LONGEST_THOUGHT: Final = 4_000
_LARGEST_RESULT: Final = 16_384


class EventSink(Protocol):
    """Takes events for a user's screens."""

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> object:
        """Deliver an event; one that comes twice has the same *event_id*."""


class Event(BaseModel):
    """One event of a run; `id` is the same when a turn that a crash cut short is taken again."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    data: dict[str, JsonValue]


def started(run: RunId, plan: str, version: str) -> Event:
    """Tell that the run's work was taken up."""
    return Event(id=f"{run}/{STARTED}", kind=STARTED, data={"agent": plan, "version": version})


def completed(run: RunId, plan: str, *, result: JsonValue, partial: bool) -> Event:
    """Tell the run's result, unless it is too long for a screen."""
    fits = len(canonical(result, limit_bytes=2**30)) <= _LARGEST_RESULT
    data: dict[str, JsonValue] = {"agent": plan, "result": result if fits else None, "partial": partial}
    return Event(id=f"{run}/end", kind=COMPLETED, data=data if fits else data | {"too_long": True})


def failed(run: RunId, plan: str, *, state: str, message: str) -> Event:
    """Tell that the run ended without a result."""
    return Event(id=f"{run}/end", kind=FAILED, data={"agent": plan, "state": state, "error": message})


class Numbered:
    """Makes the events of one turn; each is numbered, so that the same turn makes the same ids again."""

    def __init__(self, run: RunId, step: str) -> None:
        self._run = run
        self._step = step
        self._made = 0

    def thinking(self, agent: str, thought: str) -> Event:
        """Tell what the agent is about."""
        return self._event(THINKING, {"agent": agent, "thought": words(thought, longest=_LONGEST_THOUGHT)})

    def executing(self, agent: str, tool: str, call: str) -> Event:
        """Tell that a tool is about to be called."""
        return self._event(EXECUTING, {"agent": agent, "tool": tool, "call": call})

    def executed(self, agent: str, tool: str, call: str, *, succeeded: bool) -> Event:
        """Tell that a tool was called."""
        outcome = "completed" if succeeded else "failed"
        return self._event(EXECUTED, {"agent": agent, "tool": tool, "call": call, "outcome": outcome})

    def _event(self, kind: str, data: dict[str, JsonValue]) -> Event:
        self._made += 1
        event_id = f"{self._run}/{self._step}/{self._made}/{kind}"
        return Event(id=event_id, kind=kind, data=data | {"step": self._step})
