"""Several agents work together on one request, in sequence and side by side, whatever fails on the way."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from netra_agents import (
    Agent,
    Caller,
    OnFailure,
    Orchestrator,
    Plan,
    RetryPolicy,
    RunFailed,
    RunId,
    RunState,
    Step,
    StepState,
    Turn,
    Worker,
)
from netra_agents.roles import Request, five_roles
from netra_fixtures import Goal, Tier, business_value, eventually, within

from .computing import ADD, SUM, Flaky, Maybe, Number, Numbers
from .conftest import PATIENT, Screen, forget_all
from .savings import ACTIONS, DATA, OPTIMIZATION, REPORTING, TRIAGE, BillTools

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.RETENTION},
    impact="a request that takes several agents is answered as a whole",
)

OpenWorker = Callable[..., Awaitable[Worker]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
SOON = timedelta(seconds=30)


async def test_sequential_agent_workflow_execution(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, screen: Screen, rows: Rows
) -> None:
    """Triage, data, optimization, actions and reporting hand on their work, and the user watches it grow."""
    tools = BillTools({"aws": {"ec2": "1200.50", "s3": "80"}, "azure": {"vm": "300"}, "gcp": {"gce": "9000"}})
    plan = five_roles(TRIAGE, DATA, OPTIMIZATION, ACTIONS, REPORTING)
    await open_worker(plan, tools=tools, sink=screen)
    request = Request(question="what could we save on aws and azure?", sources=("aws", "azure", "gcp"))

    run = await orchestrator.start(plan, request, caller=alice)
    report = await orchestrator.result(plan, run, caller=alice, within=SOON)

    assert report.total == {"USD": Decimal("150.05")}
    assert report.text == "end idle aws/ec2; end idle azure/vm"
    steps = await rows(
        "select name, state, attempts from agents.step where run = :run order by position", run=run
    )
    assert [(step["name"], step["state"], step["attempts"]) for step in steps] == [
        (name, "completed", 1) for name in ("triage", "data", "optimization", "actions", "reporting")
    ]
    recorded = "select function_name as name from agents_engine.operation_outputs where workflow_uuid = :run"
    assert len(await rows(recorded, run=str(run))) == len(steps), "one act a turn"
    assert [key for _, key in tools.calls] == [f"{run}/data/1", f"{run}/data/2"]

    async def seen() -> None:
        assert screen.kinds(run) == [
            "agent_started", "agent_thinking", "tool_executing", "tool_completed", "tool_executing",
            "tool_completed", "agent_thinking", "agent_completed",
        ]  # fmt: skip

    await eventually(seen, seconds=10)
    assert screen.data(run, "agent_completed")[0]["result"]["total"] == {"USD": "150.05"}


async def test_parallel_agent_execution_coordination(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, screen: Screen, rows: Rows
) -> None:
    """Twenty agents work at once, and what they found is joined in the order of the plan."""
    together = asyncio.Barrier(20)

    async def meet(given: Number, turn: Turn) -> Number:
        await together.wait()  # the first goes on only once the last is here
        place = int(turn.step.removeprefix("side"))
        await asyncio.sleep((20 - place) / 1000)
        return Number(n=given.n + place)

    async def in_order(given: Numbers, turn: Turn) -> Number:
        assert [one.n for one in given.all] == sorted(one.n for one in given.all)
        return Number(n=sum(one.n for one in given.all))

    names = tuple(f"side{place}" for place in range(20))
    meeting = Agent("meet", meet, Number, Number)
    plan = Plan("wide", Number, Number, [
        Step("first", ADD),
        *(Step(name, meeting, "first") for name in names),
        Step("after", ADD, "side7"),
        Step("join", Agent("join", in_order, Numbers, Number), {"all": names}),
        Step("both", SUM, {"all": ("after", "join")}),
    ])  # fmt: skip
    await open_worker(plan, sink=screen)

    run = await orchestrator.start(plan, Number(n=1), caller=alice)
    result = await orchestrator.result(plan, run, caller=alice, within=SOON)

    assert result.n == sum(2 + place for place in range(20)) + (2 + 7 + 1)
    recorded = await rows(
        "select function_name as name from agents_engine.operation_outputs where workflow_uuid = :run"
        " order by function_id", run=str(run),
    )  # fmt: skip
    assert [row["name"] for row in recorded] == ["stage 0", "stage 1", "stage 2", "stage 3"], (
        "one group a stage"
    )


async def test_agent_failure_recovery_and_workflow_resilience(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, screen: Screen,
    engine: Any, redis_client: Redis, namespace: str,
) -> None:  # fmt: skip
    """What fails is tried again, replaced, left out or given up as the plan says; a lost worker costs no step."""
    again, spare = Flaky("again", fails=2), Flaky("spare")
    broken, lost = Flaky("broken", fails=None), Flaky("lost", fails=None)
    quick = RetryPolicy(3, first_wait=timedelta(milliseconds=1))
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate(given: Numbers, turn: Turn) -> Number:
        reached.set()
        await go_on.wait()
        return Number(n=sum(one.n for one in given.all))

    plan = Plan("resilient", Number, Number, [
        Step("again", Agent("again", again.number, Number, Number), retry=quick),
        Step("replaced", Agent("broken", broken.number, Number, Number),
             fallback=Agent("spare", spare.number, Number, Number)),
        Step("lost", Agent("lost", lost.number, Number, Number), on_failure=OnFailure.PARTIAL),
        Step("needs", ADD, "lost"),
        Step("copes", Agent("copes", Flaky("copes").maybe, Maybe, Number), {"first": "lost"}),
        Step("gate", Agent("gate", gate, Numbers, Number), {"all": ("again", "replaced", "lost", "copes")}),
    ])  # fmt: skip
    hopeless = Plan("hopeless", Number, Number, [
        Step("lost", Agent("lost", lost.number, Number, Number)), Step("after", ADD, "lost"),
    ])  # fmt: skip
    given: dict[str, Any] = {"engine": engine, "redis": redis_client, "namespace": namespace, "sink": screen}
    hasty = PATIENT.model_copy(update={"grace": timedelta(0)})

    async with Worker(plans=[plan, hopeless], policy=hasty, **given):
        run = await orchestrator.start(plan, Number(n=1), caller=alice)
        doomed = await orchestrator.start(hopeless, Number(n=1), caller=alice)
        async with within(seconds=30):
            await reached.wait()
    go_on.set()
    await open_worker(plan, hopeless, sink=screen)

    assert (await orchestrator.result(plan, run, caller=alice, within=SOON)).n == 2 + 2 + 1
    with pytest.raises(RunFailed, match="lost can't") as failed:
        await orchestrator.result(hopeless, doomed, caller=alice, within=SOON)
    assert failed.value.error == "TransientError"
    assert [one.calls for one in (again, broken, spare)] == [3, 1, 1], "a finished step was done again"
    found = await orchestrator.find(run, caller=alice)
    assert found.partial
    assert {step.name: step.state for step in found.steps if step.state is not StepState.COMPLETED} == {
        "lost": StepState.FAILED, "needs": StepState.SKIPPED,
    }  # fmt: skip
    assert {step.name: (step.agent, step.attempts) for step in found.steps}["replaced"] == ("spare", 2)

    async def seen() -> None:
        for each, end in ((run, "agent_completed"), (doomed, "agent_failed")):
            assert screen.kinds(each) == ["agent_started", end]

    await eventually(seen, seconds=10)


async def test_workflow_state_consistency_across_services(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, redis_client: Redis, namespace: str
) -> None:
    """Screens show what the record says; where Redis lost or garbled it, that is found and mended by one call."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate(given: Number, turn: Turn) -> Number:
        reached.set()
        await go_on.wait()
        return given

    def key(run: RunId) -> str:
        return f"{namespace}:agents:run:{run}"

    plan = Plan(
        "gated", Number, Number, [Step("a", ADD), Step("gate", Agent("gate", gate, Number, Number), "a")]
    )
    quick = Plan("quick", Number, Number, [Step("a", ADD)])
    await open_worker(plan, quick)
    done = [await orchestrator.start(quick, Number(n=n), caller=alice) for n in range(5)]
    for run in done:
        await orchestrator.result(quick, run, caller=alice, within=SOON)
    going = await orchestrator.start(plan, Number(n=1), caller=alice)
    async with within(seconds=30):
        await reached.wait()

    async def consistent() -> None:
        assert await orchestrator.check_consistency() == []

    await eventually(consistent, seconds=10)

    async def shown() -> None:
        steps = (await orchestrator.show(going, caller=alice)).steps
        assert [(step.name, step.state.value) for step in steps] == [("a", "completed"), ("gate", "running")]

    await eventually(shown, seconds=10)
    kept = {run: await redis_client.get(key(run)) for run in [*done, going]}
    stranger = RunId(UUID(int=1))
    ahead = re.sub(rb'"revision" : [0-9]+', b'"revision" : 99', kept[done[3]])
    await redis_client.delete(key(done[0]))
    await redis_client.set(key(done[1]), kept[done[1]].replace(b"completed", b"running"))
    await redis_client.set(key(done[2]), b"no view at all")
    await redis_client.set(key(done[3]), ahead)
    await redis_client.set(key(done[4]), re.sub(rb'"revision" : [0-9]+', b'"revision" : 1', kept[done[4]]))
    await redis_client.set(key(stranger), kept[going])

    found = {difference.run: difference.what for difference in await orchestrator.check_consistency()}
    assert [found[run] for run in [*done, stranger]] == [
        "missing", "other", "other", "ahead", "behind", "orphaned",
    ]  # fmt: skip
    assert (await orchestrator.show(done[2], caller=alice)).state is RunState.COMPLETED
    assert await orchestrator.rebuild_view() == 6
    await consistent()
    await forget_all(redis_client, namespace)
    assert await orchestrator.rebuild_view() == 6
    await consistent()
    assert {run: await redis_client.get(key(run)) for run in kept} == kept
    go_on.set()
    await orchestrator.result(plan, going, caller=alice, within=SOON)
    await eventually(consistent, seconds=10)
