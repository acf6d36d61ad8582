"""An executor that is entered, left, misused or cut off leaves nothing behind, and waits for nobody for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import (
    Goal,
    HalfOpen,
    Latency,
    PostgresEndpoint,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)
from netra_tools import (
    Call,
    Caller,
    Context,
    ExecutorPolicy,
    InvalidArguments,
    Outcome,
    RunCancelled,
    RunId,
    StoreUnavailable,
    Tool,
    ToolExecutor,
    ToolRegistry,
    WhenLost,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="a worker that is stopped, started or cut off neither hangs nor does anything twice",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
Rows = Callable[[str], Awaitable[int]]
PATIENT = ExecutorPolicy(deadline=timedelta(seconds=30))
LATER = timedelta(seconds=20)


async def echo(value: dict[str, int], _: Context) -> dict[str, int]:
    """Return what came."""
    return value


ECHO = Tool.typed("echo", echo, dict[str, int], dict[str, int])
NOTE = Call[dict[str, int]]("echo", {"n": 1})


class Gated:
    """A tool that says when it was called, and goes on when it may."""

    def __init__(self, **rules: Any) -> None:
        self.called, self.go_on = asyncio.Event(), asyncio.Event()
        self.calls = self.at_once = self.most_at_once = 0
        self.tool = Tool.typed(
            "gated", self._call, dict[str, int], dict[str, int], timeout=timedelta(hours=1), **rules
        )

    async def _call(self, value: dict[str, int], _: Context) -> dict[str, int]:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.called.set()
        try:
            await self.go_on.wait()
        finally:
            self.at_once -= 1
        return value


async def test_who_gives_up_opening_leaves_nothing_behind(
    engine: AsyncEngine, redis_link: ServiceLink[RedisEndpoint], linked_redis: Redis, namespace: str
) -> None:
    """A start that takes too long is given up as a whole, and not left running where nobody knows of it."""
    tools = ToolExecutor(
        registry=ToolRegistry(), engine=engine, redis=linked_redis, namespace=namespace, policy=PATIENT
    )

    await linked_redis.ping()
    async with redis_link.fault(HalfOpen()):
        opening = asyncio.create_task(tools.__aenter__())
        await asyncio.wait({opening}, timeout=0.2)
        opening.cancel()
        async with within(seconds=20):
            await asyncio.wait({opening})

    assert opening.cancelled()
    assert not [task for task in asyncio.all_tasks() if "netra_tools" in str(task.get_stack(limit=1))]


@pytest.fixture
async def rows(engine: AsyncEngine) -> Callable[[str], Awaitable[int]]:
    """Count the runs of which something is true, past the library and any link."""

    async def count(where: str) -> int:
        async with engine.connect() as connection:
            return int(await connection.scalar(text(f"select count(*) from tools.run where {where}")) or 0)

    return count


async def test_what_begins_while_the_block_is_left_does_not_go_on(
    linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint], redis_client: Redis,
    namespace: str, alice: Caller, rows: Rows,
) -> None:  # fmt: skip
    """A deployment waits for no tool that is about to begin, and none begins after it."""
    gated = Gated()
    registry = ToolRegistry([ECHO, gated.tool])
    tools = ToolExecutor(
        registry=registry, engine=linked_engine, redis=redis_client, namespace=namespace, policy=PATIENT
    )

    async def written() -> None:
        assert await rows("tool = 'gated'") == 1

    async with within(seconds=40), AsyncExitStack() as opened:
        await opened.enter_async_context(tools)
        await tools.run(NOTE, caller=alice)
        async with postgres_link.fault(Latency(timedelta(seconds=0.2))):
            running = asyncio.create_task(tools.run(Call(gated.tool, {}), caller=alice))
            await eventually(written, seconds=20)
            await opened.aclose()
        with pytest.raises(RunCancelled):
            await running

    assert gated.at_once == 0
    assert await rows("state = 'cancelled'") == 1


async def test_what_is_taken_up_while_the_block_is_left_does_not_go_on(
    linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint], redis_client: Redis,
    namespace: str, alice: Caller, rows: Rows,
) -> None:  # fmt: skip
    """A run that was left to whoever is free is not begun by a worker that goes."""
    gated = Gated()
    registry = ToolRegistry([ECHO, gated.tool])
    tools = ToolExecutor(
        registry=registry, engine=linked_engine, redis=redis_client, namespace=namespace, policy=PATIENT
    )

    async def taken() -> None:
        assert await rows("tool = 'gated' and state = 'running'") == 1

    async with within(seconds=40), AsyncExitStack() as opened:
        await opened.enter_async_context(tools)
        await tools.run(NOTE, caller=alice)
        async with postgres_link.fault(Latency(timedelta(seconds=0.2))):
            await tools.submit(Call(gated.tool, {}), caller=alice)
            await eventually(taken, seconds=20)
            await opened.aclose()

    assert gated.at_once == 0


async def test_what_waits_stays_for_other_workers(
    engine: AsyncEngine, redis_client: Redis, namespace: str, alice: Caller, rows: Rows
) -> None:
    """A worker that goes takes along what it is at, however long that lasts, and not the whole queue."""
    gated, begun, let_go = Gated(), asyncio.Event(), asyncio.Event()

    async def deaf(_: dict[str, int], __: Context) -> dict[str, int]:
        begun.set()
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()
        return {}

    slow = Tool.typed("slow", deaf, dict[str, int], dict[str, int], timeout=timedelta(hours=1))
    tools = ToolExecutor(
        registry=ToolRegistry([gated.tool, slow]),
        engine=engine,
        redis=redis_client,
        namespace=namespace,
        policy=ExecutorPolicy(deadline=timedelta(seconds=30), taken_at_once=1, grace=timedelta(seconds=0.2)),
    )

    async with within(seconds=40):
        async with tools:
            running = asyncio.create_task(tools.run(Call(slow, {}), caller=alice))
            await begun.wait()
            for n in range(3):
                await tools.submit(Call(gated.tool, {"n": n}), caller=alice)
            await gated.called.wait()
        let_go.set()
        with pytest.raises(RunCancelled):
            await running

    assert await rows("tool = 'gated' and state = 'pending'") == 2


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_end_that_others_wait_for_is_announced(
    open_tools: OpenTools, alice: Caller, key: str | None
) -> None:
    """Who waits for another worker's run hears of its end, and does not have to look again and again."""
    gated = Gated()
    seldom = ExecutorPolicy(deadline=timedelta(seconds=30), poll_every=timedelta(hours=1))
    here, there = await open_tools(gated.tool), await open_tools(gated.tool, policy=seldom)
    call = Call(gated.tool, {"n": 1}, key=key)

    async with within(seconds=40):
        running = asyncio.create_task(
            here.run(call, caller=alice) if key else here.submit(call, caller=alice)
        )
        await gated.called.wait()
        waiting = (
            there.run(call, caller=alice) if key else there.result(await running, caller=alice, within=LATER)
        )
        told = asyncio.create_task(waiting)
        await asyncio.wait({told}, timeout=0.5)  # it looks once, and waits
        gated.go_on.set()
        found = await told
        await running

    assert (found.result if key else found) == {"n": 1}


