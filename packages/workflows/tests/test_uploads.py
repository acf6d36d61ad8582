"""What users upload is kept as it is, once, or not at all."""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from netra_agents import RunFailed
from netra_auth import AccessDenied, Role
from netra_fixtures import Goal, Tier, business_value
from netra_fixtures.data import ThirdPartyData
from netra_workflows import (
    Archive,
    BillKnown,
    BillNameTaken,
    BillNotFound,
    BillTooLarge,
    InvalidText,
    WorkflowsError,
)

from .installation import Installation, WorkerProcess
from .test_comprehensive_business_workflows import cells, finished, generated, uploaded

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.RETENTION, Goal.SECURITY},
    impact="what a company uploads is what is judged, and a broken file costs nobody the answer",
)  # fmt: skip

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]


async def test_an_upload_is_kept_once_under_its_name(installation: Installation, tmp_path: Path) -> None:
    """The same file again is no other one, and another file can't take its place."""
    alice = await installation.person("alice", "acme")
    bob = await installation.person("bob", "globex")
    one, other = generated(tmp_path, 1, 2, rows=100)

    first = await installation.archive.upload(alice.principal, "march", one)
    again = await installation.archive.upload(alice.principal, "march", one)
    with pytest.raises(BillNameTaken):
        await installation.archive.upload(alice.principal, "march", other)
    with pytest.raises(BillKnown, match="the same file was read as march"):
        await installation.archive.upload(alice.principal, "april", one)

    assert first == again
    assert installation.archive.path("acme", first).read_bytes() == one.read_bytes()
    assert await installation.archive.bills(bob.principal.tenant) == []
    with pytest.raises(BillNotFound):
        await installation.archive.find(bob.principal.tenant, "march")


async def test_an_upload_that_may_not_be_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    """A name that can't be kept, a file that is too large, a role that may not: neither a row nor a file is left."""
    alice = await installation.person("alice", "acme")
    una = await installation.person("una", "acme", Role.STANDARD_USER)
    [path] = generated(tmp_path, 1, rows=100)
    folder = tmp_path / "elsewhere"
    archive = Archive(
        engine=installation.engine, namespace="other", folder=folder, access=installation.access, limit_bytes=99
    )  # fmt: skip

    cases: list[tuple[type[Exception], Coroutine[Any, Any, Any]]] = [
        (BillTooLarge, archive.upload(alice.principal, "march", path)),
        (AccessDenied, archive.upload(una.principal, "march", path)),
        *((InvalidText, archive.upload(alice.principal, name, path)) for name in ("", "a\x00", "\ud800", "x" * 101)),
    ]  # fmt: skip
    for error, act in cases:
        with pytest.raises(error):
            await act

    assert not folder.exists()
    assert await installation.rows("select 1 from workflows.bill") == []
    assert issubclass(BillTooLarge, WorkflowsError)


@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_a_broken_bill_is_named_and_the_others_count(
    installation: Installation, worker_process: StartWorker, tmp_path: Path
) -> None:
    """A truncated file, and requests without a price, are told by name; where nothing can be read the run says so."""
    starting = asyncio.create_task(worker_process())
    alice = await installation.person("alice", "acme")
    good, bad = generated(tmp_path, 1, 2, rows=100)
    bad.write_bytes(gzip.compress(b"a" * 10_000)[:-9])
    nobody = tmp_path / "requests to nobody.csv"
    nobody.write_text("ContextTokens,GeneratedTokens\n1,2\n", encoding="utf-8")
    await uploaded(installation, alice, [good, bad, nobody])
    await starting

    run = await installation.optimization.begin(alice.principal, "What can we save?")
    report = await finished(installation, alice, run)
    broken = await installation.optimization.begin(alice.principal, f"What can we save in {bad.name}?")

    assert report.text.endswith(f"Not read: {bad.name}.")
    written = await installation.optimization.report(alice.principal, run)
    for text in (written.markdown.replace("\\", ""), written.html):
        assert f"Could not be read, and does not count: {bad.name}." in text
        assert f"{nobody.name} was not judged: upload a price list" in text
    assert await installation.rows("select distinct source from workflows.proof") == [(good.name,)]
    with pytest.raises(RunFailed, match="none of the uploads can be read"):
        await finished(installation, alice, broken)


@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_other_peoples_uploads_are_judged_together(
    installation: Installation, worker_process: StartWorker, tmp_path: Path, third_party_data: ThirdPartyData
) -> None:
    """A real bill, recorded inventories and production requests at real prices come to what hand-made sums say."""
    starting = asyncio.create_task(worker_process())
    alice = await installation.person("alice", "acme")
    [bill] = third_party_data.files("focus-sample-1.0", "*.csv")
    clouds = third_party_data.files("cloud-inventory", "*.jsonl.gz")
    [prices] = third_party_data.files("llm-prices", "litellm_model_prices*.json.gz")
    [requests] = third_party_data.files("llm-usage", "azure_llm_*_code.csv.gz")
    entry = json.loads(gzip.decompress(prices.read_bytes()), parse_float=Decimal)
    model = min(
        name for name, own in entry.items()
        if own.get("mode") == "chat" and own.get("input_cost_per_token_batches") and name.isascii() and len(name) < 60
        and own.get("output_cost_per_token_batches") and not any("above" in key for key in own)
    )  # fmt: skip
    for path in (bill, *clouds, prices):
        await installation.archive.upload(alice.principal, path.name, path)
    await installation.archive.upload(alice.principal, f"requests to {model}", requests)
    await starting

    run = await installation.optimization.begin(alice.principal, "What can we save?")
    report = await finished(installation, alice, run)

    findings = [one.finding for one in await installation.optimization.findings(alice.principal, run)]
    rows = cells(requests)
    [tokens] = [one for one in findings if one.account == f"requests to {model}"]
    assert tokens.billed == sum(
        Decimal(row["ContextTokens"]) * Decimal(entry[model]["input_cost_per_token"])
        + Decimal(row["GeneratedTokens"]) * Decimal(entry[model]["output_cost_per_token"])
        for row in rows
    )
    advised = sum(one.saving for one in findings if one.rule.published == "AWS Cost Optimization Hub")
    assert advised == by_hand(next(path for path in clouds if path.name.startswith("aws")))
    sums = await installation.rows(
        "select f.billed, sum(p.billed), f.saving from workflows.finding f join workflows.proof p on p.finding = f.id"
        " where f.analysis = :run group by f.id",
        run=run,
    )
    assert len(sums) == len(findings)
    assert all(billed == proved >= saving for billed, proved, saving in sums)
    assert set(report.total) <= {one.currency for one in findings}
    for path in (bill, *clouds, prices, requests):
        third_party_data.read(path, cases=len(findings))


def by_hand(path: Path) -> Decimal:
    """Add up what the hub recommends of recorded answers, the most for each resource that nothing calls idle."""
    most: dict[str, Decimal] = {}
    idle = set()
    for line in gzip.decompress(path.read_bytes()).splitlines():
        row = json.loads(line, parse_float=Decimal)
        operation, answer = row["file"].rpartition("_")[0], row["data"].get("data")
        if row["data"].get("status_code") != 200:
            continue
        if operation == "ec2.DescribeVolumes":
            idle |= {one["VolumeId"] for one in answer["Volumes"] if one["State"] == "available"}
        if operation == "cost-optimization-hub.ListRecommendations":
            for item in answer["items"]:
                saving = Decimal(item["estimatedMonthlySavings"])
                most[item["resourceId"]] = max(saving, most.get(item["resourceId"], Decimal(0)))
    return sum((saving for name, saving in most.items() if name not in idle), Decimal(0))
