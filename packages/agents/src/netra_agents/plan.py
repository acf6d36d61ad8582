"""A plan: a graph of steps that is checked when it is built; pure."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from netra_agents.agent import NAME, VERSION, Agent, AnyAgent, RetryPolicy
from netra_agents.binding import INPUT, Bound, Source, Takes, bind, fits
from netra_agents.errors import PlanRefused
from netra_agents.payload import Codec, canonical

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
MOST_STEPS: Final = 1_000


class OnFailure(StrEnum):
    """What a step's failure means to its run: its end, or that it goes on without."""

    ABORT = "abort"
    PARTIAL = "partial"


@dataclass(frozen=True)
class Step:
    """One agent's part in a plan.

    Args:
        name: by which other steps take its result.
        agent: who does it.
        takes: whose result is the agent's input as a whole; or for each field of the input a name, or several
            names whose results are joined in a list. `"input"` is the run's own.
        fallback: who is asked, with the same input, once the agent has failed.
        timeout: how long one attempt may take.
    """

    name: str
    agent: AnyAgent
    takes: str | Mapping[str, str | tuple[str, ...]] = INPUT
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    fallback: AnyAgent | None = None
    on_failure: OnFailure = OnFailure.ABORT
    timeout: timedelta = timedelta(minutes=1)

    @property
    def sources(self) -> Iterator[str]:
        """The names of what it takes."""
        if isinstance(self.takes, str):
            yield self.takes
            return
        for source in self.takes.values():
            yield from (source,) if isinstance(source, str) else source


class Plan(Generic[I, R]):
    """A checked graph of steps; its result is that of the step *result*, the last one if it isn't said.

    Steps that wait for no other run side by side: the plan is followed stage by stage, and a step stands in the
    first stage after all that it takes.

    Raises:
        PlanRefused: a name is used twice, steps wait for each other, or an input is not produced or of another type.
    """

    def __init__(
        self,
        name: str,
        input: type[I],
        result: type[R],
        steps: Iterable[Step],
        *,
        version: str = "1",
        result_of: str | None = None,
        within: timedelta = timedelta(minutes=5),
    ) -> None:
        self.name = name
        self.version = version
        self.within = within
        ordered = tuple(steps)
        self.steps = {step.name: step for step in ordered}
        self.result_of = result_of if result_of is not None else (ordered[-1].name if ordered else "")
        self.takes: Codec[I] = Codec(input)
        self.gives: Codec[R] = Codec(result)
        problems = [*self._ill_formed(ordered)]
        self._bound: dict[str, Bound] = {}
        if not problems:
            problems = [*self._ill_typed(input, result)]
        self.stages = self._staged() if not problems else ()
        if not problems and sum(map(len, self.stages)) < len(self.steps):
            staged = {step.name for stage in self.stages for step in stage}
            problems.append(f"these steps wait for each other: {', '.join(sorted(set(self.steps) - staged))}")
        if problems:
            raise PlanRefused(name, tuple(problems))

    def bound(self, step: Step) -> list[Source]:
        """Say what a step's input is made of."""
        return self._bound[step.name].sources

    @cached_property
    def digest(self) -> str:
        """A name for the plan's shape: its steps, who does them, what they take and give."""
        shape = {
            "input": self.takes.schema,
            "result": [self.result_of, self.gives.schema],
            "steps": [
                [step.name, _takes(step), *map(_shape, filter(None, (step.agent, step.fallback)))]
                for step in self.steps.values()
            ],
        }
        return hashlib.sha256(canonical(shape, limit_bytes=2**30).encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """What a worker has to know to follow a run of this plan: name, version and digest."""
        return f"{self.name}/{self.version}/{self.digest}"

    def _ill_formed(self, ordered: tuple[Step, ...]) -> Iterator[str]:
        if not NAME.fullmatch(self.name) or not VERSION.fullmatch(self.version):
            yield "its name or version holds other than letters, digits, dots, hyphens or underscores"
        if not 1 <= len(ordered) <= MOST_STEPS:
            yield f"a plan has 1 to {MOST_STEPS} steps"
        if len(self.steps) < len(ordered):
            yield "a step's name is used twice"
        if ordered and self.result_of not in self.steps:
            yield f"its result is that of {self.result_of!r}, which is no step"
        if self.within < timedelta(milliseconds=1):
            yield "within is at least one millisecond"
        for step in ordered:
            if not NAME.fullmatch(step.name) or step.name == INPUT:
                yield f"{step.name!r} can't be a step's name"
            if step.timeout < timedelta(milliseconds=1):
                yield f"{step.name}: its timeout is at least one millisecond"
            other = step.fallback
            if other is not None and (other.input, other.result) != (step.agent.input, step.agent.result):
                yield f"{step.name}: its fallback takes or gives another type"

    def _ill_typed(self, input: type[I], result: type[R]) -> Iterator[str]:
        produced: dict[str, type[Any]] = {INPUT: input}
        produced |= {step.name: step.agent.result for step in self.steps.values()}
        for step in self.steps.values():
            bound = self._bound[step.name] = bind(_takes(step), step.agent.input, produced)
            yield from (f"{step.name}: {problem}" for problem in bound.problems)
        if not fits(produced[self.result_of], result):
            yield f"its result is that of {self.result_of}, which is of another type"

    def _staged(self) -> tuple[tuple[Step, ...], ...]:
        """Put each step into the first stage after what it takes; those on a circle find none."""
        stages: list[tuple[Step, ...]] = []
        done, waiting = {INPUT}, list(self.steps.values())
        while waiting:
            stage = tuple(step for step in waiting if done.issuperset(step.sources))
            if not stage:
                break
            stages.append(stage)
            done.update(step.name for step in stage)
            waiting = [step for step in waiting if step.name not in done]
        return tuple(stages)


def sequence(
    name: str, input: type[I], result: type[R], agents: Iterable[AnyAgent], **rules: Any
) -> Plan[I, R]:
    """Plan agents one after another, each of which takes what the one before it gives."""
    steps: list[Step] = []
    for agent in agents:
        steps.append(Step(agent.name, agent, steps[-1].name if steps else INPUT))
    return Plan(name, input, result, steps, **rules)


def _takes(step: Step) -> Takes:
    return step.takes if isinstance(step.takes, str) else dict(step.takes)


def _shape(agent: Agent[Any, Any]) -> list[Any]:
    return [agent.name, agent.version, agent.takes.schema, agent.gives.schema]
