"""What a worker process works with: `NETRA_AGENTS_EQUIPMENT=netra_workflows.equipment:equipment`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_agents import Equipment, WorkerSettings
from netra_sessions import Publisher
from netra_tools import ExecutorPolicy, ToolExecutor, ToolRegistry
from netra_workflows.agents import cost_optimization
from netra_workflows.archive import Archive
from netra_workflows.record import Record
from netra_workflows.tools import AgentTools, BillTools


class WorkflowsSettings(BaseSettings):
    """The variables `NETRA_WORKFLOWS_…` of a worker.

    `lease` is how long a tool that was running when its worker died is left alone, `deadline` what a call of a store
    may take. DuckDB takes `memory_mb` for the bills of each of the `at_once` runs whose bills are judged at once.
    """

    model_config = SettingsConfigDict(env_prefix="NETRA_WORKFLOWS_", frozen=True)

    bills: Path
    memory_mb: int = Field(default=1024, ge=64)
    threads: int = Field(default=1, ge=1)
    at_once: int = Field(default=2, ge=1)
    lease: timedelta = timedelta(seconds=5)
    deadline: timedelta = timedelta(seconds=5)


@asynccontextmanager
async def equipment(settings: WorkerSettings) -> AsyncIterator[Equipment]:
    """Open the plan of the five agents, their tools on the tenants' bills, and the way to their screens."""
    own = WorkflowsSettings()  # type: ignore[call-arg]  # the environment has them
    async with AsyncExitStack() as opened:
        engine = create_async_engine(settings.database_url.get_secret_value(), pool_size=20)
        opened.push_async_callback(engine.dispose)
        redis = Redis.from_url(settings.redis_url.get_secret_value())
        opened.push_async_callback(redis.aclose)
        archive = Archive(
            engine=engine, namespace=settings.namespace, folder=own.bills, deadline=own.deadline
        )
        record = Record(engine=engine, namespace=settings.namespace)
        tools = BillTools(archive, record, memory_mb=own.memory_mb, threads=own.threads, at_once=own.at_once)
        executor = await opened.enter_async_context(
            ToolExecutor(
                registry=ToolRegistry(tools.all()),
                engine=engine,
                redis=redis,
                namespace=settings.namespace,
                policy=ExecutorPolicy(lease=own.lease, deadline=own.deadline),
            )
        )
        publisher = await opened.enter_async_context(Publisher(redis=redis, namespace=settings.namespace))
        yield Equipment(plans=[cost_optimization()], tools=AgentTools(executor), sink=publisher)
