"""What an agent does in the world it does once, in time, and with a record; what is known is not asked again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from netra_fixtures import Goal, ManualClock, Tier, business_value, eventually, within
from netra_tools import (
    BreakerPolicy,
    CachePolicy,
    CacheUse,
    Call,
    Caller,
    CircuitOpen,
    Context,
    ExecutorPolicy,
    InvalidArguments,
    Outcome,
    RetryPolicy,
    RunCancelled,
    RunId,
    RunState,
    Tool,
    ToolError,
    ToolExecutor,
    ToolFailed,
    ToolTimedOut,
    TransientError,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.EFFICIENCY},
    impact="agents act once and only once, and users see what they did",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
RowOf = Callable[[RunId], Awaitable[dict[str, Any]]]
SOON = timedelta(milliseconds=1)


class Spend(BaseModel):
    """What the tool of these tests is asked."""

    service: str
    months: int = 1


class Cost(BaseModel):
    """What it answers."""

    service: str
    dollars: float


async def price(spend: Spend, _: Context) -> Cost:
    """Tell what a service costs."""
    return Cost(service=spend.service, dollars=12.5 * spend.months)


async def test_single_tool_execution_lifecycle(
    open_tools: OpenTools, row_of: RowOf, screen: Any, alice: Caller
) -> None:
    """A run is written down before, while and after it happens, and asking twice for one thing does it once."""
    states = []

    async def watched(spend: Spend, context: Context) -> Cost:
        assert context.run is not None
        states.append((await row_of(context.run))["state"])
        return await price(spend, context)

    tools = await open_tools(Tool.typed("price", watched, Spend, Cost), sink=screen)

    first = await tools.run(Call("price", {"service": "s3", "months": 2}, key="monday"), caller=alice)
    again = await tools.run(Call("price", {"months": 2, "service": "s3"}, key="monday"), caller=alice)

    assert first.run is not None
    row = await row_of(first.run)
    assert first.result == again.result == Cost(service="s3", dollars=25.0)
    assert (again.run, states) == (first.run, ["running"])
    assert (row["state"], row["result"]) == ("completed", {"service": "s3", "dollars": 25.0})
    assert row["created_at"] <= row["started_at"] <= row["ended_at"]
    assert [(kind, seen["run"], seen.get("state")) for kind, seen in screen.seen] == [
        ("tool_executing", "work-1", None),
        ("tool_completed", "work-1", "completed"),
    ]


async def test_parallel_tool_execution_coordination(open_tools: OpenTools, alice: Caller) -> None:
    """Twelve questions are asked three at a time, and one that fails takes no other's answer along."""
    asked, three, gate = 0, asyncio.Event(), asyncio.Event()

    async def counted(spend: Spend, context: Context) -> Cost:
        nonlocal asked
        asked += 1
        if asked == 3:
            three.set()
        await gate.wait()
        if spend.months == 7:
            raise ToolError("no prices for July")
        return await price(spend, context)

    tools = await open_tools(
        Tool.typed("price", counted, Spend, Cost), Tool.typed("other", price, Spend, Cost)
    )
    calls = [Call[Any]("price", {"service": "s3", "months": month}) for month in range(1, 13)]
    calls[1] = Call("price", {"months": 2})

    async with within(seconds=30):
        asking = asyncio.create_task(tools.run_many(calls, caller=alice, limit=3))
        await three.wait()
        for _ in range(3):  # a fourth of the calls would have come before these, which began later
            await tools.run(Call("other", {"service": "s3"}), caller=alice)
        at_once = asked
        gate.set()
        found = await asking

    assert isinstance(found[1], InvalidArguments)
    assert isinstance(found[6], ToolFailed)
    assert found[6].reason == "no prices for July"
    dollars = {n: one.result.dollars for n, one in enumerate(found) if isinstance(one, Outcome)}
    assert dollars == {n: 12.5 * (n + 1) for n in range(12) if n not in (1, 6)}
    assert (at_once, asked) == (3, 11)


