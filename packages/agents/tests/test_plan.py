"""A plan that can't be followed is refused when it is built, with each fault by name."""

from typing import Any

import pytest
from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_agents import Agent, Plan, PlanRefused, Step, Turn, Worker, sequence
from netra_agents.binding import fits

from .computing import ADD, SUM, Maybe, Number, Numbers, fan


class Text(BaseModel):
    """Words."""

    words: str


class Named(Number):
    """A number with a name."""

    name: str = ""


async def _spell(given: Number, turn: Turn) -> Text:
    return Text(words=str(given.n))


async def _name(given: Number, turn: Turn) -> Named:
    return Named(n=given.n, name=str(given.n))


async def _either(given: Maybe, turn: Turn) -> Number:
    return given.first or Number(n=0)


SPELL = Agent("spell", _spell, Number, Text)
NAME = Agent("name", _name, Number, Named)
EITHER = Agent("either", _either, Maybe, Number)


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([], "a plan has 1 to 1000 steps"),
        ([Step("a", ADD), Step("a", ADD)], "a step's name is used twice"),
        ([Step("a", ADD, "a")], "these steps wait for each other: a"),
        ([Step("a", ADD, "b"), Step("b", ADD, "c"), Step("c", ADD, "a")], "wait for each other: a, b, c"),
        ([Step("a", ADD, "nobody")], "a: its input takes 'nobody', which no step produces"),
        ([Step("a", SPELL), Step("b", ADD, "a")], "b: its input takes 'a', which is of another type"),
        ([Step("a", SPELL)], "its result is that of a, which is of another type"),
        ([Step("a", SUM, {})], "a: nothing is produced for its field all"),
        ([Step("a", SUM, {"all": ("input",), "some": "input"})], "a: its input has no field some"),
        ([Step("a", SPELL), Step("b", SUM, {"all": ("input", "a")})], "takes 'a', which is of another type"),
        ([Step("a", SUM, {"all": ("gone",)})], "a: its field all takes 'gone', which no step"),
        ([Step("a", EITHER, {"first": ("input",)})], "joins several results and is no list"),
        ([Step("a", ADD, fallback=SPELL)], "a: its fallback takes or gives another type"),
        ([Step("input", ADD)], "'input' can't be a step's name"),
        ([Step("a b", ADD)], "'a b' can't be a step's name"),
    ],
)
def test_a_plan_with_a_fault_is_refused_by_name(steps: list[Step], fault: str) -> None:
    """A mistake is found at the desk, not in the middle of a customer's night."""
    with pytest.raises(PlanRefused) as caught:
        Plan("p", Number, Number, steps)

    assert any(fault in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    "steps",
    [
        [Step("a", ADD)],
        [Step("b", ADD, "a"), Step("a", ADD)],
        [Step("a", NAME), Step("b", ADD, "a")],
        [Step("a", ADD), Step("b", EITHER, {"first": "a"})],
        [Step("a", EITHER, {})],
        [Step("a", ADD), Step("b", NAME), Step("c", SUM, {"all": ("a", "b", "input")})],
    ],
)
def test_a_plan_without_a_fault_is_accepted(steps: list[Step]) -> None:
    """What fits is not refused: steps in any order, a subtype, a field that may be empty, a join."""
    plan = Plan("p", Number, Number, steps, result_of=steps[0].name)

    assert sorted(step.name for stage in plan.stages for step in stage) == sorted(plan.steps)


def test_steps_that_wait_for_no_other_stand_in_one_stage() -> None:
    """What can be done at once is done at once."""
    plan = fan(3)

    assert [len(stage) for stage in plan.stages] == [1, 3, 1]


def test_a_sequence_hands_on_what_each_agent_gives() -> None:
    """The plainest plan is one line."""
    plan = sequence("p", Number, Text, [ADD, SPELL])

    assert [step.name for stage in plan.stages for step in stage] == ["add", "spell"]


@pytest.mark.parametrize(
    "changed",
    [
        Plan("p", Number, Number, [Step("a", ADD), Step("b", ADD, "input")]),
        Plan("p", Number, Number, [Step("a", ADD), Step("c", ADD, "a")]),
        Plan(
            "p", Number, Number, [Step("a", ADD), Step("b", Agent("add", ADD.call, Number, Number, "2"), "a")]
        ),
        Plan("p", Number, Number, [Step("a", ADD), Step("b", ADD, "a", fallback=ADD)]),
        Plan("p", Number, Number, [Step("a", ADD), Step("b", ADD, "a")], result_of="a"),
        Plan("p", Number, Number, [Step("a", ADD), Step("b", ADD, "a")], version="2"),
    ],
    ids=["source", "name", "agent", "fallback", "result", "version"],
)
def test_a_plan_that_was_changed_has_another_key(changed: Plan[Any, Any]) -> None:
    """A run that was begun with one plan can't be taken for one of another."""
    plan = Plan("p", Number, Number, [Step("a", ADD), Step("b", ADD, "a")])
    same = Plan("p", Number, Number, [Step("a", ADD), Step("b", ADD, "a")])

    assert plan.key == same.key
    assert plan.key != changed.key


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (int, int, True),
        (bool, int, True),
        (int, float, True),
        (int, str, False),
        (int, int | None, True),
        (int | None, int, False),
        (int | str, str | int | None, True),
        (list[int], list[int], True),
        (list[str], list[int], False),
        (list[Any], list[int], False),
        (list[int], list[Any], True),
        (dict[str, int], dict[str, int | None], True),
        (Named, Number, True),
        (Number, Named, False),
        (Numbers, Any, True),
        (list, list[int], False),
    ],
    ids=str,
)
def test_types_are_compared_as_values_are(given: Any, wanted: Any, expected: bool) -> None:
    """Each value of the one type has to be one of the other, or the plan would fail when it runs."""
    assert fits(given, wanted) is expected


def test_two_shapes_of_one_version_are_refused() -> None:
    """A changed plan needs another version, and who forgets it is told at once."""
    engine = create_async_engine("postgresql+asyncpg://nobody@nowhere/nothing")
    plans = [Plan("quick", Number, Number, [Step(name, ADD)]) for name in ("a", "b")]

    with pytest.raises(ValueError, match="another version"):
        Worker(plans=plans, engine=engine, redis=Redis(), namespace="netra")