async def test_who_leaves_while_a_run_is_written_leaves_no_run_behind(
    open_tools: OpenTools, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint],
    alice: Caller, rows: Rows,
) -> None:  # fmt: skip
    """Who stops waiting at the worst moment, and asks again with the same key, is not told of a lost worker."""
    tools = await open_tools(ECHO, engine=linked_engine)
    await tools.run(NOTE, caller=alice)

    async def written() -> None:
        assert await rows("idempotency_key = 'k'") == 1

    async with within(seconds=40), postgres_link.fault(Latency(timedelta(seconds=0.2))):
        running = asyncio.create_task(tools.run(Call("echo", {"n": 2}, key="k"), caller=alice))
        await eventually(written, seconds=20)
        running.cancel()
        await asyncio.wait({running})

    assert running.cancelled()
    assert await rows("idempotency_key = 'k' and state = 'cancelled'") == 1


async def test_a_tool_is_stopped_before_another_worker_calls_it(
    open_tools: OpenTools,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
    alice: Caller,
) -> None:
    """A worker that can't reach the record knows by itself when its time is over, however long it would wait."""
    gated = Gated(when_lost=WhenLost.REPEAT)
    policy = ExecutorPolicy(
        deadline=timedelta(seconds=30), lease=timedelta(seconds=2), poll_every=timedelta(seconds=0.1)
    )
    here = await open_tools(ECHO, gated.tool, engine=linked_engine, policy=policy)
    await open_tools(gated.tool, policy=policy)

    async def called_again() -> None:
        assert gated.calls == 2

    async with within(seconds=50):
        running = asyncio.create_task(here.run(Call(gated.tool, {"n": 1}), caller=alice))
        await gated.called.wait()
        async with postgres_link.fault(HalfOpen()):
            await eventually(called_again, seconds=30)
            gated.go_on.set()
            with pytest.raises(StoreUnavailable):
                await running

    assert gated.most_at_once == 1


