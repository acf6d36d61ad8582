"""What the tests of agents share: workers and orchestrators on the test's own services, and screens."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents import AgentsPolicy, Caller, Orchestrator, Plan, RunId, TenantId, Tier, UserId, Worker
from netra_fixtures import (
    IsolatedEnvironment,
    PostgresEndpoint,
    Program,
    RedisEndpoint,
    StartProgram,
    within,
)

settings.register_profile(
    "netra", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("netra")

OpenWorker = Callable[..., Awaitable[Worker]]
PATIENT = AgentsPolicy(
    deadline=timedelta(seconds=30), lapse=timedelta(seconds=30)
)  # a busy machine is no outage


class Screen:
    """A sink that keeps what a user would see: an event that comes twice is seen once."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
        self.came = 0
        self.changed = asyncio.Event()

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None:
        """Take an event."""
        self.came += 1
        events = self.seen.setdefault(run, [])
        if event_id not in [known for known, _, _ in events]:
            events.append((event_id, kind, dict(data)))
        self.changed.set()

    def kinds(self, run: RunId) -> list[str]:
        """Return the kinds of a run's events, in order."""
        return [kind for _, kind, _ in self.seen.get(str(run), [])]

    def data(self, run: RunId, kind: str) -> list[dict[str, Any]]:
        """Return what the events of a kind said."""
        return [data for _, found, data in self.seen.get(str(run), []) if found == kind]


async def forget_all(redis: Redis, namespace: str) -> None:
    """Make Redis forget what this installation keeps there."""
    async for key in redis.scan_iter(f"{namespace}:*"):
        await redis.delete(key)


@pytest.fixture
def screen() -> Screen:
    """The screens of all users."""
    return Screen()


@pytest.fixture
def alice() -> Caller:
    """A user of one tenant."""
    return Caller(tenant=TenantId("acme"), user=UserId("alice"), tier=Tier.ENTERPRISE)


@pytest.fixture
def bob() -> Caller:
    """A user of another tenant."""
    return Caller(tenant=TenantId("globex"), user=UserId("bob"))


@pytest.fixture
async def orchestrator(
    engine: AsyncEngine, redis_client: Redis, namespace: str
) -> AsyncIterator[Orchestrator]:
    """What those hold who want work done."""
    async with Orchestrator(engine=engine, redis=redis_client, namespace=namespace, policy=PATIENT) as opened:
        yield opened


@pytest.fixture
async def open_worker(engine: AsyncEngine, redis_client: Redis, namespace: str) -> AsyncIterator[OpenWorker]:
    """Open the worker of this process."""
    async with AsyncExitStack() as opened:

        async def open_one(*plans: Plan[Any, Any], **given: Any) -> Worker:
            rules: dict[str, Any] = {"engine": engine, "redis": redis_client, "policy": PATIENT} | given
            return await opened.enter_async_context(Worker(plans=plans, namespace=namespace, **rules))

        yield open_one


@pytest.fixture
def rows(engine: AsyncEngine) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """Read rows as an operator would, past the library."""

    async def read(sql: str, **values: Any) -> list[dict[str, Any]]:
        async with engine.connect() as connection:
            found = await connection.execute(text(sql), values)
            return [dict(row) for row in found.mappings()]

    return read


@pytest.fixture
def worker_environment(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str,
    environment: IsolatedEnvironment,
) -> IsolatedEnvironment:  # fmt: skip
    """What a worker process is told."""
    environment.set("NETRA_AGENTS_DATABASE_URL", postgres_endpoint.url())
    environment.set("NETRA_AGENTS_REDIS_URL", redis_endpoint.url)
    environment.set("NETRA_AGENTS_NAMESPACE", namespace)
    environment.set("NETRA_AGENTS_EQUIPMENT", "at_work:equipment")
    environment.set("PYTHONPATH", str(Path(__file__).parent))
    return environment


@pytest.fixture
def start_worker(
    worker_environment: IsolatedEnvironment, start_program: StartProgram
) -> Callable[..., Awaitable[Program]]:
    """Start a worker process, by the command that operators use, and give it once it is ready."""

    async def start(**told: str) -> Program:
        for name, value in told.items():
            worker_environment.set(name, value)
        worker = await start_program("netra-agents", "worker", imports=["dbos"])
        async with within(seconds=60):
            line = await worker.stdout.readline()
        assert json.loads(line)["event"] == "ready", line
        return worker

    return start
