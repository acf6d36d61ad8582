"""Plans of any shape come to the same on the real engine as in a plain interpreter."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from netra_agents import Caller, Orchestrator, Plan, RunFailed, StepState, Worker
from netra_fixtures import Goal, Tier, business_value, within

from .computing import Number
from .test_course import Drawn, built, expected

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="however work is cut into steps, its result is what it should be",
)

OpenWorker = Callable[..., Awaitable[Worker]]


def drawn(rng: random.Random) -> list[Drawn]:
    """Draw a graph of steps, some of which fail."""
    fails: list[int | None] = [0, 0, 0, 1, 2, None]
    return [
        Drawn(
            kind=rng.choice(["number", "maybe", "numbers"]),
            sources=tuple(rng.sample(range(100), rng.randint(1, 3))),
            fails=rng.choice(fails),
            attempts=rng.randint(1, 3),
            fallback_fails=rng.choice([*fails, "none"]),
            aborts=rng.random() < 0.3,
        )
        for _ in range(rng.randint(1, 9))
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.soak)])
async def test_drawn_plans_come_to_what_a_plain_interpreter_says(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, rng: random.Random, count: int
) -> None:
    """Results, failures and how often each agent was asked are those of the plan, side by side with others."""
    graphs = [drawn(rng) for _ in range(count)]
    made = [built(graph) for graph in graphs]
    plans: list[Plan[Any, Any]] = []
    for number, (plan, _) in enumerate(made):
        plans.append(Plan(f"drawn{number}", Number, Number, plan.steps.values()))
    await open_worker(*plans)

    async with within(seconds=800):
        runs = [await orchestrator.start(plan, Number(n=3), caller=alice) for plan in plans]
        for graph, plan, run, (_, asked) in zip(graphs, plans, runs, made, strict=True):
            try:
                ended = await orchestrator.result(plan, run, caller=alice, within=timedelta(minutes=10))
            except RunFailed:
                ended = None

            result, values, calls = expected(graph, 3)
            assert (ended and ended.n) == result
            assert [sum(one.calls for one in each) for each in asked] == calls
            for step in await orchestrator.steps(run, caller=alice):
                if step.state is StepState.COMPLETED:
                    assert step.result == {"n": values[step.name]}