@pytest.mark.timeout(120)
async def test_a_process_that_takes_its_own_run_up_again_keeps_it(
    open_tools: OpenTools, engine: AsyncEngine, alice: Caller
) -> None:
    """A worker whose time ran out goes on with what it lost by that, and holds it as firmly as before."""
    begun: list[RunId | None] = []
    let_go = asyncio.Event()

    async def deaf_at_first(_: dict[str, int], context: Context) -> dict[str, int]:
        begun.append(context.run)
        if len(begun) == 1:
            while not let_go.is_set():
                with suppress(asyncio.CancelledError):
                    await let_go.wait()
            return {}
        await asyncio.Event().wait()
        return {}

    async def again() -> None:
        async with engine.begin() as connection:  # what a lease that was not renewed in time looks like
            lapsed = "update tools.run set lease_until = now() - interval '1 hour' where holder = :holder"
            await connection.execute(text(lapsed), {"holder": lost})
        assert len(begun) == 2

    async def held() -> tuple[Any, Any]:
        async with engine.connect() as connection:
            found = await connection.execute(
                text("select holder, lease_until from tools.run where tool = 'deaf'")
            )
            holder, lease_until = found.one()
            return holder, lease_until

    async def renewed() -> None:
        holder, lease_until = await held()
        assert holder == first[0]
        assert lease_until > first[1]

    tool = Tool.typed(
        "deaf", deaf_at_first, dict[str, int], dict[str, int], timeout=timedelta(hours=1),
        when_lost=WhenLost.REPEAT,
    )  # fmt: skip
    policy = ExecutorPolicy(
        deadline=timedelta(seconds=30), lease=timedelta(seconds=6), poll_every=timedelta(seconds=0.1)
    )
    tools = await open_tools(tool, policy=policy)

    async with within(seconds=100):
        running = asyncio.create_task(tools.run(Call(tool, {}), caller=alice))
        while not begun:
            await asyncio.wait({running}, timeout=0.01)
        lost, _ = await held()
        await eventually(again, seconds=40)
        let_go.set()
        with pytest.raises(StoreUnavailable):
            await running
        first = await held()
        await eventually(renewed, seconds=40)

    assert len(begun) == 2


async def test_nothing_is_run_by_halves_at_once(open_tools: OpenTools, alice: Caller) -> None:
    """A limit of no call at all would wait for ever."""
    tools = await open_tools(ECHO)

    async with within(seconds=20):
        with pytest.raises(ValueError, match="limit"):
            await tools.run_many([NOTE], caller=alice, limit=0)


