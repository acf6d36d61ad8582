"""From bills to savings that a person can check and people decide on, on real servers, gateways and workers."""

import asyncio
import csv
import gzip
import json
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import jsonschema_rs
import pytest

from netra_agents.roles import Report
from netra_auth import AccessDenied, Role
from netra_fixtures import Delivered, Goal, Measured, SavingsFound, Tier, business_value
from netra_sessions.events import published_schema
from netra_workflows import NotNow, PlanChanged, PlanNotFound, SameEyes, SharedPlan, State
from netra_workflows.advice import CENT
from netra_workflows.generator import Bill

from .installation import GatewayProcess, Installation, Person, WorkerProcess

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]
SOON = timedelta(seconds=60)
TURNS = ("triage", "data", "optimization", "actions", "reporting")
PUBLISHED = {  # what a rule fires on, and the part of it that its act saves
    "aws_idle_address": ("Idle public IPv4", "1"), "gcp_idle_address": ("Static Ip", "1"), "aws_gp2": ("gp2", "0.2"),
    "azure_premium_snapshot": ("Premium SSD Managed Disks - Snapshots", "0.6"),
}  # fmt: skip
REQUESTS, MODEL = "requests to house-model.csv", "house-model"
PRICE = {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05}
BATCH = {"input_cost_per_token_batches": 1.5e-06, "output_cost_per_token_batches": 7.5e-06}


def generated(folder: Path, *seeds: int, rows: int = 1200) -> list[Path]:
    """Write generated bills, one a seed; each says that it is generated."""
    paths = [folder / f"bill-{place}.csv.gz" for place, _ in enumerate(seeds, start=1)]
    for path, seed in zip(paths, seeds, strict=True):
        Bill(seed, rows=rows, days=31, accounts=1).write(path)
    return paths


def cells(path: Path) -> list[dict[str, str]]:
    """Read a bill with csv alone."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


async def uploaded(installation: Installation, person: Person, paths: list[Path]) -> None:
    """Upload bills under their files' names."""
    for path in paths:
        await installation.archive.upload(person.principal, path.name, path)


async def finished(installation: Installation, person: Person, run: Any, seconds: float = 60) -> Report:
    """Look on until the run's end is on the person's screen, and return what they are told."""
    ends = ("agent_completed", "agent_failed")
    if not {*ends} & {*person.screen.kinds(run)}:
        await person.screen.until(lambda event: event.run == str(run) and event.kind in ends, seconds)
    return await installation.optimization.told(person.principal, run, within=SOON)


def resource(path: Path, mark: str) -> str:
    """Name a resource of a bill by what is charged for it."""
    return next(row["ResourceId"] for row in cells(path) if mark in row["ChargeDescription"])


def beside(folder: Path, bill: Path, rng: random.Random) -> list[Path]:
    """Write what else a tenant uploads: an inventory of resources on the bill and off it, requests, their prices."""
    hub = [
        {"resourceId": name, "actionType": "Rightsize", "estimatedMonthlyCost": 20, "estimatedMonthlySavings": 12.34}
        for name in ("i-advised", resource(bill, "gp2"))
    ]  # fmt: skip
    idle = [{"VolumeId": name, "State": "available"} for name in (resource(bill, "gp3"), "vol-unbilled")]
    answers: dict[str, Any] = {
        "ec2.DescribeVolumes": {"Volumes": idle},
        "ec2.DescribeAddresses": {"Addresses": [{"AllocationId": resource(bill, "Idle public")}]},
        "cost-optimization-hub.ListRecommendations": {"items": hub},
    }
    told = [
        {"file": f"{name}_1.json", "data": {"status_code": 200, "data": answer}}
        for name, answer in answers.items()
    ]
    lengths = [f"{rng.randrange(1, 9000)},{rng.randrange(1, 900)}" for _ in range(50)]
    texts = {
        "inventory.jsonl": "".join(f"{json.dumps(one)}\n" for one in told * 2),
        REQUESTS: "\n".join(("ContextTokens,GeneratedTokens", *lengths)),
        "prices.json": json.dumps(
            {MODEL: {"litellm_provider": "us", "mode": "chat", **PRICE, **BATCH}}, indent=1
        ),
    }
    for name, told_in in texts.items():
        (folder / name).write_text(told_in, encoding="utf-8")
    return [folder / name for name in texts]


