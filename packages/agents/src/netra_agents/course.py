"""Follow a plan, stage by stage; what is recorded of a stage is taken as it is, and nothing of it is done again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import JsonValue, TypeAdapter

from netra_agents.binding import INPUT, Source
from netra_agents.plan import OnFailure, Plan, Step
from netra_agents.run import RunState, StepState
from netra_agents.turn import StepRecord, skipped

_RECORDS: TypeAdapter[list[StepRecord]] = TypeAdapter(list[StepRecord])
Once = Callable[[str, Callable[[], Awaitable[str]]], Awaitable[str]]


class Steps(Protocol):
    """Takes the steps of one run, and hears what they came to."""

    async def take(self, step: Step, value: Any) -> StepRecord:
        """Take a step's turn; *value* is its input as plain JSON."""

    def keep(self, records: Iterable[StepRecord]) -> None:
        """Hear what steps came to, in the order of the plan; after a takeover of those before it too."""


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: RunState
    result: JsonValue = None
    partial: bool = False
    error: str | None = None
    message: str | None = None


@dataclass
class _Ground:
    """What the steps so far came to."""

    values: dict[str, JsonValue]
    failed: dict[str, StepRecord] = field(default_factory=dict)

    def add(self, records: Iterable[StepRecord]) -> None:
        for record in records:
            if record.state is StepState.COMPLETED:
                self.values[record.name] = record.result
            else:
                self.failed[record.name] = record


async def follow(plan: Plan[Any, Any], value: JsonValue, once: Once, steps: Steps) -> Ending:
    """Take all steps of *plan* for an input, each stage as one act that *once* does or remembers."""
    ground = _Ground({INPUT: value})
    for number, stage in enumerate(plan.stages):
        ready, left_out = _sorted_out(plan, stage, ground)
        ground.add(left_out)
        steps.keep(left_out)
        if not ready:
            continue
        records = _RECORDS.validate_json(await once(f"stage {number}", _taking(ready, steps)))
        ground.add(records)
        steps.keep(records)
        aborting = [r for r in records if r.state is StepState.FAILED and _aborts(plan, r.name)]
        if aborting:
            first = aborting[0]
            return Ending(RunState.FAILED, error=first.error, message=f"{first.name}: {first.message}")
    if plan.result_of not in ground.values:
        lost = ground.failed[plan.result_of]
        return Ending(RunState.FAILED, error=lost.error, message=f"{lost.name}: {lost.message}")
    return Ending(RunState.COMPLETED, ground.values[plan.result_of], partial=bool(ground.failed))


def _taking(ready: list[tuple[Step, Any]], steps: Steps) -> Callable[[], Awaitable[str]]:
    async def together() -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(steps.take(step, value)) for step, value in ready]
        return _RECORDS.dump_json([task.result() for task in tasks]).decode()

    return together


def _aborts(plan: Plan[Any, Any], name: str) -> bool:
    return plan.steps[name].on_failure is OnFailure.ABORT


def _sorted_out(
    plan: Plan[Any, Any], stage: tuple[Step, ...], ground: _Ground
) -> tuple[list[tuple[Step, Any]], list[StepRecord]]:
    """Make the input of each step, or leave it out where what it can't do without is missing."""
    ready, left_out = [], []
    for step in stage:
        sources = plan.bound(step)
        missing = [name for one in sources if one.required for name in one.names if name not in ground.values]
        if missing:
            left_out.append(skipped(step, missing[0]))
        else:
            ready.append((step, _input(sources, ground.values)))
    return ready, left_out


def _input(sources: list[Source], values: Mapping[str, JsonValue]) -> Any:
    """Put a step's input together of what was produced."""
    made: dict[str, Any] = {}
    for source in sources:
        given = [values[name] for name in source.names if name in values]
        whole = given if source.joined else (given[0] if given else None)
        if source.field is None:
            return whole
        made[source.field] = whole
    return made