class Grants:
    """Answers who may do what as it is told to."""

    def __init__(self, answer: Callable[[], Awaitable[bool]]) -> None:
        self._answer = answer

    async def allowed(self, caller: Caller, permission: str) -> bool:
        """Answer."""
        return await self._answer()


async def never() -> bool:
    """Answer never."""
    return await asyncio.get_running_loop().create_future()


async def broken() -> bool:
    """Fail as a store does that is out of reach."""
    raise OSError("postgresql://root:hunter2@db is gone")


@pytest.mark.parametrize("answer", [never, broken])
async def test_who_grants_permissions_may_be_away(
    open_tools: OpenTools, engine: AsyncEngine, alice: Caller, answer: Callable[[], Awaitable[bool]]
) -> None:
    """Nobody is let in because nobody could say no; and nobody else's call is lost or held up."""
    asks = Tool.typed("asks", echo, dict[str, int], dict[str, int], permission="read")
    policy = ExecutorPolicy(deadline=timedelta(seconds=1.5))
    tools = await open_tools(ECHO, asks, permits=Grants(answer), policy=policy)

    async with within(seconds=20):
        refused, done = await tools.run_many([Call("asks", {"n": 1}), NOTE], caller=alice)

    assert isinstance(refused, StoreUnavailable)
    assert "hunter2" not in str(refused)
    assert isinstance(done, Outcome)


@pytest.mark.parametrize("key", ["", "a\0", "\ud800", "k" * 201, "k" * 1_000_000])
@pytest.mark.parametrize("act", ["run", "submit"])
async def test_a_bad_key_reaches_no_store(
    open_tools: OpenTools, rows: Rows, alice: Caller, key: str, act: str
) -> None:
    """A key that some store would change would belong to two calls."""
    tools = await open_tools(ECHO)

    with pytest.raises(InvalidArguments) as refused:
        await getattr(tools, act)(Call("echo", {"n": 1}, key=key), caller=alice)

    assert len(str(refused.value)) < 300
    assert await rows("true") == 0


@pytest.mark.parametrize("within_", [timedelta(0), timedelta(days=-1), timedelta.max])
async def test_a_time_that_makes_no_sense_takes_no_other_call_along(
    open_tools: OpenTools, alice: Caller, within_: timedelta
) -> None:
    """One slip in a batch costs that call, and not its neighbours."""
    tools = await open_tools(ECHO)

    refused, done = await tools.run_many([Call("echo", {}, within=within_), NOTE], caller=alice)

    assert isinstance(refused, InvalidArguments)
    assert isinstance(done, Outcome)


async def test_names_that_nobody_knows_are_not_repeated_at_length(
    open_tools: OpenTools, rows: Rows, alice: Caller
) -> None:
    """What a confused model writes fills nobody's log."""
    tools = await open_tools(ECHO)

    with pytest.raises(InvalidArguments) as refused:
        await tools.run(Call("echo", {"x" * 100_000: "not a number"}), caller=alice)

    assert len(str(refused.value)) < 1000
    assert sum(map(len, refused.value.problems)) < 1000
    assert await rows("true") == 0


async def test_an_executor_that_is_not_open_says_so(
    engine: AsyncEngine, redis_client: Redis, namespace: str, alice: Caller
) -> None:
    """A worker that was not started, or is gone, opens no connection that nobody closes."""
    await redis_client.ping()
    tools = ToolExecutor(
        registry=ToolRegistry([ECHO]), engine=engine, redis=redis_client, namespace=namespace, policy=PATIENT
    )
    run = RunId(uuid4())

    for act in (
        tools.run(NOTE, caller=alice),
        tools.submit(NOTE, caller=alice),
        tools.find(run, caller=alice),
        tools.cancel(run, caller=alice),
        tools.result(run, caller=alice, within=LATER),
        tools.invalidate("echo"),
        tools.purge(kept=LATER),
    ):
        with pytest.raises(RuntimeError, match="isn't open"):
            await act
