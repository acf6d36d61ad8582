"""A worker may die at any moment: others go on with its runs, and nothing that was finished is done again."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents import Caller, Orchestrator, RunId, RunState
from netra_fixtures import Goal, Program, Tier, business_value, eventually

from .at_work import WIDE, Piece, outcome, plans

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="a machine that dies costs its users some seconds and no work",
)

StartWorker = Callable[..., Awaitable[Program]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
RUNS = 6
PATIENT = {"NETRA_AGENTS_POLICY__LAPSE": "PT1M"}  # a worker that a busy machine holds up is not dead
COUNTED = PATIENT | {"NETRA_AGENTS_POLICY__MOST_ATTEMPTS": "2"}


async def asked(redis: Redis, namespace: str, run: RunId) -> Counter[str]:
    """Count how often each step of a run was asked."""
    found = await redis.hgetall(f"{namespace}:asked:{run}")
    return Counter({name.decode(): int(times) for name, times in found.items()})


async def in_order(redis: Redis, namespace: str, run: RunId) -> None:
    """Check what the sink was told of a run: one start first, one end last, stage after stage between them."""
    told = [one.decode() for one in await redis.lrange(f"{namespace}:told:{run}", 0, -1)]
    once = [one.split(" ") for one in dict.fromkeys(told)]
    assert len({event_id for event_id, _ in once}) == len(once), "an id stands for two events"
    kinds = [kind for _, kind in once]
    thinking = [event_id.split("/")[1] for event_id, kind in once if kind == "agent_thinking"]
    assert kinds == ["agent_started", *["agent_thinking"] * (WIDE + 2), "agent_completed"]
    assert (thinking[0], thinking[-1]) == ("first", "last")
    assert sorted(thinking[1:-1]) == [f"side{number}" for number in range(WIDE)]


async def at_work(rows: Rows, done: int) -> int:
    """Give the process that carries a run of which so many steps were done, and more are to be."""
    found = await rows(
        "select e.pid from agents.run r join agents.executor e on e.id = r.executor where r.state = 'running' and"
        " (select count(*) from agents.step s where s.run = r.id and s.state = 'completed') >= :done", done=done,
    )  # fmt: skip
    assert found
    return int(found[0]["pid"])


async def let_an_hour_pass(engine: AsyncEngine, dead: set[int]) -> None:
    """Date back when each process became steady, and when those that are dead were heard of last."""
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "update agents.executor set steady_since = steady_since - interval '1 hour',"
                " beat_at = beat_at - case when pid = any(:dead) then interval '1 hour' else '0' end"
            ),
            {"dead": list(dead)},
        )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.soak)])
async def test_runs_outlive_any_of_three_workers(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    rng: random.Random, rows: Rows, kills: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Every run ends with its result, each step is recorded once, and what was recorded was not done again."""
    mixed = plans(redis_client, namespace)[0]
    workers: list[Program] = []
    recorded: dict[tuple[RunId, str], int] = {}
    all_runs: list[RunId] = []
    took: list[float] = []

    for _ in range(kills):
        workers += await asyncio.gather(*(start_worker() for _ in range(3 - len(workers))))
        runs = [await orchestrator.start(mixed, Piece(n=n, ms=150), caller=alice) for n in range(RUNS)]
        all_runs += runs
        pid = await eventually(partial(at_work, rows, rng.randrange(WIDE + 2)), seconds=30)
        [victim] = [worker for worker in workers if worker.pid == pid]
        workers.remove(victim)
        held = await rows(
            "select r.id from agents.run r join agents.executor e on e.id = r.executor"
            " where r.state = 'running' and e.pid = :pid", pid=pid,
        )  # fmt: skip
        victim.kill()
        await victim.wait()
        killed = monotonic()
        for row in await rows("select run, name from agents.step where state = 'completed'"):
            key = (row["run"], row["name"])
            if key not in recorded:
                recorded[key] = (await asked(redis_client, namespace, row["run"]))[row["name"]]
        for n, run in enumerate(runs):
            result = await orchestrator.result(mixed, run, caller=alice, within=timedelta(seconds=60))
            assert result.n == outcome(n)
            taken_up = await rows("select 1 from agents.run where id = :run and claims > 1", run=run)
            if taken_up and {"id": run} in held:
                took.append(monotonic() - killed)

    assert took, "no run had to be taken over, so nothing was shown"
    for (run, step), times in recorded.items():
        assert (await asked(redis_client, namespace, run))[step] == times, (
            f"{step} was finished, and done again"
        )
    steps = await rows("select state, count(*) as n from agents.step group by state")
    assert steps == [{"state": "completed", "n": kills * RUNS * (WIDE + 3)}]
    twice = "select 1 from agents_engine.operation_outputs group by workflow_uuid, function_id having count(*) > 1"
    assert await rows(twice) == []
    for run in all_runs:
        await eventually(partial(in_order, redis_client, namespace, run), seconds=30)
    told = ("seconds from a death to the end of a run that was taken over", [round(one, 2) for one in took])
    request.node.user_properties.append(told)
    with capsys.disabled():
        print(f"\n{told[0]}: {told[1]}")


