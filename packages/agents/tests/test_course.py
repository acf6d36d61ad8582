"""A plan comes to what its steps say, whatever fails, and goes on from where a crash left it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netra_agents import (
    Agent,
    Caller,
    OnFailure,
    Plan,
    RetryPolicy,
    RunId,
    RunState,
    Step,
    StepState,
    TenantId,
    UserId,
)
from netra_agents.course import Ending, follow
from netra_agents.turn import ActingTurn, StepRecord, take

from .computing import Flaky, Maybe, Number, Numbers

RUN = RunId(UUID(int=1))
CALLER = Caller(tenant=TenantId("acme"), user=UserId("alice"))


@dataclass(frozen=True)
class Drawn:
    """A step as it is drawn: how it takes which steps, how it fails, and what its run makes of that."""

    kind: str
    sources: tuple[int, ...]
    fails: int | None
    attempts: int
    fallback_fails: int | str | None
    aborts: bool


FAILS = st.sampled_from([0, 0, 0, 1, 2, None])
STEP = st.builds(
    Drawn,
    kind=st.sampled_from(["number", "maybe", "numbers"]),
    sources=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True).map(tuple),
    fails=FAILS,
    attempts=st.integers(1, 3),
    fallback_fails=st.one_of(st.just("none"), FAILS),
    aborts=st.booleans(),
)
GRAPH = st.lists(STEP, min_size=1, max_size=9)
EXAMPLES = pytest.mark.parametrize("examples", [30, pytest.param(2_000, marks=pytest.mark.soak)])


def sources_of(number: int, drawn: Drawn) -> list[str]:
    """Name what a step takes: the run's input, or steps before it."""
    names = ["input", *(f"s{one}" for one in range(number))]
    picked = [names[source % len(names)] for source in drawn.sources]
    return list(dict.fromkeys(picked)) if drawn.kind == "numbers" else picked[:1]


def built(graph: list[Drawn]) -> tuple[Plan[Number, Number], list[list[Flaky]]]:
    """Build the plan that was drawn, and the agents of each step."""
    steps, asked = [], []
    for number, drawn in enumerate(graph):
        flaky = [Flaky(f"a{number}", adds=number, fails=drawn.fails)]
        if drawn.fallback_fails != "none":
            fails = drawn.fallback_fails
            assert not isinstance(fails, str)
            flaky.append(Flaky(f"f{number}", adds=100 + number, fails=fails))
        kinds: dict[str, type[Any]] = {"number": Number, "maybe": Maybe, "numbers": Numbers}
        agents = [Agent(one.name, getattr(one, drawn.kind), kinds[drawn.kind], Number) for one in flaky]
        sources = sources_of(number, drawn)
        takes: Any = sources[0]
        if drawn.kind != "number":
            takes = {"all": tuple(sources)} if drawn.kind == "numbers" else {"first": sources[0]}
        steps.append(
            Step(
                f"s{number}", agents[0], takes, fallback=agents[1] if len(agents) > 1 else None,
                retry=RetryPolicy(drawn.attempts, first_wait=timedelta(0)),
                on_failure=OnFailure.ABORT if drawn.aborts else OnFailure.PARTIAL,
            )
        )  # fmt: skip
        asked.append(flaky)
    return Plan("drawn", Number, Number, steps), asked


def expected(graph: list[Drawn], start: int) -> tuple[Any, dict[str, Any], list[int]]:
    """Interpret the graph plainly: depth by depth, with numbers, None for what failed, and a count of calls."""
    depth: dict[str, int] = {"input": 0}
    for number, drawn in enumerate(graph):
        depth[f"s{number}"] = 1 + max(depth[source] for source in sources_of(number, drawn))
    values: dict[str, Any] = {"input": start}
    calls = [0] * len(graph)
    for level in range(1, max(depth.values()) + 1):
        aborted = False
        for number, drawn in enumerate(graph):
            if depth[f"s{number}"] != level:
                continue
            given = [values[source] for source in sources_of(number, drawn)]
            if drawn.kind == "number" and given[0] is None:
                values[f"s{number}"] = None
                continue
            total, values[f"s{number}"] = sum(one for one in given if one is not None), None
            for adds, fails in ((number, drawn.fails), (100 + number, drawn.fallback_fails)):
                if fails == "none":
                    break
                assert not isinstance(fails, str)
                needed = drawn.attempts + 1 if fails is None else fails + 1
                calls[number] += min(needed, drawn.attempts)
                if needed <= drawn.attempts:
                    values[f"s{number}"] = total + adds
                    break
            aborted |= values[f"s{number}"] is None and drawn.aborts
        if aborted:
            return None, values, calls
    return values[f"s{len(graph) - 1}"], values, calls


