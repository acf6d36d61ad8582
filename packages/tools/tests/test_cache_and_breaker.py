"""What is shared by all workers, results and caution, stays right when calls are cancelled, change or grow."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from netra_fixtures import Goal, PrivateRedis, Tier, business_value, eventually, within
from netra_tools import (
    BreakerPolicy,
    CachePolicy,
    CacheUse,
    Call,
    Caller,
    CircuitOpen,
    Context,
    ExecutorPolicy,
    Outcome,
    ResultRefused,
    RetryPolicy,
    Tool,
    ToolExecutor,
    ToolFailed,
    TransientError,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.EFFICIENCY},
    impact="what workers share never makes one of them wait for, or answer for, another's mistake",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
SOON = timedelta(milliseconds=1)


async def number(value: dict[str, int], _: Context) -> dict[str, int]:
    """Answer with numbers."""
    return value


async def words(value: dict[str, int], _: Context) -> dict[str, list[int]]:
    """Answer with lists."""
    return {name: [one] for name, one in value.items()}


async def test_a_cached_result_of_another_shape_is_found_anew(open_tools: OpenTools, alice: Caller) -> None:
    """A deployment that changes a result, and forgets to say so, costs one more call and no error."""
    before = await open_tools(Tool.typed("t", number, dict[str, int], dict[str, int], cache=CachePolicy()))
    after = await open_tools(
        Tool.typed("t", words, dict[str, int], dict[str, list[int]], cache=CachePolicy())
    )
    call = Call[Any]("t", {"n": 1})
    await before.run(call, caller=alice)

    found = [await after.run(call, caller=alice) for _ in range(3)]

    assert [one.result for one in found] == [{"n": [1]}] * 3
    assert [one.cache for one in found] == [CacheUse.BYPASSED, CacheUse.STORED, CacheUse.HIT]


async def test_a_kept_result_of_another_shape_is_refused_by_name(
    open_tools: OpenTools, alice: Caller
) -> None:
    """What the record holds is never read as something else."""
    before = await open_tools(Tool.typed("t", number, dict[str, int], dict[str, int]))
    after = await open_tools(Tool.typed("t", words, dict[str, int], dict[str, list[int]]))
    call = Call[Any]("t", {"n": 1}, key="k")
    run = (await before.run(call, caller=alice)).run
    assert run is not None

    with pytest.raises(ResultRefused):
        await after.run(call, caller=alice)
    with pytest.raises(ResultRefused):
        await after.result(run, caller=alice, within=timedelta(seconds=20))


async def test_results_that_are_too_long_are_found_side_by_side(open_tools: OpenTools, alice: Caller) -> None:
    """What can't be shared is no reason to stand in line."""
    called, all_called, gate = 0, asyncio.Event(), asyncio.Event()
    gate.set()

    async def counted(value: dict[str, int], _: Context) -> dict[str, int]:
        nonlocal called
        called += 1
        if called == 5:
            all_called.set()
        await gate.wait()
        return value

    tool = Tool.typed("t", counted, dict[str, int], dict[str, int], cache=CachePolicy(limit_bytes=1))
    here, there = await open_tools(tool), await open_tools(tool)
    call = Call(tool, {"n": 1})
    await here.run(call, caller=alice)
    gate.clear()

    async with within(seconds=20):
        calls = [asyncio.create_task(tools.run(call, caller=alice)) for tools in (here, there, here, there)]
        await all_called.wait()
        gate.set()
        found = await asyncio.gather(*calls)

    assert {one.cache for one in found} == {CacheUse.TOO_LARGE}


async def test_a_probe_that_is_cancelled_is_not_the_only_one(open_tools: OpenTools, alice: Caller) -> None:
    """A tool that is well again is not kept closed because the one who tried it lost patience."""
    broken, gate, begun = True, asyncio.Event(), asyncio.Event()

    async def fragile(value: dict[str, int], _: Context) -> dict[str, int]:
        if broken:
            raise TransientError("down")
        begun.set()
        await gate.wait()
        return value

    rests = BreakerPolicy(failures=1, ratio=0, rest=timedelta(milliseconds=50))
    tool = Tool.typed("t", fragile, dict[str, int], dict[str, int], breaker=rests, timeout=timedelta(hours=1))
    tools = await open_tools(tool)
    call = Call(tool, {"n": 1})
    with pytest.raises(ToolFailed):
        await tools.run(call, caller=alice)
    broken = False

    async def probed() -> Outcome[dict[str, int]]:
        while True:
            try:
                return await tools.run(call, caller=alice)
            except CircuitOpen as rests:
                await asyncio.sleep(min(0.05, rests.retry_after.total_seconds()))

    async with within(seconds=30):
        first = asyncio.create_task(probed())
        await begun.wait()
        first.cancel()
        await asyncio.wait({first})
        gate.set()
        second = await probed()

    assert second.result == {"n": 1}


async def test_a_restart_of_redis_costs_one_call_its_cache(
    open_tools: OpenTools, private_redis: PrivateRedis, own_redis: Redis, alice: Caller
) -> None:
    """However many connections there were, the first that is found dead speaks for all."""
    tool = Tool.typed("t", number, dict[str, int], dict[str, int], cache=CachePolicy())
    tools = await open_tools(tool, redis=own_redis)
    await tools.run_many([Call(tool, {"n": n}) for n in range(12)], caller=alice, limit=12)

    await private_redis.restart()
    found = [await tools.run(Call(tool, {"n": 1}), caller=alice) for _ in range(4)]

    assert [one.cache for one in found[1:]] == [CacheUse.STORED, CacheUse.HIT, CacheUse.HIT]


