"""Many tenants at once: each is told of its own bills, and nothing of another's."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from netra_fixtures import Goal, Tier, business_value

from .installation import Installation, WorkerProcess
from .test_comprehensive_business_workflows import finished, generated, hold_events, hold_savings, uploaded

pytestmark = business_value(
    tier=Tier.ENTERPRISE, goals={Goal.SECURITY},
    impact="no company learns what another one spends, however many work at once",
)  # fmt: skip

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]


async def held(
    installation: Installation, worker_process: StartWorker, folder: Path, rng: random.Random, tenants: int
) -> None:
    """Let tenants with bills of the same names work at once, and hold that each gets what is theirs alone."""
    starting = asyncio.create_task(worker_process())
    people, bills = [], []
    for number in range(tenants):
        people.append(await installation.person("alice", f"tenant{number}"))
        own = folder / f"tenant{number}"
        own.mkdir()
        bills.append(generated(own, rng.randrange(10**6), rng.randrange(10**6), rows=300))
        await uploaded(installation, people[-1], bills[-1])
    await starting

    runs = [await installation.optimization.begin(person.principal, "What can we save?") for person in people]
    reports = await asyncio.gather(
        *(finished(installation, person, run) for person, run in zip(people, runs, strict=True))
    )

    assert len({report.text for report in reports}) == tenants
    for person, run, paths, report in zip(people, runs, bills, reports, strict=True):
        assert {event.run for event in person.screen.seen} == {str(run)}
        hold_events(person, run)
        await hold_savings(installation, person, run, paths, report)
        assert await installation.collaboration.plans(person.principal) == [run]
        others = [
            await installation.optimization.findings(person.principal, one) for one in runs if one != run
        ]
        assert not any(others)


async def test_tenants_side_by_side_see_their_own_alone(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, rng: random.Random
) -> None:
    """Three tenants whose bills have the same names begin at once on one worker."""
    await held(installation, worker_process, tmp_path, rng, 3)


@pytest.mark.soak
async def test_twenty_tenants_side_by_side_see_their_own_alone(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, rng: random.Random
) -> None:
    """Twenty tenants begin at once on one worker."""
    await held(installation, worker_process, tmp_path, rng, 20)
