"""Runs of agents against the bare engine below, and what a second worker and a dead one mean; past the tap."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from dbos import DBOS, SetWorkflowID
from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from figures import Figure, Limit, LimitOn
from kit import Kit, plainly, standing
from netra_agents import (
    Agent,
    AgentsPolicy,
    Caller,
    Equipment,
    Orchestrator,
    Plan,
    RunId,
    Step,
    TenantId,
    Tier,
    Turn,
    UserId,
    Worker,
    WorkerSettings,
)
from turns import Subject

STEP = Limit(on=LimitOn.RATIO_AT_MOST, bound=1.15)
GROUP = Limit(on=LimitOn.RATIO_AT_MOST, bound=2)
TAKEOVER = Limit(on=LimitOn.MEDIAN, bound=2000)
CHAIN = 20
SIDES = 20
BATCH = 40
DEATHS: Final = 3
ROUNDS: Final = 2
CALLER = Caller(tenant=TenantId("bench"), user=UserId("alice"), tier=Tier.ENTERPRISE)
POLICY = AgentsPolicy(deadline=timedelta(seconds=30), lapse=timedelta(seconds=30))
SOON = timedelta(seconds=60)


class Number(BaseModel):
    """A number, and how long an agent is to think about it."""

    n: int
    s: float = 0


class Numbers(BaseModel):
    """Several of them."""

    all: list[Number]


class Marks:
    """When each step of the last run was taken."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    async def add(self, given: Number, turn: Turn) -> Number:
        """Add one."""
        self.at[turn.step] = time.perf_counter()
        await asyncio.sleep(given.s)
        return Number(n=given.n + 1, s=given.s)

    async def join(self, given: Numbers, turn: Turn) -> Number:
        """Add up."""
        self.at[turn.step] = time.perf_counter()
        return Number(n=sum(one.n for one in given.all))


def plans(marks: Marks) -> tuple[Plan[Number, Number], Plan[Number, Number], Plan[Number, Number]]:
    """Make a chain, a fan, and three steps."""
    add = Agent("add", marks.add, Number, Number)
    chain = [Step(f"s{n}", add, f"s{n - 1}" if n else "input") for n in range(CHAIN)]
    sides = tuple(f"side{n}" for n in range(SIDES))
    fan = [
        Step("first", add), *(Step(name, add, "first") for name in sides),
        Step("join", Agent("join", marks.join, Numbers, Number), {"all": sides}),
    ]  # fmt: skip
    return (
        Plan("chain", Number, Number, chain), Plan("fan", Number, Number, fan), Plan("three", Number, Number, chain[:3])
    )  # fmt: skip


@asynccontextmanager
async def equipment(settings: WorkerSettings) -> AsyncIterator[Equipment]:
    """Open what a worker process of this subject works with."""
    yield Equipment(plans=plans(Marks()))


