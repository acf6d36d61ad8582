"""A worker beside the test: it calls the tools that it is told to, and writes a line into a table for each call."""

import asyncio
import os
import sys
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_tools import (
    CachePolicy,
    Call,
    Caller,
    Context,
    ExecutorPolicy,
    TenantId,
    Tool,
    ToolExecutor,
    ToolRegistry,
    UserId,
    WhenLost,
)

CALLER = Caller(tenant=TenantId("acme"), user=UserId("alice"))
HASTY = ExecutorPolicy(
    deadline=timedelta(seconds=30), lease=timedelta(seconds=0.6), poll_every=timedelta(milliseconds=100)
)
UNHURRIED = ExecutorPolicy(deadline=timedelta(seconds=30), lease=timedelta(seconds=30))


def counted_tool(redis: Redis, namespace: str, name: str, **rules: Any) -> Tool[Any, Any]:
    """Make a tool that counts its calls by argument in Redis, past the library, and takes a moment."""

    async def call(value: dict[str, int], _: Context) -> dict[str, int]:
        times = await redis.hincrby(f"{namespace}:calls", str(value["n"]), 1)
        await asyncio.sleep(value.get("ms" if times > 1 else "first_ms", value.get("ms", 0)) / 1000)
        return value

    return Tool.typed(name, call, dict[str, int], dict[str, int], **rules)


def registry(redis: Redis, namespace: str) -> ToolRegistry:
    """Give the tools that every process of these tests knows."""
    cached = counted_tool(redis, namespace, "cached", cache=CachePolicy())
    once = counted_tool(redis, namespace, "once")
    twice = counted_tool(redis, namespace, "twice", when_lost=WhenLost.REPEAT)
    return ToolRegistry([cached, once, twice])


async def wait_until_told(engine: AsyncEngine) -> None:
    """Say that everything is open, and wait for a line."""
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def main(postgres: str, redis: str, namespace: str, act: str, count: str) -> None:
    """Miss the cache *count* times, all calls of one argument, or run tools until killed."""
    engine, client = create_async_engine(postgres), Redis.from_url(redis)
    policy = UNHURRIED if act == "miss" else HASTY
    tools = ToolExecutor(
        registry=registry(client, namespace), engine=engine, redis=client, namespace=namespace, policy=policy
    )
    async with tools:
        await wait_until_told(engine)
        if act == "miss":
            calls = [Call[Any]("cached", {"n": 1, "ms": 200})] * int(count)
            found = await tools.run_many(calls, caller=CALLER, limit=len(calls))
            print(sum(getattr(one, "result", None) == {"n": 1, "ms": 200} for one in found), flush=True)
        else:
            calls = []
            for number in range(int(count)):
                n = 0 if act == "cached" else os.getpid() * 1000 + number
                calls.append(Call[Any](act, {"n": n, "ms": 20, "first_ms": 4_000 if count == "1" else 20}))
            running = (tools.run(call, caller=CALLER) for call in calls)
            await asyncio.gather(
                *running, return_exceptions=True
            )  # one that was taken for lost ends no other
            await asyncio.Event().wait()
    await client.aclose()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
