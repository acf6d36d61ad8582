"""A worker may die at any moment: others go on with its runs, and nothing that was finished is done again."""

import asyncio
import random
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from netra_agents import Caller, Orchestrator, RunId
from netra_fixtures import Goal, Tier, business_value

from .at_work import WIDE, Piece, outcome, plans

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="a machine that dies costs its users some seconds and no work",
)

StartWorker = Callable[..., Awaitable[Process]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
RUNS = 6


async def asked(redis: Redis, namespace: str, run: RunId) -> Counter[str]:
    """Count how often each step of a run was asked."""
    found = await redis.hgetall(f"{namespace}:asked:{run}")
    return Counter({name.decode(): int(times) for name, times in found.items()})


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.soak)])
async def test_runs_outlive_any_of_three_workers(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    rng: random.Random, rows: Rows, kills: int, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Every run ends with its result, each step is recorded once, and what was recorded was not done again."""
    mixed = plans(redis_client, namespace)[0]
    workers = list(await asyncio.gather(*(start_worker() for _ in range(3))))
    recorded: dict[tuple[RunId, str], int] = {}
    took: list[float] = []

    for _ in range(kills):
        runs = [
            await orchestrator.start(mixed, Piece(n=n, ms=rng.choice([5, 40])), caller=alice)
            for n in range(RUNS)
        ]
        await asyncio.sleep(rng.uniform(0, 0.4))
        victim = workers.pop(rng.randrange(len(workers)))
        held = await rows(
            "select r.id from agents.run r join agents.executor e on e.id = r.executor"
            " where r.state = 'running' and e.pid = :pid", pid=victim.pid,
        )  # fmt: skip
        victim.kill()
        await victim.wait()
        killed = monotonic()
        for row in await rows("select run, name from agents.step where state = 'completed'"):
            key = (row["run"], row["name"])
            if key not in recorded:
                recorded[key] = (await asked(redis_client, namespace, row["run"]))[row["name"]]
        another = asyncio.create_task(start_worker())
        for n, run in enumerate(runs):
            result = await orchestrator.result(mixed, run, caller=alice, within=timedelta(seconds=60))
            assert result.n == outcome(n)
            taken_up = (await orchestrator.find(run, caller=alice)).attempts > 1
            if taken_up and {"id": run} in held:
                took.append(monotonic() - killed)
        workers.append(await another)

    for (run, step), times in recorded.items():
        assert (await asked(redis_client, namespace, run))[step] == times, (
            f"{step} was finished, and done again"
        )
    steps = await rows("select state, count(*) as n from agents.step group by state")
    assert steps == [{"state": "completed", "n": kills * RUNS * (WIDE + 3)}]
    twice = "select 1 from agents_engine.operation_outputs group by workflow_uuid, function_id having count(*) > 1"
    assert await rows(twice) == []
    told = ("seconds from a death to the end of a run that was taken over", [round(one, 2) for one in took])
    request.node.user_properties.append(told)
    with capsys.disabled():
        print(f"\n{told[0]}: {told[1]}")