@pytest.mark.timeout(180)
async def test_a_run_is_not_gone_on_with_by_another_version_of_its_plan(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    engine: AsyncEngine,
) -> None:  # fmt: skip
    """Half of one recipe and half of another make no meal: the run is set aside until its own version is back."""
    mixed = plans(redis_client, namespace)[0]
    old = await start_worker(**PATIENT)
    run = await orchestrator.start(mixed, Piece(n=1, ms=60_000), caller=alice, within=timedelta(hours=1))

    async def begun() -> None:
        assert await asked(redis_client, namespace, run) == {"first": 1}

    async def set_aside() -> None:
        await let_an_hour_pass(engine, {old.pid})
        found = await orchestrator.find(run, caller=alice)
        assert (found.state, found.error) == (RunState.PARKED, "PlanChanged")
        assert [one.id for one in await orchestrator.parked()] == [run]
        assert await orchestrator.check_consistency() == []

    await eventually(begun, seconds=30)
    old.kill()
    await old.wait()
    await start_worker(PLAN_VERSION="2")
    await eventually(set_aside, seconds=60)
    assert await asked(redis_client, namespace, run) == {"first": 1}

    await start_worker(PLAN_VERSION="1")
    await orchestrator.release(run, within=timedelta(hours=1))

    async def taken_up() -> None:
        assert await asked(redis_client, namespace, run) == {"first": 2}

    await eventually(taken_up, seconds=60)
    await orchestrator.cancel(run, caller=alice)


@pytest.mark.timeout(180)
async def test_a_run_that_takes_its_workers_down_is_set_aside(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    engine: AsyncEngine,
) -> None:  # fmt: skip
    """One poisoned request costs two workers, and not one after another for ever."""
    lethal = plans(redis_client, namespace)[1]
    workers = await asyncio.gather(*(start_worker(**COUNTED) for _ in range(3)))
    dead: set[int] = set()

    async def watch(worker: Program) -> None:
        await worker.wait()
        dead.add(worker.pid)

    run = await orchestrator.start(lethal, Piece(n=1), caller=alice)

    async def set_aside() -> None:
        await let_an_hour_pass(engine, dead)
        found = await orchestrator.find(run, caller=alice)
        assert (found.state, found.error, found.attempts) == (RunState.PARKED, "WorkersLost", 2)

    watching = [asyncio.create_task(watch(worker)) for worker in workers]
    await eventually(set_aside, seconds=60)
    assert await asked(redis_client, namespace, run) == {"only": 2}
    assert len(dead) == 2
    await orchestrator.cancel(run, caller=alice)
    assert (await orchestrator.find(run, caller=alice)).state is RunState.CANCELLED
    for one in watching:
        one.cancel()


@pytest.mark.timeout(180)
async def test_a_run_that_gets_on_may_lose_any_number_of_workers(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    rows: Rows, engine: AsyncEngine,
) -> None:  # fmt: skip
    """Bad luck is no poison: only deaths at one and the same place of a run count against it."""
    mixed = plans(redis_client, namespace)[0]
    workers = await asyncio.gather(*(start_worker(**COUNTED) for _ in range(3)))
    by_pid = {worker.pid: worker for worker in workers}
    dead: set[int] = set()
    run = await orchestrator.start(mixed, Piece(n=1, ms=500), caller=alice)

    for step, claims in (("first", 1), ("side0", 2)):

        async def at_it(step: str = step, claims: int = claims) -> int:
            await let_an_hour_pass(engine, dead)
            found = await rows(
                "select e.pid from agents.run r join agents.executor e on e.id = r.executor"
                " join agents.step s on s.run = r.id and s.name = :step and s.state = 'running'"
                " where r.id = :run and r.claims = :claims", run=run, step=step, claims=claims,
            )  # fmt: skip
            assert found
            return int(found[0]["pid"])

        victim = by_pid[await eventually(at_it, seconds=60)]
        victim.kill()
        await victim.wait()
        dead.add(victim.pid)

    async def over() -> None:
        await let_an_hour_pass(engine, dead)
        assert (await orchestrator.find(run, caller=alice)).state.ended

    await eventually(over, seconds=60)
    result = await orchestrator.result(mixed, run, caller=alice, within=timedelta(seconds=60))

    assert result.n == outcome(1)
    assert await rows("select claims from agents.run") == [{"claims": 3}]
