"""A worker may die at any moment: what it did is not done again, and what it left does not stay behind."""

import asyncio
import random
import runpy
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import Goal, Program, Tier, business_value, eventually, within
from netra_tools import CacheUse, Call, Caller, TenantId, ToolExecutor, UserId

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="a machine that dies costs its users some seconds and never a second charge",
)

WORKER = runpy.run_path(str(Path(__file__).with_name("another_process.py")))
StartProcess = Callable[..., Awaitable[Program]]
CALLER = Caller(tenant=TenantId("acme"), user=UserId("alice"))
RUNS = 20


async def told(process: Program) -> None:
    """Let the process begin."""
    process.stdin.write(b"go\n")
    await process.stdin.drain()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("tool", ["once", "twice"])
@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.soak)])
async def test_a_killed_worker_leaves_no_run_behind(
    another_process: StartProcess, engine: AsyncEngine, redis_client: Redis, namespace: str,
    rng: random.Random, tool: str, kills: int,
) -> None:  # fmt: skip
    """Whatever a worker was at when its machine died, every run of it ends, and none that must not is made twice."""
    tools = ToolExecutor(
        registry=WORKER["registry"](redis_client, namespace), engine=engine, redis=redis_client, namespace=namespace,
        policy=WORKER["HASTY"],
    )  # fmt: skip

    async def all_ended() -> None:
        async with engine.connect() as connection:
            left = await connection.scalar(text("select count(*) from tools.run where ended_at is null"))
        assert left == 0

    async def begun(least: int = 0) -> int:
        async with engine.connect() as connection:
            found = int(await connection.scalar(text("select count(*) from tools.run")) or 0)
        assert found >= least
        return found

    async with tools:
        for _ in range(kills):
            worker = await another_process(tool, RUNS)
            before = await begun()
            await told(worker)
            await eventually(partial(begun, before + rng.randint(1, RUNS)), seconds=20)
            worker.kill()
            await worker.wait()
            await eventually(all_ended, seconds=20)

    calls = await redis_client.hgetall(f"{namespace}:calls")
    async with engine.connect() as connection:
        ended = await connection.execute(
            text("select (arguments->>'n')::bigint as n, state, error, claims from tools.run")
        )
        rows = ended.mappings().all()
    for row in rows:
        if tool == "once":
            assert (row["state"], row["error"]) in {("completed", None), ("failed", "WorkerLost")}
        else:
            assert row["state"] == "completed" or row["claims"] > 1
    allowed = {row["n"]: 1 if tool == "once" else row["claims"] for row in rows}
    assert all(int(times) <= allowed[int(n)] for n, times in calls.items())
    assert rows


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("tool", "ended", "times"), [("once", "failed", b"1"), ("twice", "completed", b"2")])
async def test_a_tool_whose_worker_died_is_called_again_only_if_it_may_be(
    another_process: StartProcess, engine: AsyncEngine, redis_client: Redis, namespace: str,
    tool: str, ended: str, times: bytes,
) -> None:  # fmt: skip
    """A payment that may have been made is not made again; a question is asked again."""
    long = timedelta(seconds=30)  # a busy machine is no death
    patient = WORKER["HASTY"].model_copy(update={"lease": long})
    tools = ToolExecutor(
        registry=WORKER["registry"](redis_client, namespace), engine=engine, redis=redis_client,
        namespace=namespace, policy=patient,
    )  # fmt: skip
    worker = await another_process(tool, 1)

    async def called() -> None:
        assert await redis_client.exists(f"{namespace}:calls")

    async def over() -> None:
        async with engine.connect() as connection:
            assert await connection.scalar(text("select state from tools.run")) == ended

    await told(worker)
    await eventually(called, seconds=50)
    worker.kill()
    async with tools:
        await eventually(over, seconds=50)

    assert await redis_client.hvals(f"{namespace}:calls") == [times]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("misses", [100, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_four_processes_that_miss_at_once_ask_once(
    another_process: StartProcess, redis_client: Redis, engine: AsyncEngine, namespace: str, misses: int
) -> None:
    """A question that everybody asks in the same moment costs one answer."""
    workers = await asyncio.gather(*(another_process("miss", misses // 4) for _ in range(4)))

    for worker in workers:
        await told(worker)
    async with within(seconds=120):
        said = [await worker.communicate() for worker in workers]

    assert sum(int(line) for line in said) == misses
    assert await redis_client.hgetall(f"{namespace}:calls") == {b"1": b"1"}
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from tools.run")) == 1


async def test_an_answer_whose_finder_dies_is_found_by_another(
    another_process: StartProcess, redis_client: Redis, engine: AsyncEngine, namespace: str
) -> None:
    """Those who wait for a process that is gone wait no longer than its lease."""
    tools = ToolExecutor(
        registry=WORKER["registry"](redis_client, namespace), engine=engine, redis=redis_client,
        namespace=namespace, policy=WORKER["UNHURRIED"],
    )  # fmt: skip
    call = Call[Any]("cached", {"n": 0, "ms": 20, "first_ms": 4_000}, within=timedelta(minutes=1))
    finder = await another_process("cached", 1)

    async def finding() -> None:
        assert await redis_client.exists(f"{namespace}:calls")

    await told(finder)
    await eventually(finding, seconds=20)
    async with tools, within(seconds=40):
        waiting = asyncio.create_task(tools.run(call, caller=CALLER))
        finder.kill()
        found = await waiting

    assert found.cache is CacheUse.STORED
    assert await redis_client.hgetall(f"{namespace}:calls") == {b"0": b"2"}