@asynccontextmanager
async def opened(kit: Kit) -> AsyncIterator[tuple[AsyncEngine, Orchestrator, Redis]]:
    """Open an orchestrator straight to the servers."""
    engine = create_async_engine(kit.database.endpoint.url())
    redis = kit.redis.endpoint.client()
    try:
        async with Orchestrator(engine=engine, redis=redis, namespace="bench", policy=POLICY) as orchestrator:
            yield engine, orchestrator, redis
    finally:
        await redis.aclose()
        await engine.dispose()


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure a durable step, a group of agents, workers side by side, and takeovers."""
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            engine, orchestrator, redis = runner.run(stack.enter_async_context(opened(kit)))
            yield from _steps(subject, runner, engine, orchestrator, redis)
            yield from _throughput(subject, runner, kit, orchestrator)
            yield from _takeovers(subject, runner, kit, engine, orchestrator)
        finally:
            runner.run(stack.aclose())


def _steps(
    subject: Subject, runner: asyncio.Runner, engine: AsyncEngine, orchestrator: Orchestrator, redis: Redis
) -> Iterator[Figure]:
    marks = Marks()
    chain, fan, _ = plans(marks)
    worker = Worker(plans=[chain, fan], engine=engine, redis=redis, namespace="bench", policy=POLICY)

    @DBOS.workflow(name="bare")
    async def bare() -> float:
        at = []
        for number in range(CHAIN):

            async def act() -> str:
                at.append(time.perf_counter())
                return json.dumps({"n": number})  # noqa: B023

            await DBOS.run_step_async({"name": f"s{number}"}, act)
        return (at[-1] - at[0]) / (CHAIN - 1) * 1000

    async def ours(plan: Plan[Number, Number], first: str, last: str, steps: int) -> float:
        run = await orchestrator.start(plan, Number(n=1), caller=CALLER)
        await orchestrator.result(plan, run, caller=CALLER, within=SOON)
        return (marks.at[last] - marks.at[first]) / steps * 1000

    async def plain() -> float:
        with SetWorkflowID(str(uuid4())):
            handle = await DBOS.start_workflow_async(bare)
        return float(await handle.get_result())

    runner.run(worker.__aenter__())
    try:
        step, group, reference = subject.in_turns(
            lambda: runner.run(ours(chain, "s0", f"s{CHAIN - 1}", CHAIN - 1)),
            lambda: runner.run(ours(fan, "side0", "join", 1)),
            lambda: runner.run(plain()),
            turns=25, seconds=10, warmup=2,
        )  # fmt: skip
        yield subject.figure("durable step of a run", step, [("a bare step of DBOS", reference)], limit=STEP)
        yield subject.figure(
            f"{SIDES} parallel agents", group, [("a bare step of DBOS", reference)], limit=GROUP
        )
    finally:
        runner.run(worker.__aexit__(None, None, None))


class Workers:
    """Worker processes of this subject."""

    def __init__(self, kit: Kit) -> None:
        self._told = plainly(
            os.environ, NETRA_AGENTS_DATABASE_URL=kit.database.endpoint.url(), NETRA_AGENTS_NAMESPACE="bench",
            NETRA_AGENTS_REDIS_URL=kit.redis.endpoint.url, NETRA_AGENTS_EQUIPMENT="agents:equipment",
            PYTHONPATH=str(Path(__file__).parent),
        )  # fmt: skip
        self.running: dict[int, Process] = {}

    async def start(self) -> None:
        """Start one, and wait until it is ready."""
        command = str(Path(sys.executable).with_name("netra-agents"))
        process = await asyncio.create_subprocess_exec(command, "worker", stdout=PIPE, env=self._told)
        self.running[process.pid] = process
        assert process.stdout is not None
        await process.stdout.readline()

    async def kill(self, pid: int) -> None:
        """Kill one."""
        process = self.running.pop(pid)
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def working(kit: Kit, count: int) -> AsyncIterator[Workers]:
    """Start worker processes, and kill them afterwards."""
    workers = Workers(kit)
    try:
        await asyncio.gather(*(workers.start() for _ in range(count)))
        yield workers
    finally:
        for pid in list(workers.running):
            await workers.kill(pid)


def _throughput(
    subject: Subject, runner: asyncio.Runner, kit: Kit, orchestrator: Orchestrator
) -> Iterator[Figure]:
    three = plans(Marks())[2]

    async def rate() -> float:
        began = time.perf_counter()
        runs = [await orchestrator.start(three, Number(n=n), caller=CALLER) for n in range(BATCH)]
        for run in runs:
            await orchestrator.result(three, run, caller=CALLER, within=SOON)
        return BATCH / (time.perf_counter() - began)

    async def with_workers(count: int) -> list[float]:
        async with working(kit, count):
            await rate()
            return [await rate() for _ in range(3)]

    one, two = runner.run(with_workers(1)), runner.run(with_workers(2))
    yield subject.figure("runs of three steps, two workers", two, [("one worker", one)], unit="1/s")


def _takeovers(
    subject: Subject, runner: asyncio.Runner, kit: Kit, engine: AsyncEngine, orchestrator: Orchestrator
) -> Iterator[Figure]:
    chain = plans(Marks())[0]
    carried = (
        "select e.pid, r.claims from agents.run r join agents.executor e on e.id = r.executor"
        " join agents.step s on s.run = r.id and s.state = 'running' where r.id = :run and r.claims >= :claims"
    )

    async def who(run: RunId, claims: int) -> int:
        while True:
            async with engine.connect() as connection:
                found = (await connection.execute(text(carried), {"run": run, "claims": claims})).first()
            if found is not None:
                return int(found[0])
            await asyncio.sleep(0.01)

    async def deaths() -> list[float]:
        took = []
        for _ in range(1 if subject.quick else ROUNDS):
            async with working(kit, DEATHS + 1) as workers:
                for _ in range(DEATHS):
                    run = await orchestrator.start(chain, Number(n=1, s=30), caller=CALLER)
                    pid = await who(run, 1)
                    await asyncio.sleep(1.8)  # so that the others have watched for longer than a lapse
                    began = time.perf_counter()
                    await workers.kill(pid)
                    await who(run, 2)
                    took.append((time.perf_counter() - began) * 1000)
                    await orchestrator.cancel(run, caller=CALLER)
        return sorted(took)

    took = runner.run(deaths())
    lapse = AgentsPolicy().lapse / timedelta(milliseconds=1)
    yield subject.figure(
        "takeover of a dead worker's run, p50", took, [("the lapse", [lapse])], limit=TAKEOVER
    )
    yield subject.figure("takeover of a dead worker's run, longest", took[-1:], [("the lapse", [lapse])])
