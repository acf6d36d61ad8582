"""Tool calls against the bare clients they are built on, on the same servers and past the tap."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from figures import Figure, Limit, LimitOn
from kit import Kit, standing
from netra_tools import CachePolicy, Call, Caller, Context, TenantId, Tool, ToolExecutor, ToolRegistry, UserId
from netra_tools.attempts import Attempts
from netra_tools.breaker import Breakers
from netra_tools.memory import Memory
from netra_tools.signals import Signals
from turns import Contender, Subject

HIT = Limit(on=LimitOn.RATIO_AT_MOST, bound=1.3)
GUARD = Limit(on=LimitOn.RATIO_AT_MOST, bound=10)
DURABLE = Limit(on=LimitOn.RATIO_AT_MOST, bound=2)
FASTER = Limit(on=LimitOn.RATIO_AT_MOST, bound=0.1)
EACH = 100
GUARDED = 2000
SLOW_S = 0.05
CALLER = Caller(tenant=TenantId("bench"), user=UserId("alice"))
ADD = (
    "insert into tools.run (id, namespace, tenant, user_id, tool, version, arguments, state, holder, lease_until,"
    " due_at) values ($1, 'bench', 'bench', 'alice', 'bare', '1', $2::json, 'pending', $3, now() + interval '15 s',"
    " now() + interval '1 min')"
)
START = "update tools.run set state = 'running', started_at = now() where id = $1"
FINISH = "update tools.run set state = 'completed', result = $2::json, ended_at = now() where id = $1"

Act = Callable[[], Awaitable[object]]


class Spend(BaseModel):
    """What the tools here are asked."""

    service: str
    months: int = 1


class Cost(BaseModel):
    """What they answer."""

    service: str
    dollars: float
    lines: list[str]


COST = Cost(service="s3", dollars=12.5, lines=[f"line {number}" for number in range(20)])


async def quick(spend: Spend, _: Context) -> Cost:
    """Answer at once."""
    return COST


async def slow(spend: Spend, _: Context) -> Cost:
    """Answer as a service somewhere else would."""
    await asyncio.sleep(SLOW_S)
    return COST


CACHED = Tool.typed("cached", quick, Spend, Cost, cache=CachePolicy(lasts=timedelta(hours=1)))
SLOW = Tool.typed("slow", slow, Spend, Cost, cache=CachePolicy(lasts=timedelta(hours=1)))
PLAIN = Tool.typed("plain", quick, Spend, Cost)


async def p50(act: Act, times: int = EACH) -> float:
    """Act again and again; return the median in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await act()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2] * 1000


@asynccontextmanager
async def opened(kit: Kit) -> AsyncIterator[tuple[ToolExecutor, Redis, asyncpg.Connection]]:
    """Open an executor straight to the servers, and bare clients beside it."""
    engine = create_async_engine(kit.database.endpoint.url())
    client, bare = kit.redis.endpoint.client(), kit.redis.endpoint.client()
    connection = await asyncpg.connect(kit.database.endpoint.dsn)
    registry = ToolRegistry([CACHED, SLOW, PLAIN])
    try:
        async with ToolExecutor(registry=registry, engine=engine, redis=client, namespace="bench") as tools:
            yield tools, bare, connection
    finally:
        await connection.close()
        await client.aclose()
        await bare.aclose()
        await engine.dispose()


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure a cache hit, the guards around a call, and a durable run."""
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            tools, bare, connection = runner.run(stack.enter_async_context(opened(kit)))
            yield from _hits(subject, runner, tools, bare)
            yield from _guards(subject, runner, kit)
            yield from _durable(subject, runner, tools, connection)
        finally:
            runner.run(stack.aclose())


def _hits(subject: Subject, runner: asyncio.Runner, tools: ToolExecutor, bare: Redis) -> Iterator[Figure]:
    call, asked = Call(CACHED, {"service": "s3"}), Call(SLOW, {"service": "s3"})
    past = Call(SLOW, {"service": "s3"}, bypass=True)

    async def prepare() -> None:
        await tools.run(call, caller=CALLER)
        await tools.run(asked, caller=CALLER)
        await bare.set("bare", COST.model_dump_json())

    async def get() -> Any:
        return json.loads(await bare.get("bare") or b"")

    def alone(act: Act, times: int = EACH) -> Contender:
        return lambda: runner.run(p50(act, times))

    runner.run(prepare())
    hit, plain = subject.in_turns(
        alone(lambda: tools.run(call, caller=CALLER)), alone(get), turns=40, seconds=8, warmup=3
    )
    yield subject.figure("cache hit, p50", hit, [("a bare GET and decode", plain)], limit=HIT)
    hit, called = subject.in_turns(
        alone(lambda: tools.run(asked, caller=CALLER)), alone(lambda: tools.run(past, caller=CALLER), 5),
        turns=9, seconds=6,
    )  # fmt: skip
    yield subject.figure(
        "cached result of a tool of 50 ms, p50", hit, [("the tool itself", called)], limit=FASTER
    )


def _guards(subject: Subject, runner: asyncio.Runner, kit: Kit) -> Iterator[Figure]:
    spend, context = Spend(service="s3"), Context(CALLER, None, 1)
    redis, deadline = kit.redis.endpoint.client(), timedelta(seconds=2)
    memory = Memory(redis, deadline=deadline)
    breakers = Breakers(memory, Signals(redis, memory, "bench:tools", deadline=deadline), "bench")
    attempts = Attempts(breakers, random.Random(1), limit_bytes=1_000_000)

    async def attempt() -> Cost:
        return await quick(spend, context)

    async def many(act: Act) -> float:
        began = time.perf_counter()
        for _ in range(GUARDED):
            await act()
        return (time.perf_counter() - began) / GUARDED * 1e6

    ours, plain = subject.in_turns(
        lambda: runner.run(many(lambda: attempts.call(PLAIN, attempt))),
        lambda: runner.run(many(attempt)),
        turns=40, seconds=4, warmup=3,
    )  # fmt: skip
    yield subject.figure(
        "breaker and retry around a call that succeeds", ours, [("the bare awaited call", plain)],
        limit=GUARD, unit="µs",
    )  # fmt: skip


def _durable(
    subject: Subject, runner: asyncio.Runner, tools: ToolExecutor, connection: asyncpg.Connection
) -> Iterator[Figure]:
    call = Call(PLAIN, {"service": "s3"})
    arguments, result = json.dumps({"months": 1, "service": "s3"}), COST.model_dump_json()

    async def statements() -> None:
        run = uuid4()
        await connection.execute(ADD, run, arguments, uuid4())
        await connection.execute(START, run)
        await connection.execute(FINISH, run, result)

    ours, plain = subject.in_turns(
        lambda: runner.run(p50(lambda: tools.run(call, caller=CALLER), 30)),
        lambda: runner.run(p50(statements, 30)),
        turns=30, seconds=12, warmup=2,
    )  # fmt: skip
    yield subject.figure("durable run, p50", ours, [("three bare statements", plain)], limit=DURABLE)
