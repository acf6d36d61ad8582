"""Runs wait their turn, are refused, cancelled, cut off and set aside as their rules say."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents import (
    Agent,
    Caller,
    EngineUnavailable,
    InvalidInput,
    KeyReused,
    NotParked,
    Orchestrator,
    Plan,
    RunCancelled,
    RunId,
    RunNotFound,
    RunState,
    RunTimedOut,
    Step,
    StillRunning,
    TenantId,
    Tier,
    Turn,
    UserId,
    Worker,
)
from netra_fixtures import Goal, business_value, eventually, within
from netra_fixtures import Tier as Worth

from .computing import ADD, Number
from .conftest import PATIENT, Screen

pytestmark = business_value(
    tier=Worth.FREE, goals={Goal.STABILITY}, impact="one customer's flood of work holds up nobody else's"
)

OpenWorker = Callable[..., Awaitable[Worker]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
SOON = timedelta(seconds=30)


class Text(BaseModel):
    """Words."""

    words: str


class Gate:
    """An agent that waits until it is let through, and knows who waits."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.changed = asyncio.Event()
        self.open = asyncio.Event()
        self.plan = Plan("gated", Number, Number, [Step("gate", Agent("gate", self._pass, Number, Number))])

    async def _pass(self, given: Number, turn: Turn) -> Number:
        self.waiting.append(f"{turn.caller.tenant} {given.n}")
        self.changed.set()
        await self.open.wait()
        return given

    async def hold(self, count: int) -> None:
        """Wait until so many have come."""
        async with within(seconds=30):
            while len(self.waiting) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def gate() -> Gate:
    """A gate that is closed."""
    return Gate()


def caller(tenant: str, tier: Tier) -> Caller:
    """Make a user of a tenant."""
    return Caller(tenant=TenantId(tenant), user=UserId(f"{tenant}-user"), tier=tier)


async def test_a_tenant_has_no_more_runs_at_once_than_its_tier_allows(
    open_worker: OpenWorker, orchestrator: Orchestrator, gate: Gate, alice: Caller, rows: Rows
) -> None:
    """A tenant's third run waits until one of its two ends, though there is room, and others go past it."""
    free = caller("small", Tier.FREE)
    runs = [await orchestrator.start(gate.plan, Number(n=n), caller=free) for n in range(3)]
    other = await orchestrator.start(gate.plan, Number(n=9), caller=alice)
    await open_worker(gate.plan)

    await gate.hold(3)
    states = await rows("select count(*) as n from agents.run where state = 'running' and tenant = 'small'")
    waiting = (await orchestrator.find(runs[2], caller=free)).state
    gate.open.set()
    ended = [await orchestrator.result(gate.plan, run, caller=free, within=SOON) for run in runs]

    assert sorted(gate.waiting[:3]) == ["acme 9", "small 0", "small 1"]
    assert states == [{"n": 2}]
    assert waiting is RunState.QUEUED
    assert [one.n for one in ended] == [0, 1, 2]
    await orchestrator.result(gate.plan, other, caller=alice, within=SOON)


async def test_a_higher_tier_goes_first_and_equals_in_their_order(
    open_worker: OpenWorker, orchestrator: Orchestrator
) -> None:
    """Where there is room for one at a time, who pays more waits less, and nobody is passed by an equal."""
    taken: list[int] = []

    async def note(given: Number, turn: Turn) -> Number:
        taken.append(given.n)
        return given

    plan = Plan("noted", Number, Number, [Step("note", Agent("note", note, Number, Number))])
    tiers = [Tier.FREE, Tier.MID, Tier.ENTERPRISE, Tier.EARLY, Tier.MID]
    callers = [caller(f"tenant{number}", tier) for number, tier in enumerate(tiers)]
    runs = [await orchestrator.start(plan, Number(n=n), caller=one) for n, one in enumerate(callers)]
    await open_worker(plan, policy=PATIENT.model_copy(update={"carried_at_once": 1}))

    for run, one in zip(runs, callers, strict=True):
        await orchestrator.result(plan, run, caller=one, within=SOON)

    assert taken == [2, 1, 4, 3, 0]


async def test_a_run_is_cancelled_wherever_it_is(
    open_worker: OpenWorker, orchestrator: Orchestrator, gate: Gate, alice: Caller, screen: Screen
) -> None:
    """What is no longer wanted stops, and its user is told, whether it waits, runs or ended."""
    waiting = await orchestrator.start(gate.plan, Number(n=1), caller=alice)
    await orchestrator.cancel(waiting, caller=alice)
    await open_worker(gate.plan, sink=screen)
    running = await orchestrator.start(gate.plan, Number(n=2), caller=alice)
    await gate.hold(1)

    await orchestrator.cancel(running, caller=alice)
    for run in (waiting, running):
        with pytest.raises(RunCancelled):
            await orchestrator.result(gate.plan, run, caller=alice, within=SOON)
    await orchestrator.cancel(running, caller=alice)

    assert gate.waiting == ["acme 2"]

    async def told() -> None:
        for run in (waiting, running):
            assert screen.kinds(run) == ["agent_started", "agent_failed"]
            assert screen.data(run, "agent_failed")[0]["state"] == "cancelled"
        assert await orchestrator.check_consistency() == []

    await eventually(told, seconds=10)


