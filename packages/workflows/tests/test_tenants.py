"""Many tenants at once: each is told of its own bills, and nothing of another's."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

import pytest

from netra_agents.roles import Report
from netra_auth import Role
from netra_fixtures import Goal, Measured, Tier, business_value

from .installation import Installation, Person, WorkerProcess
from .test_comprehensive_business_workflows import finished, generated, hold_events, hold_savings, uploaded

pytestmark = business_value(
    tier=Tier.ENTERPRISE, goals={Goal.SECURITY},
    impact="no company learns what another one spends, however many work at once",
)  # fmt: skip

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]
LONG = 900.0  # seconds, where many wait for one worker


@dataclass(frozen=True)
class Told:
    """One user's run: what they were told, and how long after they asked."""

    person: Person
    run: Any
    first: timedelta
    whole: timedelta
    report: Report


async def asked(installation: Installation, person: Person) -> Told:
    """Begin a run, and look on until its report is there."""
    began = perf_counter()
    run = await installation.optimization.begin(person.principal, "What can we save?")
    await person.screen.until(lambda event: event.run == str(run), LONG)
    first = timedelta(seconds=perf_counter() - began)
    report = await finished(installation, person, run, LONG)
    return Told(person, run, first, timedelta(seconds=perf_counter() - began), report)


async def held(
    installation: Installation, worker_process: StartWorker, folder: Path, rng: random.Random, tenants: int,
    users: int = 1,
) -> list[Told]:  # fmt: skip
    """Let users of tenants with bills of the same names work at once, and hold that each gets what is theirs alone."""
    starting = asyncio.create_task(worker_process())
    people, bills = [], {}
    for tenant in (f"tenant{number}" for number in range(tenants)):
        own = [await installation.person("alice", tenant)]
        own += [await installation.person(f"bob{n}", tenant, Role.POWER_USER) for n in range(1, users)]
        (folder / tenant).mkdir()
        bills[tenant] = generated(folder / tenant, rng.randrange(10**6), rng.randrange(10**6), rows=300)
        await uploaded(installation, own[0], bills[tenant])
        people += own
    await starting

    told = await asyncio.gather(*(asked(installation, person) for person in people))

    assert len({one.report.text for one in told}) == tenants
    runs = {tenant: [one.run for one in told if one.person.principal.tenant == tenant] for tenant in bills}
    for one in told:
        person, tenant = one.person, one.person.principal.tenant
        assert {event.run for event in person.screen.seen} == {str(one.run)}
        hold_events(person, one.run)
        await hold_savings(installation, person, one.run, bills[tenant], one.report)
        assert {*await installation.collaboration.plans(person.principal)} == {*runs[tenant]}
        others = [
            await installation.optimization.findings(person.principal, own[0])
            for other, own in runs.items() if other != tenant
        ]  # fmt: skip
        assert not any(others)
    return told


@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_tenants_side_by_side_see_their_own_alone(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, rng: random.Random
) -> None:
    """Two tenants whose bills have the same names begin at once on one worker."""
    await held(installation, worker_process, tmp_path, rng, 2)


@pytest.mark.soak
async def test_many_users_of_twenty_tenants_see_their_own_alone(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, rng: random.Random, measured: Measured
) -> None:  # fmt: skip
    """A hundred and twenty users of twenty tenants begin at once on one worker; the report says how long it took."""
    told = await held(installation, worker_process, tmp_path, rng, 20, 6)

    assert len(told) == 120
    for name, times in (
        ("first event", [one.first for one in told]),
        ("report", [one.whole for one in told]),
    ):
        cuts = quantiles((took.total_seconds() for took in times), n=100, method="inclusive")
        for place in (50, 95, 99):
            measured.figure(f"to the {name}, p{place}", f"{cuts[place - 1]:.2f} s")
    for one in told:
        measured("workflow", one.whole)