class Memory:
    """An engine that remembers what was recorded; it dies when it is told, before or after it records."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str]] = []
        self.acts = 0
        self.dies_at: tuple[int, bool] | None = None
        self._place = 0

    def again(self) -> None:
        """Begin from the start, with what is remembered."""
        self._place, self.dies_at = 0, None

    async def once(self, name: str, act: Callable[[], Awaitable[str]]) -> str:
        """Act, or remember."""
        if self._place < len(self.recorded):
            known, text = self.recorded[self._place]
            assert known == name
        else:
            dies = self.dies_at is not None and self.dies_at[0] == len(self.recorded)
            if dies and self.dies_at is not None and not self.dies_at[1]:
                raise ConnectionError
            text = await act()
            self.recorded.append((name, text))
            if dies:
                raise ConnectionError
        self._place += 1
        return text


class Taking:
    """Takes steps, and keeps what they came to."""

    def __init__(self) -> None:
        self.kept: dict[str, StepRecord] = {}

    async def take(self, step: Step, value: Any) -> StepRecord:
        """Take a step."""
        turn = ActingTurn(RUN, step.name, CALLER, None, lambda _: None)
        return await take(step, value, turn, limit_bytes=10_000)

    def keep(self, records: Iterable[StepRecord]) -> None:
        """Keep what steps came to."""
        self.kept |= {record.name: record for record in records}


def value_of(ending: Ending) -> Any:
    """Give the number that a run ended with."""
    return ending.result["n"] if isinstance(ending.result, dict) else None


@EXAMPLES
def test_any_plan_comes_to_what_a_plain_interpreter_says(examples: int) -> None:
    """However steps are joined and whichever of them fail, results and failures are those of the plan."""

    @settings(max_examples=examples)
    @given(graph=GRAPH, start=st.integers(-5, 5))
    def holds(graph: list[Drawn], start: int) -> None:
        plan, asked = built(graph)
        steps = Taking()

        ending = asyncio.run(follow(plan, {"n": start}, Memory().once, steps))

        result, values, calls = expected(graph, start)
        assert value_of(ending) == result
        assert (ending.state is RunState.COMPLETED) == (result is not None)
        assert [sum(one.calls for one in each) for each in asked] == calls
        for name, record in steps.kept.items():
            succeeded = record.state is StepState.COMPLETED
            assert (record.result["n"] if isinstance(record.result, dict) else None) == values[name]
            assert succeeded == (values[name] is not None)
        assert ending.partial == (result is not None and any(value is None for value in values.values()))

    holds()


@EXAMPLES
def test_a_plan_goes_on_from_what_was_recorded(examples: int) -> None:
    """A crash at any point changes no result, and what was recorded before it is not done again."""

    @settings(max_examples=examples)
    @given(graph=GRAPH, start=st.integers(-5, 5), at=st.integers(0, 8), after=st.booleans())
    def holds(graph: list[Drawn], start: int, at: int, after: bool) -> None:
        plan, asked = built(graph)
        memory = Memory()
        memory.dies_at = (at, after)
        with contextlib.suppress(ConnectionError):
            asyncio.run(follow(plan, {"n": start}, memory.once, Taking()))
        memory.again()
        before = [sum(one.calls for one in each) for each in asked]

        ending = asyncio.run(follow(plan, {"n": start}, memory.once, Taking()))

        result, _, calls = expected(graph, start)
        assert value_of(ending) == result
        assert [sum(one.calls for one in each) for each in asked] == calls
        assert all(one <= many for one, many in zip(before, calls, strict=True))

    holds()


async def test_an_agent_that_takes_too_long_is_asked_again_and_then_its_fallback() -> None:
    """An answer that doesn't come is a failure like any other."""

    async def slow(given: Number, turn: Any) -> Number:
        await asyncio.sleep(60)
        return given

    quick = Flaky("quick")
    plan = Plan("p", Number, Number, [
        Step("a", Agent("slow", slow, Number, Number), timeout=timedelta(milliseconds=5),
             retry=RetryPolicy(2, first_wait=timedelta(0)), fallback=Agent("quick", quick.number, Number, Number)),
    ])  # fmt: skip
    steps = Taking()

    ending = await follow(plan, {"n": 1}, Memory().once, steps)

    assert value_of(ending) == 2
    assert (steps.kept["a"].agent, steps.kept["a"].attempts) == ("quick", 3)


@pytest.mark.parametrize(
    ("given_back", "error"),
    [({"n": "x"}, "ResultRefused"), (ValueError("s3cr3t"), "ValueError"), (None, "ResultRefused")],
)
async def test_what_an_agent_must_not_give_or_say_stays_inside(given_back: Any, error: str) -> None:
    """A result of another type fails by name, and what a library says is for no user."""

    async def wrong(given: Number, turn: Any) -> Any:
        if isinstance(given_back, Exception):
            raise given_back
        return given_back

    plan = Plan("p", Number, Number, [Step("a", Agent("wrong", wrong, Number, Number))])

    ending = await follow(plan, {"n": 1}, Memory().once, Taking())

    assert (ending.state, ending.error) == (RunState.FAILED, error)
    assert "s3cr3t" not in (ending.message or "")