async def test_a_run_ends_by_its_deadline_wherever_it_is(
    open_worker: OpenWorker, orchestrator: Orchestrator, gate: Gate, alice: Caller, screen: Screen
) -> None:
    """A user is told in time that it takes too long, instead of looking at a screen for ever."""
    soon = timedelta(milliseconds=300)
    unknown = Plan("unknown", Number, Number, [Step("a", ADD)])
    waiting = await orchestrator.start(unknown, Number(n=1), caller=alice, within=timedelta(milliseconds=1))
    await open_worker(gate.plan, sink=screen)
    running = await orchestrator.start(gate.plan, Number(n=2), caller=alice, within=soon)

    for run in (waiting, running):
        with pytest.raises(RunTimedOut):
            await orchestrator.result(gate.plan, run, caller=alice, within=SOON)

    async def told() -> None:
        for run in (waiting, running):
            assert [data["state"] for data in screen.data(run, "agent_failed")] == ["timed_out"]

    await eventually(told, seconds=10)


async def test_starts_with_one_key_are_one_run(
    open_worker: OpenWorker, orchestrator: Orchestrator, gate: Gate, alice: Caller, bob: Caller, rows: Rows
) -> None:
    """A click that was repeated for want of an answer costs one run."""
    starts = (orchestrator.start(gate.plan, Number(n=1), caller=alice, key="click") for _ in range(10))

    runs = await asyncio.gather(*starts)
    with pytest.raises(KeyReused) as reused:
        await orchestrator.start(gate.plan, Number(n=2), caller=alice, key="click")
    await orchestrator.start(gate.plan, Number(n=2), caller=bob, key="click")

    assert set(runs) == {reused.value.run}
    assert await rows("select count(*) as n from agents.run") == [{"n": 2}]


async def test_a_tenant_never_sees_another_s_runs(
    open_worker: OpenWorker, orchestrator: Orchestrator, gate: Gate, alice: Caller, bob: Caller
) -> None:
    """Not by its id, not in a list, not on a screen, and not to cancel."""
    run = await orchestrator.start(gate.plan, Number(n=1), caller=alice)
    await orchestrator.rebuild_view()

    for ask in (
        orchestrator.find(run, caller=bob),
        orchestrator.show(run, caller=bob),
        orchestrator.cancel(run, caller=bob),
        orchestrator.result(gate.plan, run, caller=bob, within=SOON),
        orchestrator.find(RunId(uuid4()), caller=alice),
    ):
        with pytest.raises(RunNotFound):
            await ask
    assert await orchestrator.list_runs(caller=bob) == []
    assert await orchestrator.steps(run, caller=bob) == []
    assert [one.id for one in await orchestrator.list_runs(caller=alice, state=RunState.QUEUED)] == [run]
    assert not (await orchestrator.find(run, caller=alice)).cancel_requested


async def test_two_installations_share_servers_and_nothing_else(
    open_worker: OpenWorker, orchestrator: Orchestrator, engine: AsyncEngine, redis_client: Redis, namespace: str,
    alice: Caller,
) -> None:  # fmt: skip
    """What runs in one is not taken up, shown or compared in the other, though its name begins alike."""
    plan = Plan("quick", Number, Number, [Step("a", ADD)])
    other = Orchestrator(engine=engine, redis=redis_client, namespace=f"{namespace}:other", policy=PATIENT)
    theirs = await other.start(plan, Number(n=1), caller=alice)
    await other.rebuild_view()
    await open_worker(plan)

    ours = await orchestrator.start(plan, Number(n=1), caller=alice)
    await orchestrator.result(plan, ours, caller=alice, within=SOON)

    assert (await other.find(theirs, caller=alice)).state is RunState.QUEUED
    assert [run.id for run in await orchestrator.list_runs(caller=alice)] == [ours]
    with pytest.raises(RunNotFound):
        await orchestrator.find(theirs, caller=alice)
    assert await orchestrator.rebuild_view() == 1
    assert await other.check_consistency() == []


