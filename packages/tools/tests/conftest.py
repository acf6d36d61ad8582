"""What the tests of tools share: executors on the test's own services, straight or over spoiled links."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import (
    ManualClock,
    PostgresEndpoint,
    Program,
    RedisEndpoint,
    StartProgram,
)
from netra_tools import (
    Caller,
    ExecutorPolicy,
    Permits,
    RunId,
    TenantId,
    Tool,
    ToolExecutor,
    ToolRegistry,
    UserId,
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
RowOf = Callable[[RunId], Awaitable[dict[str, Any]]]
PATIENT = ExecutorPolicy(deadline=timedelta(seconds=30))  # a busy machine is no outage


class Screen:
    """A sink that keeps what a user would see."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None:
        """Keep an event."""
        self.seen.append((kind, {"user": user, "run": run, "event_id": event_id, **data}))

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events, in order."""
        return [kind for kind, _ in self.seen]


settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a slow example on a busy machine is no failure


@pytest.fixture
def screen() -> Screen:
    """A user's screen."""
    return Screen()


@pytest.fixture
def alice() -> Caller:
    """A user of one tenant."""
    return Caller(tenant=TenantId("acme"), user=UserId("alice"), work="work-1")


@pytest.fixture
def bob() -> Caller:
    """A user of another tenant."""
    return Caller(tenant=TenantId("globex"), user=UserId("bob"))


@pytest.fixture
async def open_tools(
    engine: AsyncEngine, redis_client: Redis, namespace: str, clock: ManualClock, rng: random.Random
) -> AsyncIterator[OpenTools]:
    """Open an executor as one process of the platform does; each call is another process's."""
    async with AsyncExitStack() as opened:

        async def open_one(
            *tools: Tool[Any, Any], engine: AsyncEngine = engine, redis: Redis = redis_client,
            policy: ExecutorPolicy = PATIENT, sink: Screen | None = None, permits: Permits | None = None,
            clock: Callable[[], datetime] = clock,
        ) -> ToolExecutor:  # fmt: skip
            executor = ToolExecutor(
                registry=ToolRegistry(tools), engine=engine, redis=redis, namespace=namespace, sink=sink,
                permits=permits, policy=policy, clock=clock, rng=rng,
            )  # fmt: skip
            return await opened.enter_async_context(executor)

        yield open_one


@pytest.fixture
def row_of(engine: AsyncEngine) -> RowOf:
    """Read a run's row as an operator would, past the library."""

    async def read(run: RunId) -> dict[str, Any]:
        async with engine.connect() as connection:
            found = await connection.execute(text("select * from tools.run where id = :id"), {"id": run})
            return dict(found.mappings().one())

    return read


@pytest.fixture
def another_process(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, start_program: StartProgram
) -> Callable[..., Awaitable[Program]]:  # fmt: skip
    """Start another worker, and give it once it is open; it acts when it is sent a line."""

    async def start(act: str, count: int) -> Program:
        program = Path(__file__).with_name("another_process.py")
        does = (postgres_endpoint.url(), redis_endpoint.url, namespace, act, str(count))
        process = await start_program(program, *does)
        assert await process.stdout.readline() == b"ready\n"
        return process

    return start
