"""Tools go on without Redis and say so; without PostgreSQL nothing is done at all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    PostgresEndpoint,
    RedisEndpoint,
    Reset,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)
from netra_tools import (
    CachePolicy,
    CacheUse,
    Call,
    Caller,
    Context,
    ExecutorPolicy,
    StoreUnavailable,
    Tool,
    ToolExecutor,
)
from netra_tools.database import Database, Statement

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="an outage slows agents down and never makes them act without a record",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
HASTY = ExecutorPolicy(deadline=timedelta(seconds=1.5))  # and yet no hurry for a busy machine
FAULTS = [Cut(), Reset(), HalfOpen()]


class Counted:
    """A tool that counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.tool = Tool.typed("echo", self._call, dict[str, int], dict[str, int], cache=CachePolicy())

    async def _call(self, value: dict[str, int], _: Context) -> dict[str, int]:
        self.calls += 1
        return value


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_without_redis_tools_run_uncached_and_say_so(
    open_tools: OpenTools, engine: AsyncEngine, linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint], alice: Caller, fault: Any,
) -> None:  # fmt: skip
    """A cache that is gone costs time, and no answer; once it is back it serves again."""
    counted = Counted()
    tools = await open_tools(counted.tool, redis=linked_redis, policy=HASTY)
    call = Call(counted.tool, {"n": 1})
    await tools.run(call, caller=alice)

    async with redis_link.fault(fault), within(seconds=50):
        found = await asyncio.gather(*(tools.run(call, caller=alice) for _ in range(2)))

    async def cached_again() -> None:
        assert (await tools.run(call, caller=alice)).cache is CacheUse.HIT

    assert [one.cache for one in found] == [CacheUse.UNAVAILABLE] * 2
    assert counted.calls == 3
    await eventually(cached_again, seconds=30)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_without_postgresql_nothing_is_done(
    open_tools: OpenTools, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint],
    alice: Caller, screen: Any, fault: Any,
) -> None:  # fmt: skip
    """What can't be written down is not begun, and the caller hears of it before the deadline."""
    counted = Counted()
    tools = await open_tools(counted.tool, engine=linked_engine, policy=HASTY, sink=screen)
    call = Call(counted.tool, {"n": 1})
    await tools.run(Call(counted.tool, {"n": 2}), caller=alice)

    async with postgres_link.fault(fault), within(seconds=50):
        refused = await asyncio.gather(
            tools.run(call, caller=alice), tools.submit(call, caller=alice), return_exceptions=True
        )
    for error in refused:
        with pytest.raises(StoreUnavailable, match="PostgreSQL"):
            raise error

    assert (counted.calls, screen.kinds) == (1, ["tool_executing", "tool_completed"])

    async def back() -> None:
        try:
            await tools.run(call, caller=alice)
        except StoreUnavailable as error:
            raise AssertionError("it is not back yet") from error

    await eventually(back, seconds=30)


async def test_a_server_that_hangs_up_on_who_greets_it_is_out_of_reach() -> None:
    """A server that restarts just then is an outage like any other, and no error of a driver's."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    engine = create_async_engine(f"postgresql+asyncpg://who@127.0.0.1:{port}/what?ssl=disable")
    async with server, within(seconds=20):
        with pytest.raises(StoreUnavailable, match="PostgreSQL"):
            await Database(engine, deadline=timedelta(seconds=10)).execute(Statement("select 1"))
    await engine.dispose()


async def test_an_end_that_could_not_be_written_is_written_later(
    open_tools: OpenTools,
    linked_engine: AsyncEngine,
    postgres_link: ServiceLink[PostgresEndpoint],
    alice: Caller,
) -> None:
    """A restart of PostgreSQL while a tool runs loses nothing that the tool did."""
    called, go_on = asyncio.Event(), asyncio.Event()

    async def gated(value: dict[str, int], _: Context) -> dict[str, int]:
        called.set()
        await go_on.wait()
        return value

    tool = Tool.typed("gated", gated, dict[str, int], dict[str, int], timeout=timedelta(minutes=1))
    policy = ExecutorPolicy(deadline=timedelta(seconds=3), lease=timedelta(minutes=1))
    tools = await open_tools(tool, engine=linked_engine, policy=policy)

    async with within(seconds=50):
        running = asyncio.create_task(tools.run(Call(tool, {"n": 1}), caller=alice))
        await called.wait()
        async with postgres_link.fault(Cut()):
            go_on.set()
            await asyncio.wait({running}, timeout=1)
            assert not running.done()
        assert (await running).result == {"n": 1}


async def test_a_hit_is_one_round_trip(open_tools: OpenTools, own_redis: Redis, alice: Caller) -> None:
    """What is known already costs one question to Redis, and none to PostgreSQL."""
    counted = Counted()
    tools = await open_tools(counted.tool, redis=own_redis)
    call = Call(counted.tool, {"n": 1})
    await tools.run(call, caller=alice)

    async def asked() -> dict[str, int]:
        stats = await own_redis.info("commandstats")
        names = {name: found["calls"] for name, found in stats.items()}
        return {name: calls for name, calls in names.items() if name not in ("cmdstat_info", "cmdstat_ping")}

    before = await asked()
    await tools.run(call, caller=alice)
    after = await asked()

    assert {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)} == {
        "cmdstat_mget": 1
    }


async def test_a_call_that_succeeds_asks_redis_nothing_for_its_breaker(
    open_tools: OpenTools, own_redis: Redis, engine: AsyncEngine, alice: Caller
) -> None:
    """Caution is free while nothing goes wrong."""
    counted = Counted()
    plain = Tool.typed("plain", counted._call, dict[str, int], dict[str, int])
    tools = await open_tools(plain, redis=own_redis)

    async def questions() -> int:
        stats = await own_redis.info("commandstats")
        return sum(
            stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "hget", "hmget", "get")
        )

    async def caught_up() -> None:
        assert await questions(), "what other workers know is not read yet"

    await eventually(caught_up, seconds=20)
    before = await questions()

    await tools.run(Call(plain, {"n": 1}), caller=alice)

    assert await questions() == before
