"""An operator starts a worker, looks at it and ends it, with settings, lines of JSON and signals."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from netra_agents import Caller, Orchestrator
from netra_fixtures import (
    Goal,
    IsolatedEnvironment,
    Program,
    StartProgram,
    Tier,
    business_value,
    eventually,
    within,
)

from .at_work import Piece, outcome, plans

StartWorker = Callable[..., Awaitable[Program]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
SECRET = "s3cr3t-in-an-address"
COMMAND = str(Path(sys.executable).with_name("netra-agents"))


async def said(environment: IsolatedEnvironment, *arguments: str) -> tuple[int | None, str]:
    """Run the command to its end, and return how it ended and what it said."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=PIPE, stderr=PIPE, env=environment.for_process()
    )
    async with within(seconds=50):
        output = await process.communicate()
    return process.returncode, b"".join(output).decode()


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({}, ["DATABASE_URL", "REDIS_URL", "EQUIPMENT"]),
        ({"EQUIPMENT": "nowhere:nothing", "POLICY__LAPSE": "soon"}, ["EQUIPMENT", "POLICY__LAPSE"]),
    ],
    ids=["nothing", "unreadable"],
)
async def test_a_setting_that_is_wrong_is_named(
    environment: IsolatedEnvironment, start_program: StartProgram, told: dict[str, str], named: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The one line in the log says what to set, and no value that may be secret."""
    if told:
        told |= {"REDIS_URL": f"redis://:{SECRET}@x", "DATABASE_URL": f"postgresql+asyncpg://{SECRET}@x/y"}
    for name, value in told.items():
        environment.set(f"NETRA_AGENTS_{name}", value)

    worker = await start_program("netra-agents", "worker")
    async with within(seconds=50):
        output = (await worker.communicate()).decode()

    line = json.loads(output)
    assert (worker.returncode, line["level"]) == (2, "error")
    assert line["variables"] == [f"NETRA_AGENTS_{name}" for name in named]
    assert (SECRET in output, capfd.readouterr().err) == (False, "")


async def test_a_worker_whose_database_is_not_there_says_so_and_ends(
    environment: IsolatedEnvironment,
) -> None:
    """A process that can't work ends, so that its supervisor notices, and shows no password."""
    environment.set("NETRA_AGENTS_DATABASE_URL", f"postgresql+asyncpg://a:{SECRET}@127.0.0.1:1/x")
    environment.set("NETRA_AGENTS_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    environment.set("NETRA_AGENTS_EQUIPMENT", "at_work:equipment")
    environment.set("PYTHONPATH", str(Path(__file__).parent))
    environment.set("NETRA_AGENTS_POLICY__DEADLINE", "PT1S")

    code, output = await said(environment, "worker")

    assert code == 2
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert lines[-1]["reason"].endswith("run netra_agents.migrations.migrate")
    assert SECRET not in output


@business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="a deployment interrupts nobody's work for long"
)
async def test_a_worker_that_is_told_to_stop_leaves_its_runs_to_others(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    rows: Rows,
) -> None:  # fmt: skip
    """Runs that don't end within the grace are gone on with elsewhere at once, and it counts for nothing."""
    mixed = plans(redis_client, namespace)[0]
    policy = {"GRACE": "PT0.1S", "LAPSE": "PT30S", "MOST_ATTEMPTS": "1"}
    told = {f"NETRA_AGENTS_POLICY__{name}": value for name, value in policy.items()}
    workers = {
        worker.pid: worker for worker in await asyncio.gather(*(start_worker(**told) for _ in range(2)))
    }
    run = await orchestrator.start(mixed, Piece(n=1, ms=300), caller=alice)

    async def carried_by() -> int:
        found = await rows(
            "select e.pid from agents.run r join agents.executor e on e.id = r.executor"
            " join agents.step s on s.run = r.id and s.state = 'running'"
        )
        assert found
        return int(found[0]["pid"])

    leaving = workers[await eventually(carried_by, seconds=30)]
    leaving.send_signal(signal.SIGTERM)
    async with within(seconds=50):
        output = await leaving.communicate()
        result = await orchestrator.result(mixed, run, caller=alice, within=timedelta(seconds=50))

    assert [json.loads(line)["event"] for line in output.splitlines()][-2:] == ["leaving", "stopped"]
    assert leaving.returncode == 0
    assert result.n == outcome(1)
    assert await rows("select claims from agents.run") == [{"claims": 2}]