async def test_tool_execution_error_handling_and_recovery(
    open_tools: OpenTools, row_of: RowOf, screen: Any, alice: Caller
) -> None:
    """A hiccup is tried again, a refusal is not, and a tool that keeps failing is left alone until it is well."""
    answers: list[Exception | None] = []
    called = 0

    async def shaky(spend: Spend, context: Context) -> Cost:
        nonlocal called
        called += 1
        if answers and (error := answers.pop(0)) is not None:
            raise error
        return await price(spend, context)

    rules = {
        "retry": RetryPolicy(attempts=3, first_wait=SOON, longest_wait=SOON),
        "breaker": BreakerPolicy(failures=4, ratio=0, rest=timedelta(milliseconds=300)),
    }
    tool = Tool.typed("price", shaky, Spend, Cost, **rules)
    here, there = await open_tools(tool, sink=screen), await open_tools(tool)
    call = Call(tool, Spend(service="s3"))

    answers += [TransientError("busy"), TransientError("busy", retry_after=SOON)]
    recovered = await here.run(call, caller=alice)
    assert recovered.run is not None
    assert ((await row_of(recovered.run))["attempts"], called) == (3, 3)

    answers += [ToolError("no such service")]
    with pytest.raises(ToolFailed, match="no such service"):
        await here.run(call, caller=alice)
    assert called == 4

    answers += [TransientError("down")] * 2
    with pytest.raises(ToolFailed, match="down"):  # the breaker, open now, allows no third attempt
        await here.run(call, caller=alice)
    await eventually(lambda: _refused(there, call, alice), seconds=10)
    assert called == 6

    await eventually(lambda: _works(there, call, alice), seconds=10)
    assert called == 7
    for tools in (here, there):
        await eventually(lambda tools=tools: _works(tools, call, alice), seconds=5)
    assert called == 9
    assert screen.kinds == ["tool_executing", "tool_completed"] * 4


async def _works(tools: ToolExecutor, call: Call[Cost], caller: Caller) -> None:
    try:
        await tools.run(call, caller=caller)
    except CircuitOpen as error:
        raise AssertionError("it still rests") from error


async def _refused(tools: ToolExecutor, call: Call[Cost], caller: Caller) -> None:
    try:
        await tools.run(call, caller=caller)
    except CircuitOpen:
        return
    raise AssertionError("the tool was called")


async def test_tool_result_caching_and_performance_optimization(
    open_tools: OpenTools, clock: ManualClock, alice: Caller, bob: Caller
) -> None:
    """What one agent has found out every agent of its tenant knows, until it is too old, and no other tenant does."""
    asked: list[str] = []

    async def counted(spend: Spend, context: Context) -> Cost:
        asked.append(context.caller.tenant)
        return await price(spend, context)

    tool = Tool.typed("price", counted, Spend, Cost, cache=CachePolicy(lasts=timedelta(hours=1)))
    here, there = await open_tools(tool), await open_tools(tool)
    call = Call(tool, {"service": "s3"})

    first = await here.run(call, caller=alice)
    clock.advance(timedelta(minutes=10))
    second = await there.run(Call(tool, {"months": 1, "service": "s3"}), caller=alice)
    others = await there.run(call, caller=bob)
    fresh = await there.run(Call(tool, call.arguments, max_age=timedelta(minutes=5)), caller=alice)
    past = await there.run(Call(tool, call.arguments, bypass=True), caller=alice)
    await here.invalidate("price", version="2")
    kept = await there.run(call, caller=alice)
    await here.invalidate("price")
    anew = await there.run(call, caller=alice)

    uses = [one.cache for one in (first, second, others, fresh, past, kept, anew)]
    stored, hit = CacheUse.STORED, CacheUse.HIT
    assert uses == [stored, hit, stored, stored, CacheUse.BYPASSED, hit, stored]
    assert first.result == second.result == anew.result
    assert (second.run, second.age) == (None, timedelta(minutes=10))
    assert asked == ["acme", "globex", "acme", "acme", "acme"]