async def recomputed(installation: Installation, run: Any) -> list[Any]:
    """Add up each step of a plan anew from findings, by plain SQL."""
    return await installation.rows(
        "select s.number, s.saving, sum(f.saving), s.a_month, sum(f.saving) / f.months"
        " from workflows.step s join workflows.finding f on f.analysis = s.plan and f.rule = s.rule"
        " and f.provider = s.provider and f.currency = s.currency"
        " where s.plan = :run group by s.plan, s.number, f.months order by s.number",
        run=run,
    )


async def delivered_savings(installation: Installation, run: Any) -> list[SavingsFound]:
    """Name what a run saves, by currency, with the rows that say so."""
    rows = await installation.rows(
        "select currency, sum(saving), array_agg(id) from workflows.finding"
        " where analysis = :run and saving > 0 group by currency",
        run=run,
    )
    return [
        SavingsFound(amount=amount, currency=currency, table="workflows.finding", rows=ids, column="saving")
        for currency, amount, ids in rows
    ]


def hold_events(person: Person, run: Any, uploads: int = 2) -> None:
    """Hold what came to the screen against the published schema and the plan's order."""
    events = [event for event in person.screen.seen if event.run == str(run)]
    validator = jsonschema_rs.validator_for(published_schema())
    for event in events:
        validator.validate(event.model_dump(mode="json"))
    assert [events[0].kind, events[-1].kind] == ["agent_started", "agent_completed"]
    tools = [(event.kind, event.data.tool) for event in events if event.kind.startswith("tool")]
    called = ["list_bills", *["read_bill"] * uploads, "find_savings", "draft_plan", "write_report"]
    assert tools == [(kind, tool) for tool in called for kind in ("tool_executing", "tool_completed")]
    assert list(dict.fromkeys(event.data.agent for event in events[1:-1])) == list(TURNS)


async def hold_savings(
    installation: Installation, person: Person, run: Any, paths: list[Path], report: Report
) -> None:
    """Recompute every amount: rows by csv and Decimal, findings of their rows, steps and report of findings."""
    bills = {path.name: cells(path) for path in paths}
    proof = await installation.rows(
        "select source, record, billed, finding from workflows.proof where analysis = :run", run=run
    )
    assert proof
    assert all(
        Decimal(bills[name][record - 1]["BilledCost"]) == billed
        for name, record, billed, _ in proof
        if name in bills
    )
    findings = await installation.optimization.findings(person.principal, run)
    for found in findings:
        own = sum((billed for *_, billed, finding in proof if finding == found.id), Decimal(0))
        assert own == found.finding.billed >= found.finding.saving
    for rule, (mark, part) in PUBLISHED.items():
        lines = [row for bill in bills.values() for row in bill if mark in row["ChargeDescription"]]
        doubted = sum((Decimal(row["BilledCost"]) for row in lines), Decimal(0))
        saved = sum((one.finding.saving for one in findings if one.finding.rule.id == rule), Decimal(0))
        assert 0 < saved == doubted * Decimal(part), rule
    steps = await recomputed(installation, run)
    assert steps
    for _, saving, again, month, anew in steps:
        assert (saving, month) == (again.quantize(CENT), anew.quantize(CENT))
    assert report.total == {"USD": sum(month for *_, month, _ in steps)}
    written = await installation.optimization.report(person.principal, run)
    assert f"{report.total['USD']:,} USD a month" in written.markdown


async def measure(installation: Installation, run: Any, took: timedelta, measured: Measured) -> None:
    """Tell how long a user waited for the report, and how much of that no tool was at work for them."""
    [(worked,)] = await installation.rows(
        "select sum(ended_at - started_at) from tools.run where cast(work as uuid) = :run", run=run
    )
    measured("workflow on the generated bill", took)
    measured.figure("from question to report", f"{took.total_seconds():.3f} s")
    measured.figure("of it no tool at work", f"{(took - worked).total_seconds():.3f} s")