async def test_what_others_know_is_read_until_it_is_known(
    open_tools: OpenTools, own_redis: Redis, alice: Caller
) -> None:
    """A worker that could not ask at its start asks again, and does not knock on a door that is closed."""
    called = 0

    async def down(_: dict[str, int], __: Context) -> dict[str, int]:
        nonlocal called
        called += 1
        raise TransientError("down")

    async def asked(how: str = "calls") -> int:
        return int((await own_redis.info("commandstats"))["cmdstat_eval"][how])

    rests = BreakerPolicy(failures=1, ratio=0, rest=timedelta(hours=1))
    tool = Tool.typed("t", down, dict[str, int], dict[str, int], breaker=rests)
    here = await open_tools(tool, redis=own_redis)
    with pytest.raises(ToolFailed):
        await here.run(Call(tool, {}), caller=alice)
    before = await asked()
    await own_redis.execute_command("ACL", "SETUSER", "default", "-eval")
    there = await open_tools(tool, redis=own_redis)

    async def refused() -> None:
        assert await asked("rejected_calls") > 0

    await eventually(refused, seconds=10)
    await own_redis.execute_command("ACL", "SETUSER", "default", "+eval")

    async def asked_again() -> None:
        assert await asked() > before

    await eventually(asked_again, seconds=10)
    with pytest.raises(CircuitOpen):
        await there.run(Call(tool, {}), caller=alice)

    assert called == 1


async def test_what_is_announced_by_mistake_breaks_nothing(
    open_tools: OpenTools, redis_client: Redis, namespace: str, alice: Caller
) -> None:
    """A stray message on the channel is no reason to stop."""
    tool = Tool.typed("t", number, dict[str, int], dict[str, int])
    tools = await open_tools(tool)
    await tools.run(Call(tool, {}), caller=alice)

    for message in (
        b"breaker t \xc2\xb2",
        b"breaker t --5",
        b"breaker",
        b"",
        b"\xff \xff",
        b"cancel x",
        b"ended",
    ):
        assert await redis_client.publish(f"{namespace}:tools", message) == 1
    await redis_client.publish(f"{namespace}:tools", b"breaker t 3600000")

    async def heard() -> None:
        try:
            await tools.run(Call(tool, {}), caller=alice)
        except CircuitOpen:
            return
        raise AssertionError("it was not heard")

    await eventually(heard, seconds=10)


async def test_retries_stay_within_their_budget(open_tools: OpenTools, alice: Caller) -> None:
    """A tool that is down is asked a little more often than one that works, and not three times as often."""
    called = 0

    async def down(_: dict[str, int], __: Context) -> dict[str, int]:
        nonlocal called
        called += 1
        raise TransientError("down")

    retry = RetryPolicy(attempts=3, first_wait=SOON, longest_wait=SOON, budget=0, reserve=1)
    tool = Tool.typed("t", down, dict[str, int], dict[str, int], retry=retry, breaker=None)
    tools = await open_tools(tool)

    for _ in range(3):
        with pytest.raises(ToolFailed):
            await tools.run(Call(tool, {}), caller=alice)

    assert called == 3 + 1


async def test_a_key_of_another_tenant_is_another_run(
    open_tools: OpenTools, alice: Caller, bob: Caller
) -> None:
    """Two customers who number their invoices alike are two customers."""
    tool = Tool.typed("t", number, dict[str, int], dict[str, int])
    tools = await open_tools(tool)

    hers = await tools.run(Call(tool, {"n": 1}, key="7"), caller=alice)
    his = await tools.run(Call(tool, {"n": 2}, key="7"), caller=bob)
    again = [
        await tools.submit(Call(tool, {"n": n}, key="7"), caller=who) for n, who in ((1, alice), (2, bob))
    ]

    assert (hers.result, his.result) == ({"n": 1}, {"n": 2})
    assert again == [hers.run, his.run]
    assert hers.run != his.run


async def test_a_screen_that_hangs_is_given_up_at_the_deadline(open_tools: OpenTools, alice: Caller) -> None:
    """Nobody's work waits for somebody's connection longer than for any other store."""
    given_up, answers = 0, asyncio.Event()
    answers.set()

    class Stuck:
        async def emit(self, kind: str, **_: object) -> None:
            nonlocal given_up
            try:
                await answers.wait()
            except asyncio.CancelledError:
                given_up += 1
                raise

    policy = ExecutorPolicy(deadline=timedelta(seconds=1), lease=timedelta(minutes=1))
    tool = Tool.typed("t", number, dict[str, int], dict[str, int])
    tools = await open_tools(tool, sink=Stuck(), policy=policy)
    await tools.run(
        Call(tool, {"n": 0}), caller=alice
    )  # so that no connection is to be opened within the second
    answers.clear()

    async with within(seconds=50):
        found = await tools.run(Call(tool, {"n": 1}), caller=alice)

    assert (found.result, given_up) == ({"n": 1}, 2)
