"""Calls that must type-check; never executed."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import assert_type
from uuid import UUID

from netra_agents import RunId
from netra_auth import AccessPolicy, Principal
from netra_workflows import (
    Advice,
    Analysis,
    AnalysisPolicy,
    Archive,
    Bills,
    Collaboration,
    CostOptimization,
    Entry,
    Finding,
    Ingested,
    InventoryFinding,
    Offer,
    Refusal,
    Report,
    SharedPlan,
    StoredFinding,
    TokenSpend,
    UploadedBill,
    analyse,
    collaboration_policy,
    findings_csv,
    markdown,
    page,
    read_inventory,
    read_prices,
    read_requests,
    recommend,
    token_spend,
)


def calls(path: Path) -> None:
    with Bills.opened(path, memory_mb=512, threads=2) as bills:
        assert_type(bills, Bills)
        read = bills.ingest(path, name="march")
        assert_type(read, Ingested)
        for refusal in bills.refusals("march"):
            assert_type(refusal, Refusal)
        inventory = read_inventory([path], as_of=datetime(2026, 1, 1, tzinfo=UTC))
        assert_type(inventory, tuple[InventoryFinding, ...])
        offer = Offer(
            provider="AWS",
            programme="ours",
            scope="all",
            months=12,
            discount=Decimal("0.3"),
            basis="our contract",
        )
        models = read_prices(path)
        spend = token_spend("a", read_requests(path), models["m"], models, as_of=date(2026, 1, 1))
        assert_type(spend, TokenSpend)
        analysis = analyse(bills, AnalysisPolicy(offers=(offer,)), inventory=inventory, tokens=[spend])
        assert_type(analysis, Analysis)
        assert_type(analysis.findings, tuple[Finding, ...])
    advice = recommend(analysis)
    assert_type(advice, Advice)
    assert_type(markdown(advice, analysis), str)
    assert_type(page(advice, analysis, ["march"]), str)
    assert_type(findings_csv(analysis), str)
    bills.ingest("a path")  # type: ignore[arg-type]


async def decisions(
    archive: Archive, optimization: CostOptimization, shared: Collaboration, alice: Principal, path: Path
) -> None:
    assert_type(await archive.upload(alice, "march", path), UploadedBill)
    run = await optimization.begin(alice, "What can we save?", sources=["march"])
    assert_type(run, RunId)
    assert_type(await optimization.findings(alice, run), tuple[StoredFinding, ...])
    assert_type(await optimization.report(alice, run), Report)
    assert_type(await shared.submit(alice, run, base=1, said="ready"), SharedPlan)
    assert_type(await shared.trail(alice, UUID(int=1)), tuple[Entry, ...])
    assert_type(collaboration_policy(), AccessPolicy)
    await shared.approve(alice, run, said="ready")  # type: ignore[call-arg]