async def hold_together(
    installation: Installation, person: Person, run: Any, bill: Path, requests: Path
) -> None:
    """Recompute what inventory, requests and bills come to together: each resource and row once, and on record."""
    findings = [one.finding for one in await installation.optimization.findings(person.principal, run)]
    saved = {one.rule.id: one for one in findings if one.currency == "USD"}
    idle = resource(bill, "gp3")
    billed = sum((Decimal(row["BilledCost"]) for row in cells(bill) if row["ResourceId"] == idle), Decimal(0))
    asked = [(Decimal(row["ContextTokens"]), Decimal(row["GeneratedTokens"])) for row in cells(requests)]
    cost = sum((one * 3 + other * 15 for one, other in asked), Decimal(0)) / 10**6

    assert saved["idle_resource"].saving == saved["idle_resource"].billed == billed
    assert (saved["token_batch"].billed, saved["token_batch"].saving) == (cost, cost / 2)
    advised = saved["recommended_rightsize"]
    assert (advised.resources, advised.billed, advised.saving) == (
        ("i-advised",),
        Decimal("32.34"),
        Decimal("12.34"),
    )
    seen = [name for one in findings if one.saving > 0 or one.account == "" for name in one.resources]
    for name in (idle, resource(bill, "gp2"), resource(bill, "Idle public"), "vol-unbilled"):
        assert seen.count(name) == 1, name
    shown = await installation.rows(
        "select part, record, p.billed, rule from workflows.proof p join workflows.finding f on f.id = p.finding"
        " where p.analysis = :run and source = 'inventory.jsonl' order by rule, part, record",
        run=run,
    )
    assert [tuple(row) for row in shown] == [
        (idle, 1, 0, "idle_resource"), (idle, 4, 0, "idle_resource"),
        ("i-advised", 3, advised.billed, "recommended_rightsize"), ("i-advised", 6, 0, "recommended_rightsize"),
        ("vol-unbilled", 1, 0, "unattached_volume"), ("vol-unbilled", 4, 0, "unattached_volume"),
    ]  # fmt: skip
    written = await installation.optimization.report(person.principal, run)
    for told in ("Recommended rightsize", "Requests that could be a batch", "Unattached volume"):
        assert told in written.html
        assert told in written.markdown


async def hold_alone(installation: Installation, person: Person) -> None:
    """Ask about one file of requests: it is told of alone, at the prices of the lists that the tenant has."""
    run = await installation.optimization.begin(person.principal, f"What could we save on {REQUESTS}?")
    report = await finished(installation, person, run)

    findings = await installation.optimization.findings(person.principal, run)
    assert [(one.finding.rule.id, one.finding.account) for one in findings] == [("token_batch", REQUESTS)]
    assert report.total == {"USD": findings[0].finding.saving.quantize(CENT)}


@business_value(
    tier=Tier.FREE, goals={Goal.REVENUE, Goal.RETENTION},
    impact="a new user sees what they can save, and that it is true, within seconds of the upload",
)  # fmt: skip
@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_complete_cost_optimization_workflow(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, rng: random.Random,
    delivered: Delivered, measured: Measured,
) -> None:  # fmt: skip
    """From bills, an inventory and AI usage to savings that plain SQL adds up to the same, each step on the screen."""
    starting = asyncio.create_task(worker_process())
    alice = await installation.person("alice", "acme")
    paths = generated(tmp_path, rng.randrange(10**6), rng.randrange(10**6))
    others = beside(tmp_path, paths[0], rng)
    await uploaded(installation, alice, [*paths, *others])
    await starting

    began = perf_counter()
    run = await installation.optimization.begin(alice.principal, "What can we save?")
    report = await finished(installation, alice, run)
    took = timedelta(seconds=perf_counter() - began)

    kinds = [one.kind for one in await installation.archive.bills("acme")]
    assert kinds == ["bill", "bill", "inventory", "prices", "requests"]
    hold_events(alice, run, uploads=5)
    await hold_savings(installation, alice, run, paths, report)
    await measure(installation, run, took, measured)
    await hold_together(installation, alice, run, paths[0], others[1])
    await hold_alone(installation, alice)
    for outcome in await delivered_savings(installation, run):
        await delivered(outcome)


TOLD = ["submitted", "commented", "sent_back", "revised", "submitted", "endorsed", "approved"]


async def seen(people: list[Person], act: str) -> None:
    """Look on until the act is on everybody's screen."""
    for person in people:
        await person.screen.until(
            lambda event: event.kind == "partial_result" and event.data.content["act"] == act
        )


