"""A user whose worker dies in the middle is told the same as if nothing had happened, only a little later."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents.roles import Report
from netra_fixtures import Goal, Tier, business_value, eventually

from .installation import Installation, Person, WorkerProcess
from .test_comprehensive_business_workflows import finished, generated, hold_events, hold_savings, uploaded

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY, Goal.RETENTION},
    impact="a machine that is lost costs nobody the result, and nothing is counted twice",
)  # fmt: skip

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]
EVENTS = 21  # so many come before the end of a run over two bills
HELD = (
    "bill",
    "analysis",
    "finding",
    "proof",
    "plan",
    "step",
    "report",
)  # what the tools need, in their order


async def kill_carrier(installation: Installation, run: Any, workers: list[WorkerProcess]) -> None:
    """Kill the worker that carries the run; nobody does any more where the run has just ended."""
    rows = await installation.rows(
        "select e.pid from agents.run r join agents.executor e on e.id = r.executor"
        " where r.id = :run and r.state = 'running'",
        run=run,
    )
    for worker in workers:
        if [(worker.process.pid,)] == [tuple(row) for row in rows]:
            await worker.kill()
            workers.remove(worker)
            return


async def stored(installation: Installation, run: Any) -> list[list[tuple[Any, ...]]]:
    """Read all that a run left but for ids and instants."""
    tables = (
        "select place, rule, provider, account, currency, resources, billed, at_stake, saving, why"
        " from workflows.finding where analysis = :run order by place",
        "select f.place, p.source, p.record, p.billed from workflows.proof p join workflows.finding f"
        " on f.id = p.finding where p.analysis = :run order by 1, 2, 3",
        "select number, wave, rule, provider, saving, a_month, a_year, cost from workflows.step"
        " where plan = :run order by number",
        "select state, revision from workflows.plan where id = :run",
        "select markdown, html, findings_csv from workflows.report where analysis = :run",
        "select tool, state, count(*) from tools.run where cast(work as uuid) = :run group by tool, state order by 1",
    )
    return [[tuple(row) for row in await installation.rows(table, run=run)] for table in tables]


async def killed(
    installation: Installation, alice: Person, workers: list[WorkerProcess], *, after: int
) -> tuple[Any, Report]:
    """Begin a run, kill who carries it once the screen shows *after* events of it, and wait for its end."""
    run = await installation.optimization.begin(alice.principal, "What can we save?")
    shown = 0

    def enough(event: Any) -> bool:
        nonlocal shown
        shown += event.run == str(run)
        return shown >= after

    await alice.screen.until(enough)
    await kill_carrier(installation, run, workers)
    return run, await finished(installation, alice, run)


@asynccontextmanager
async def held_up(engine: AsyncEngine, table: str) -> AsyncIterator[None]:
    """Let nobody read or write a table, so that the tool which needs it is found in its middle."""
    async with engine.connect() as connection:
        await connection.execute(text(f"lock table workflows.{table} in access exclusive mode"))
        yield


async def killed_in(
    installation: Installation, alice: Person, workers: list[WorkerProcess], table: str
) -> tuple[Any, Report]:
    """Begin a run, kill who carries it while it waits for the table, and wait for its end."""

    async def waiting() -> None:
        assert await installation.rows(
            "select 1 from pg_locks where not granted and relation = to_regclass(:table)",
            table=f"workflows.{table}",
        )

    async with held_up(installation.engine, table):
        run = await installation.optimization.begin(alice.principal, "What can we save?")
        await eventually(waiting, seconds=30)
        await kill_carrier(installation, run, workers)
    return run, await finished(installation, alice, run)


async def test_a_run_whose_worker_is_killed_comes_to_the_same(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, rng: random.Random
) -> None:
    """Findings, rows, plan, report and the number of tool calls are those of a run that nobody disturbed."""
    starting = [asyncio.create_task(worker_process()) for _ in range(2)]
    alice = await installation.person("alice", "acme")
    paths = generated(tmp_path, 1, 2, rows=500)
    await uploaded(installation, alice, paths)
    workers = [await one for one in starting]

    run, report = await killed_in(installation, alice, workers, rng.choice(HELD))
    other = await installation.optimization.begin(alice.principal, "What can we save?")
    undisturbed = await finished(installation, alice, other)

    assert len(workers) == 1
    assert report == undisturbed
    assert await stored(installation, run) == await stored(installation, other)
    hold_events(alice, run)
    await hold_savings(installation, alice, run, paths, report)


@pytest.mark.soak
async def test_a_run_comes_to_the_same_whenever_its_worker_is_killed(
    installation: Installation, worker_process: StartWorker, tmp_path: Path
) -> None:
    """A worker dies in each tool, and after the first event, the second, and so on; the result never differs."""
    alice = await installation.person("alice", "acme")
    paths = generated(tmp_path, 1, 2, rows=500)
    await uploaded(installation, alice, paths)
    workers = [await worker_process() for _ in range(2)]

    runs = []
    for place in (*HELD, *range(1, EVENTS + 1)):
        if isinstance(place, int):
            runs.append(await killed(installation, alice, workers, after=place))
        else:
            runs.append(await killed_in(installation, alice, workers, place))
        while len(workers) < 2:
            workers.append(await worker_process())

    expected = await stored(installation, runs[0][0])
    for run, report in runs:
        assert report == runs[0][1]
        assert await stored(installation, run) == expected
        hold_events(alice, run)
