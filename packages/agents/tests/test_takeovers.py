"""Who takes up another's run goes on where it was, and the user's screens never notice."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents import Agent, Caller, Orchestrator, Plan, Step, Turn, Worker
from netra_fixtures import Goal, Tier, business_value, eventually, within

from .computing import ADD, SUM, Number
from .conftest import PATIENT, Screen

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.RETENTION}, impact="a deployment in the middle of work is seen by nobody"
)

OpenWorker = Callable[..., Awaitable[Worker]]
SOON = timedelta(seconds=30)
LEAVING = PATIENT.model_copy(update={"grace": timedelta(0)})


class Halt:
    """An agent that thinks, and is held up in its first turn."""

    def __init__(self) -> None:
        self.turns = 0
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.agent = Agent("halt", self._halt, Number, Number)

    async def _halt(self, given: Number, turn: Turn) -> Number:
        self.turns += 1
        await turn.think("what now?")
        self.reached.set()
        await self.go_on.wait()
        await turn.think("that is it")
        return Number(n=given.n + 1)


class Stubborn(Screen):
    """A sink that takes nothing while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.refusing = asyncio.Event()
        self.refused = asyncio.Event()

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None:
        """Take an event, or raise."""
        if self.refusing.is_set():
            self.refused.set()
            raise ConnectionError
        await super().emit(kind, user=user, run=run, event_id=event_id, data=data)


async def test_what_finished_beside_others_is_not_done_again(
    engine: AsyncEngine, redis_client: Redis, namespace: str, orchestrator: Orchestrator,
    open_worker: OpenWorker, alice: Caller, screen: Screen,
) -> None:  # fmt: skip
    """Of agents that work side by side, those that were done when their worker left are not asked twice."""
    halt, counted = Halt(), 0

    async def count(given: Number, turn: Turn) -> Number:
        nonlocal counted
        counted += 1
        await turn.think("counting")
        return Number(n=given.n + 10)

    plan = Plan("beside", Number, Number, [
        Step("counted", Agent("count", count, Number, Number)), Step("halted", halt.agent),
        Step("join", SUM, {"all": ("counted", "halted")}),
    ])  # fmt: skip
    leaving = Worker(
        plans=[plan], engine=engine, redis=redis_client, namespace=namespace, sink=screen, policy=LEAVING
    )

    async with leaving:
        run = await orchestrator.start(plan, Number(n=1), caller=alice)
        async with within(seconds=30):
            await halt.reached.wait()

        async def written() -> None:
            counted_step, *_ = await orchestrator.steps(run, caller=alice)
            assert counted_step.result == {"n": 11}

        await eventually(written, seconds=10)
    halt.go_on.set()
    await open_worker(plan, sink=screen)
    result = await orchestrator.result(plan, run, caller=alice, within=SOON)

    assert result.n == 13
    assert (counted, halt.turns) == (1, 2)

    async def seen() -> None:
        assert screen.kinds(run)[0] == "agent_started"
        assert screen.kinds(run)[-1] == "agent_completed"

    await eventually(seen, seconds=10)
    ids = [event_id.removeprefix(f"{run}/") for event_id, _, _ in screen.seen[str(run)]]
    assert sorted(ids[1:-1]) == [
        "counted/1/agent_thinking", "halted/1/agent_thinking", "halted/2/agent_thinking", "join/1/agent_thinking",
    ]  # fmt: skip


async def test_events_wait_for_a_sink_that_takes_none_and_keep_their_order(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller
) -> None:
    """A gateway that is away holds up no work, and its screens miss nothing once it is back."""
    stubborn = Stubborn()
    stubborn.refusing.set()
    plan = Plan("chain", Number, Number, [Step("a", ADD), Step("b", ADD, "a"), Step("c", ADD, "b")])
    await open_worker(plan, sink=stubborn)

    run = await orchestrator.start(plan, Number(n=1), caller=alice)
    result = await orchestrator.result(plan, run, caller=alice, within=SOON)
    async with within(seconds=30):
        await stubborn.refused.wait()
    before = stubborn.kinds(run)
    stubborn.refusing.clear()

    assert result.n == 4
    assert before == []

    async def seen() -> None:
        thoughts = [data["thought"] for data in stubborn.data(run, "agent_thinking")]
        assert thoughts == [f"{n} is to be one more" for n in (1, 2, 3)]
        assert stubborn.kinds(run)[-1] == "agent_completed"

    await eventually(seen, seconds=20)


async def test_events_that_a_worker_left_unsent_are_sent_by_another(
    engine: AsyncEngine, redis_client: Redis, namespace: str, orchestrator: Orchestrator,
    open_worker: OpenWorker, alice: Caller,
) -> None:  # fmt: skip
    """The end of a run reaches its user though whoever carried it is gone."""
    stubborn = Stubborn()
    stubborn.refusing.set()
    plan = Plan("short", Number, Number, [Step("a", ADD)])
    leaving = Worker(
        plans=[plan], engine=engine, redis=redis_client, namespace=namespace, sink=stubborn, policy=LEAVING
    )
    async with leaving:
        run = await orchestrator.start(plan, Number(n=1), caller=alice)
        await orchestrator.result(plan, run, caller=alice, within=SOON)
    stubborn.refusing.clear()

    await open_worker(plan, sink=stubborn)

    async def seen() -> None:
        assert stubborn.kinds(run) == ["agent_started", "agent_thinking", "agent_completed"]

    await eventually(seen, seconds=20)


@pytest.mark.parametrize("outcome", ["completed", "failed"])
async def test_a_tool_s_events_say_how_it_went(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, screen: Screen, outcome: str
) -> None:
    """A user who watches sees which tool runs, and when it is over, also when it failed."""

    class Doubling:
        async def run(
            self, tool: str, arguments: Mapping[str, JsonValue], *, caller: Caller, key: str
        ) -> JsonValue:
            n: Any = arguments["n"]
            if outcome == "failed":
                raise LookupError("s3cr3t")
            return {"n": n * 2}

    async def ask(given: Number, turn: Turn) -> Number:
        return Number.model_validate(await turn.tool("double", {"n": given.n}))

    plan = Plan("asking", Number, Number, [Step("a", Agent("ask", ask, Number, Number))])
    await open_worker(plan, tools=Doubling(), sink=screen)

    run = await orchestrator.start(plan, Number(n=4), caller=alice)
    ends = {"completed": "agent_completed", "failed": "agent_failed"}

    async def seen() -> None:
        assert screen.kinds(run) == ["agent_started", "tool_executing", "tool_completed", ends[outcome]]

    await eventually(seen, seconds=20)
    [executing], [completed] = screen.data(run, "tool_executing"), screen.data(run, "tool_completed")
    assert completed == {**executing, "outcome": outcome}
    assert executing == {"agent": "ask", "tool": "double", "call": f"{run}/a/1", "step": "a"}
    assert "s3cr3t" not in str(screen.seen)