async def refused(error: type[Exception], *acts: Coroutine[Any, Any, Any]) -> None:
    """Hold that each act is refused."""
    for act in acts:
        with pytest.raises(error):
            await act


@business_value(
    tier=Tier.ENTERPRISE, goals={Goal.SECURITY, Goal.EFFICIENCY},
    impact="nobody spends or saves the company's money alone, and everybody knows at once where a plan stands",
)  # fmt: skip
@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_multi_user_collaborative_workflow(
    installation: Installation, worker_process: StartWorker, gateway_process: GatewayProcess, tmp_path: Path,
    rng: random.Random, delivered: Delivered,
) -> None:  # fmt: skip
    """Four people decide on a plan, each before a screen; what they do while the gateway is dead is seen after it."""
    starting = asyncio.create_task(worker_process())
    uri = gateway_process.uri
    approver = await installation.person("apo", "acme", uri=uri)
    analyst = await installation.person("ana", "acme", Role.POWER_USER, uri=uri)
    reviewer = await installation.person("rui", "acme", Role.POWER_USER, uri=uri)
    executor = await installation.person("eve", "acme", Role.DEVELOPER, uri=uri)
    outsider = await installation.person("mallory", "globex", uri=uri)
    people = [analyst, reviewer, approver, executor]
    one, two, three, four = (person.principal for person in people)
    await uploaded(installation, analyst, generated(tmp_path, rng.randrange(10**6), rows=500))
    await starting
    run = await installation.optimization.begin(one, "What can we save?")
    await finished(installation, analyst, run)
    shared = installation.collaboration

    await shared.invite(one, run, [person.principal.user for person in people])
    await shared.submit(one, run, base=1, said="ready for review")
    await seen(people, "submitted")
    await refused(SameEyes, shared.endorse(one, run, base=2, said="my own"))
    await refused(AccessDenied, shared.execute(two, run, 1, base=2, said="at once"))
    await shared.comment(two, run, "step 1 is somebody's =cmd()\nleave it out")
    await shared.send_back(two, run, base=2, said="leave step 1 out")
    await seen(people, "sent_back")
    await gateway_process.kill()
    await refused(PlanChanged, shared.revise(one, run, base=2, without=[1], said="too late"))
    await shared.revise(one, run, base=3, without=[1], said="done")
    await shared.submit(one, run, base=4, said="again")
    await shared.endorse(two, run, base=5, said="good")
    await gateway_process.start()
    await seen(people, "endorsed")
    await refused(AccessDenied, shared.approve(two, run, base=6, said="me too"))
    await refused(NotNow, shared.execute(four, run, 2, base=6, said="too soon"))
    plan = await shared.approve(three, run, base=6, said="go")
    await seen(people, "approved")
    for step in sorted(plan.open):
        plan = await shared.execute(four, run, step, base=plan.revision, said="done")
    await seen(people, "executed")

    assert (plan.state, plan.left_out) == (State.EXECUTED, (1,))
    trail = await shared.trail(four, run)
    assert [entry.act for entry in trail][:7] == [
        "drafted",
        "submitted",
        "sent_back",
        "revised",
        "submitted",
        "endorsed",
        "approved",
    ]
    assert {entry.actor for entry in trail} == {person.user for person in people}
    for person in people:
        told = [event.data.content["act"] for event in person.screen.seen if event.kind == "partial_result"]
        assert told[: len(TOLD)] == TOLD
    await hold_apart(installation, outsider, run, plan)
    for outcome in await delivered_savings(installation, run):
        await delivered(outcome)


async def hold_apart(installation: Installation, outsider: Person, run: Any, plan: SharedPlan) -> None:
    """Hold that another tenant's highest role finds nothing, can do nothing and sees nothing."""
    shared, stranger = installation.collaboration, outsider.principal
    await refused(
        PlanNotFound, shared.plan(stranger, run), shared.comment(stranger, run, "hello"), shared.trail(stranger, run),
        shared.submit(stranger, run, base=plan.revision, said="mine"), installation.optimization.report(stranger, run),
    )  # fmt: skip
    assert (await shared.plans(stranger), await installation.optimization.findings(stranger, run)) == ([], ())
    await installation.publisher.emit(
        "agent_thinking", user=outsider.user, run="own", event_id="own", data={"agent": "own"}
    )
    first = await outsider.screen.until(lambda _: True)
    assert first.run == "own"