@pytest.mark.parametrize("words", ["a\0b", "\ud800", "x" * 1_000_000], ids=["NUL", "surrogate", "1 MB"])
async def test_what_no_store_keeps_is_refused_before_any_sees_it(
    orchestrator: Orchestrator, alice: Caller, rows: Rows, words: str
) -> None:
    """Input from anywhere gets an answer that names the rule, and repeats nothing of it."""

    async def spell(given: Text, turn: Turn) -> Text:
        return given

    plan = Plan("spelt", Text, Text, [Step("spell", Agent("spell", spell, Text, Text))])

    with pytest.raises(InvalidInput) as refused:
        await orchestrator.start(plan, Text.model_construct(words=words), caller=alice)

    assert words not in str(refused.value)
    assert await rows("select 1 from agents.run") == []
    with pytest.raises(ValueError, match="printable"):
        await orchestrator.start(plan, Text(words="a"), caller=alice, key="a\0")
    with pytest.raises(ValueError, match="printable"):
        Caller(tenant=TenantId("a\0"), user=UserId("a"))


async def test_who_follows_a_run_sees_it_to_its_end(
    open_worker: OpenWorker, orchestrator: Orchestrator, gate: Gate, alice: Caller
) -> None:
    """Each state that is seen is later than the one before, and the last is the end."""
    await open_worker(gate.plan)
    run = await orchestrator.start(gate.plan, Number(n=1), caller=alice)
    with pytest.raises(StillRunning):
        await orchestrator.result(gate.plan, run, caller=alice, within=timedelta(0))
    await gate.hold(1)
    gate.open.set()

    async with within(seconds=30):
        seen = [found async for found in orchestrator.follow(run, caller=alice)]

    assert [one.revision for one in seen] == sorted({one.revision for one in seen})
    assert seen[-1].state is RunState.COMPLETED
    [step] = await orchestrator.steps(run, caller=alice)
    assert step.result == {"n": 1}


async def test_the_record_can_not_be_changed_once_it_is_made(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, engine: AsyncEngine, rows: Rows
) -> None:
    """PostgreSQL itself refuses that a run that ended goes on, or that a step comes to something else."""
    plan = Plan("quick", Number, Number, [Step("a", ADD)])
    await open_worker(plan)
    run = await orchestrator.start(plan, Number(n=1), caller=alice)
    await orchestrator.result(plan, run, caller=alice, within=SOON)

    for change in (
        "update agents.run set state = 'running', ended_at = null, result = null where id = :run returning id",
        "update agents.run set result = '[3]' where id = :run returning id",
        "update agents.step set result = '[3]' where run = :run returning run",
        "insert into agents.event (run, number, event_id, kind, data) values (:run, 9, 'x', 'agent_failed', '{}')"
        " returning run",
    ):
        with pytest.raises(DBAPIError):
            await rows(change, run=run)


async def test_what_ended_long_ago_is_purged_everywhere(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, gate: Gate, screen: Screen,
    redis_client: Redis, rows: Rows,
) -> None:  # fmt: skip
    """Rows, views and what the engine kept go together; what goes on stays."""
    plan = Plan("quick", Number, Number, [Step("a", ADD)])
    worker = await open_worker(plan, gate.plan, sink=screen)
    done = await orchestrator.start(plan, Number(n=1), caller=alice)
    await orchestrator.result(plan, done, caller=alice, within=SOON)
    going = await orchestrator.start(gate.plan, Number(n=1), caller=alice)
    await gate.hold(1)

    async def purged() -> None:
        assert await worker.purge(kept=timedelta(0)) == 1  # once its events are known to be taken

    await eventually(purged, seconds=10)

    assert [row["id"] for row in await rows("select id from agents.run")] == [going]
    kept = await rows("select workflow_uuid as run from agents_engine.workflow_status")
    assert [row["run"] for row in kept] == [str(going)]

    async def gone() -> None:
        assert await orchestrator.check_consistency() == []

    await eventually(gone, seconds=10)
    gate.open.set()
    await orchestrator.result(gate.plan, going, caller=alice, within=SOON)


async def test_one_process_is_one_worker(open_worker: OpenWorker) -> None:
    """A second worker in a process is refused by name, instead of sharing what can't be shared."""
    plan = Plan("quick", Number, Number, [Step("a", ADD)])
    await open_worker(plan)

    with pytest.raises(EngineUnavailable, match="start another process"):
        await open_worker(plan)


async def test_what_the_engine_logs_goes_where_the_process_logs(
    open_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator who reads a worker's log finds in it what the engine below has to say."""
    await open_worker(Plan("quick", Number, Number, [Step("a", ADD)]))

    logging.getLogger("dbos").error("the engine has something to say")

    assert "the engine has something to say" in caplog.text


async def test_only_what_is_parked_is_released(orchestrator: Orchestrator, gate: Gate, alice: Caller) -> None:
    """An operator who mistakes a run changes nothing."""
    run = await orchestrator.start(gate.plan, Number(n=1), caller=alice)

    with pytest.raises(NotParked):
        await orchestrator.release(run, within=SOON)

    assert await orchestrator.parked() == []