@pytest.mark.parametrize("how", ["times out", "is cancelled"])
async def test_a_tool_that_does_not_end_is_ended(
    open_tools: OpenTools, row_of: RowOf, screen: Any, alice: Caller, how: str
) -> None:
    """Whoever waits is told, the tool hears of it, and the record and the screen say so."""
    begun: asyncio.Future[RunId] = asyncio.get_running_loop().create_future()
    stopped = asyncio.Event()

    async def endless(_: Spend, context: Context) -> Cost:
        assert context.run is not None
        begun.set_result(context.run)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError("it never ends")

    timeout = timedelta(milliseconds=50) if how == "times out" else timedelta(minutes=5)
    tool = Tool.typed("endless", endless, Spend, Cost, timeout=timeout)
    told = ExecutorPolicy(deadline=timedelta(seconds=30), lease=timedelta(hours=1))  # not found by renewing
    here, there = await open_tools(tool, sink=screen, policy=told), await open_tools(tool)

    running = asyncio.create_task(here.run(Call(tool, Spend(service="s3")), caller=alice))
    async with within(seconds=20):
        run = await begun
        if how == "is cancelled":
            await there.cancel(run, caller=alice)
        with pytest.raises(ToolTimedOut if how == "times out" else RunCancelled):
            await running
        with pytest.raises(ToolTimedOut if how == "times out" else RunCancelled):
            await there.result(run, caller=alice, within=timedelta(seconds=10))

    ended = RunState.TIMED_OUT if how == "times out" else RunState.CANCELLED
    assert (await row_of(run))["state"] == screen.seen[-1][1]["state"] == ended
    assert stopped.is_set()


async def test_a_tool_that_rests_is_probed_by_as_many_as_it_may_be(
    open_tools: OpenTools, alice: Caller
) -> None:
    """A service that comes back is not knocked down again by everybody who waited for it."""
    broken, called, gate = True, 0, asyncio.Event()

    async def fragile(spend: Spend, context: Context) -> Cost:
        nonlocal called
        if broken:
            raise TransientError("down")
        called += 1
        await gate.wait()
        return await price(spend, context)

    rests = BreakerPolicy(failures=1, ratio=0, rest=timedelta(milliseconds=200), probes=2)
    tool = Tool.typed("fragile", fragile, Spend, Cost, breaker=rests, timeout=timedelta(minutes=5))
    here, there = await open_tools(tool), await open_tools(tool)
    call = Call(tool, {"service": "s3"})
    with pytest.raises(ToolFailed):
        await here.run(call, caller=alice)
    broken = False
    await eventually(lambda: _refused(there, call, alice), seconds=10)

    async with within(seconds=40):
        first = asyncio.create_task(_probed(here, call, alice))
        while called == 0:
            await asyncio.wait({first}, timeout=0.01)
        others = [asyncio.create_task(tools.run(call, caller=alice)) for tools in [here, there] * 10]
        refused = await _first(others, 19)
        gate.set()
        passed = [await first, *await asyncio.gather(*(one for one in others if one not in refused))]

    assert called == len(passed) == 2
    assert all(isinstance(one.exception(), CircuitOpen) for one in refused)


async def _probed(tools: ToolExecutor, call: Call[Cost], caller: Caller) -> Outcome[Cost]:
    """Call until the tool is not at rest any more."""
    while True:
        try:
            return await tools.run(call, caller=caller)
        except CircuitOpen as rests:
            await asyncio.sleep(min(0.05, rests.retry_after.total_seconds()))


async def _first(tasks: list[asyncio.Task[Outcome[Cost]]], number: int) -> set[asyncio.Task[Outcome[Cost]]]:
    """Wait until so many tasks are done."""
    done: set[asyncio.Task[Outcome[Cost]]] = set()
    left = set(tasks)
    while len(done) < number:
        more, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    return done


async def test_a_result_that_is_too_long_is_not_cached(open_tools: OpenTools, alice: Caller) -> None:
    """One huge answer does not push out thousands of small ones, and its caller is told."""
    called = 0

    async def counted(spend: Spend, context: Context) -> Cost:
        nonlocal called
        called += 1
        return await price(spend, context)

    tool = Tool.typed("price", counted, Spend, Cost, cache=CachePolicy(limit_bytes=20))
    tools = await open_tools(tool)

    uses = [(await tools.run(Call(tool, {"service": "s3"}), caller=alice)).cache for _ in range(2)]

    assert uses == [CacheUse.TOO_LARGE] * 2
    assert called == 2
