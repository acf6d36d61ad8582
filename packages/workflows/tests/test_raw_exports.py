"""What a provider's own export says is mapped as its published mapping has it, row by row."""

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from netra_workflows import AnalysisPolicy, Bills, analyse

from .conftest import WriteBill
from .test_detectors import NAT

NOTHING_TO_BUY = AnalysisPolicy(offers=())
CUR = {
    "lineItem/LineItemType": "Usage", "lineItem/UnblendedCost": "2", "lineItem/CurrencyCode": "USD",
    "lineItem/UsageStartDate": "2026-03-01T00:00:00Z", "lineItem/UsageEndDate": "2026-03-01T01:00:00Z",
    "lineItem/UsageAccountId": "1", "bill/PayerAccountId": "1", "lineItem/ProductCode": "AmazonEC2",
    "lineItem/LineItemDescription": "d", "savingsPlan/SavingsPlanEffectiveCost": "1",
    "savingsPlan/SavingsPlanARN": "plan", "savingsPlan/TotalCommitmentToDate": "9",
    "savingsPlan/UsedCommitment": "5", "reservation/ReservationARN": "", "reservation/EffectiveCost": "0.5",
    "reservation/UnusedAmortizedUpfrontFeeForBillingPeriod": "3", "reservation/UnusedRecurringFee": "4",
    "resourceTags/user:team": "web",
}  # fmt: skip
RESERVED = {"savingsPlan/SavingsPlanARN": "", "reservation/ReservationARN": "reserved"}


def export(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("kind", "change", "category", "effective", "status", "pricing"),
    [
        ("Usage", {"savingsPlan/SavingsPlanARN": ""}, "Usage", "2", None, "Standard"),
        ("SavingsPlanCoveredUsage", {}, "Usage", "1", "Used", "Committed"),
        ("SavingsPlanNegation", {"lineItem/UnblendedCost": "-2"}, "Usage", "0", None, "Committed"),
        ("SavingsPlanRecurringFee", {}, "Purchase", "4", None, "Standard"),
        ("SavingsPlanUpfrontFee", {}, "Purchase", "0", None, "Standard"),
        ("DiscountedUsage", RESERVED, "Usage", "0.5", "Used", "Committed"),
        ("RIFee", RESERVED, "Purchase", "7", None, "Standard"),
        ("Fee", RESERVED, "Purchase", "0", None, "Standard"),
        ("Tax", {"savingsPlan/SavingsPlanARN": ""}, "Tax", "2", None, "Standard"),
        ("Credit", {"lineItem/UnblendedCost": "-2"}, "Credit", "-2", None, "Standard"),
        ("Refund", {"lineItem/UnblendedCost": "-2"}, "Adjustment", "-2", None, "Standard"),
    ],
)
def test_a_line_item_of_aws_is_what_its_type_says(
    bills: Bills, tmp_path: Path, kind: str, change: dict[str, str], category: str, effective: str,
    status: str | None, pricing: str,
) -> None:  # fmt: skip
    """Fees are purchases, covered use costs what the plan does, and what is negated is no saving."""
    row = CUR | {"lineItem/LineItemType": kind} | change

    bills.ingest(export(tmp_path / "cur.csv", row))

    found = bills.connection.execute(
        "select category, billed, effective, commitment_status, pricing, tagged from charge join meter using (meter_id)"
    ).fetchall()
    assert found == [
        (category, Decimal(row["lineItem/UnblendedCost"]), Decimal(effective), status, pricing, True)
    ]


def test_a_line_item_of_an_unknown_type_is_refused(bills: Bills, tmp_path: Path) -> None:
    """What nobody has mapped yet is not guessed at."""
    read = bills.ingest(export(tmp_path / "cur.csv", CUR, CUR | {"lineItem/LineItemType": "Novelty"}))

    assert [(r.line, r.reason) for r in read.refusals] == [(3, "ChargeCategory is missing or unknown")]


def test_what_of_a_reservation_is_unused_is_told_by_its_fee(bills: Bills, tmp_path: Path) -> None:
    """AWS amortises what is unused on the fee's own row, and the analysis finds it there."""
    fee = CUR | RESERVED | {"lineItem/LineItemType": "RIFee", "lineItem/UnblendedCost": "10"}
    used = CUR | RESERVED | {"lineItem/LineItemType": "DiscountedUsage", "lineItem/UnblendedCost": "0"}
    bills.ingest(export(tmp_path / "cur.csv", fee, used))

    analysis = analyse(bills, NOTHING_TO_BUY)

    [use] = analysis.commitments
    assert (use.used, use.unused, use.purchased) == (Decimal("0.5"), Decimal(7), Decimal(10))
    assert [(f.rule.id, f.saving) for f in analysis.findings] == [("unused_commitment", Decimal(7))]


def test_credits_of_google_cloud_are_money_of_their_own(bills: Bills, tmp_path: Path) -> None:
    """A row's credits lower what is paid, and make its use no cheaper."""
    row: dict[str, Any] = {
        "cost": "5", "currency": "USD", "usage_start_time": "2026-03-01T00:00:00", "project.id": "p",
        "usage_end_time": "2026-03-01T01:00:00", "service.description": "Compute Engine", "cost_type": "regular",
        "sku.description": "Static Ip Charge", "invoice.month": "202603", "labels": '[{"key": "a", "value": "b"}]',
        "credits": json.dumps([{"amount": -1.5}, {"amount": -0.25}]), "resource.name": "r",
    }  # fmt: skip
    bills.ingest(export(tmp_path / "export.csv", row, row | {"credits": "[]"}))

    [total] = bills.totals()
    [finding] = analyse(bills, NOTHING_TO_BUY).findings

    assert (total.usage, total.credits, total.billed) == (Decimal(10), Decimal("-1.75"), Decimal("8.25"))
    assert (finding.rule.id, finding.saving) == ("gcp_idle_address", Decimal(10))


@pytest.mark.parametrize(
    ("costs", "rounds"),
    [([("0.4", "0"), ("1.6", "2")], True), ([("0.4", "0")], False), ([("0.4", "0"), ("1.6", "1.6")], False),
     ([("4", "0"), ("2", "2")], False)],
    ids=["each is whole", "one row is no proof", "one has a fraction", "what was billed is whole too"],
)  # fmt: skip
def test_a_provider_that_rounds_effective_cost_is_noticed(
    bills: Bills, write_bill: WriteBill, costs: list[tuple[str, str]], rounds: bool
) -> None:
    """Whole dollars beside fractions are a publisher's defect: BilledCost stands for them, and the report says so."""
    read = bills.ingest(write_bill(*({"BilledCost": billed, "EffectiveCost": own} for billed, own in costs)))

    assert bool(read.notes) is rounds
    found = bills.connection.execute("select effective from charge order by record").fetchall()
    assert [own for (own,) in found] == [Decimal(billed if rounds else own) for billed, own in costs]


def test_a_busy_neighbour_of_an_idle_thing_is_left_alone(bills: Bills, write_bill: WriteBill) -> None:
    """Of two gateways in one account only the one that nothing passed through is to go."""
    idle, busy = NAT | {"PricingQuantity": "200"}, NAT | {"PricingQuantity": "100", "ResourceId": "nat-2"}
    bills.ingest(write_bill(idle, busy))

    [finding] = analyse(bills, NOTHING_TO_BUY).findings

    assert (finding.resources, finding.saving) == (("nat-1",), Decimal(10))
