"""A user whose worker or gateway dies in the middle is told the same as if nothing had happened, a little later."""

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
from netra_sessions.events import Gap

from .installation import GatewayProcess, Installation, Person, WorkerProcess
from .test_comprehensive_business_workflows import finished, generated, hold_events, hold_savings, uploaded

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY, Goal.RETENTION},
    impact="a machine that is lost costs nobody the result, and nothing is counted or shown twice",
)  # fmt: skip

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]
QUESTION = "What can we save?"
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


async def shown(person: Person, run: Any, events: int) -> None:
    """Look on until so many events of a run are on the screen."""
    await person.screen.until(lambda _: len(person.screen.kinds(run)) >= events)


async def killed(
    installation: Installation, alice: Person, workers: list[WorkerProcess], *, after: int
) -> tuple[Any, Report]:
    """Begin a run, kill who carries it once the screen shows *after* events of it, and wait for its end."""
    run = await installation.optimization.begin(alice.principal, QUESTION)
    await shown(alice, run, after)
    await kill_carrier(installation, run, workers)
    return run, await finished(installation, alice, run)


@asynccontextmanager
async def held_up(engine: AsyncEngine, table: str) -> AsyncIterator[None]:
    """Let nobody read or write a table, so that the tool which needs it is found in its middle."""
    async with engine.connect() as connection:
        await connection.execute(text(f"lock table workflows.{table} in access exclusive mode"))
        yield


async def needed(installation: Installation, table: str) -> None:
    """Wait until a tool waits for a table that is held up."""

    async def waiting() -> None:
        assert await installation.rows(
            "select 1 from pg_locks where not granted and relation = to_regclass(:table)",
            table=f"workflows.{table}",
        )

    await eventually(waiting, seconds=30)


async def killed_in(
    installation: Installation, alice: Person, workers: list[WorkerProcess], table: str
) -> tuple[Any, Report]:
    """Begin a run, kill who carries it while it waits for the table, and wait for its end."""
    async with held_up(installation.engine, table):
        run = await installation.optimization.begin(alice.principal, QUESTION)
        await needed(installation, table)
        await kill_carrier(installation, run, workers)
    return run, await finished(installation, alice, run)


async def gateway_killed(
    installation: Installation, alice: Person, gateway: GatewayProcess, events: int
) -> Any:
    """Begin a run, and kill the gateway once the screen shows so many events of it; another starts at once."""
    run = await installation.optimization.begin(alice.principal, QUESTION)
    await shown(alice, run, events)
    await gateway.kill()
    await gateway.start()
    return run


async def gateway_killed_in(
    installation: Installation, alice: Person, gateway: GatewayProcess, table: str
) -> Any:
    """Begin a run, kill the gateway while a tool waits for the table, and start another when the run is over."""

    async def over() -> None:
        assert await installation.rows(
            "select 1 from agents.run where id = :run and state = 'completed'", run=run
        )

    async with held_up(installation.engine, table):
        run = await installation.optimization.begin(alice.principal, QUESTION)
        await needed(installation, table)
        await gateway.kill()
    await eventually(over, seconds=60)
    await gateway.start()
    return run


def hold_once(person: Person, run: Any) -> None:
    """Hold that no event of a run is missing on the screen, none is there twice, and each follows the one before."""
    hold_events(person, run)
    assert not any(isinstance(event, Gap) for event in person.screen.seen)
    events = [event for event in person.screen.seen if event.run == str(run)]
    assert len({event.event_id for event in events}) == len(events)
    assert [event.previous for event in events[1:]] == [event.id for event in events[:-1]]


@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_a_run_whose_worker_or_gateway_is_killed_comes_to_the_same(
    installation: Installation, worker_process: StartWorker, gateway_process: GatewayProcess, tmp_path: Path,
    rng: random.Random,
) -> None:  # fmt: skip
    """One run loses its worker, the other one the gateway before the screen: both are stored and shown alike."""
    starting = [asyncio.create_task(worker_process()) for _ in range(2)]
    alice = await installation.person("alice", "acme", uri=gateway_process.uri)
    paths = generated(tmp_path, 1, 2, rows=500)
    await uploaded(installation, alice, paths)
    workers = [await one for one in starting]

    run, report = await killed_in(installation, alice, workers, rng.choice(HELD))
    other = await gateway_killed_in(installation, alice, gateway_process, rng.choice(HELD))
    unseen = await finished(installation, alice, other)

    assert len(workers) == 1
    assert report == unseen
    assert await stored(installation, run) == await stored(installation, other)
    hold_once(alice, other)
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


@pytest.mark.soak
async def test_a_run_is_seen_once_whenever_its_gateway_is_killed(
    installation: Installation, worker_process: StartWorker, gateway_process: GatewayProcess, tmp_path: Path
) -> None:
    """A gateway dies in each tool, and after the first event, the second, and so on; the screen never differs."""
    starting = asyncio.create_task(worker_process())
    alice = await installation.person("alice", "acme", uri=gateway_process.uri)
    await uploaded(installation, alice, generated(tmp_path, 1, 2, rows=500))
    await starting

    runs = []
    for place in (*HELD, *range(1, EVENTS + 1)):
        if isinstance(place, int):
            run = await gateway_killed(installation, alice, gateway_process, place)
        else:
            run = await gateway_killed_in(installation, alice, gateway_process, place)
        runs.append((run, await finished(installation, alice, run)))

    expected, kinds = await stored(installation, runs[0][0]), alice.screen.kinds(runs[0][0])
    for run, report in runs:
        assert report == runs[0][1]
        assert await stored(installation, run) == expected
        assert alice.screen.kinds(run) == kinds
        hold_once(alice, run)
