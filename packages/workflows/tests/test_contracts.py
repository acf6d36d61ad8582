"""What was agreed on with a provider is held against the rows that use it: how much is used, how much paid in vain."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from netra_fixtures.data import ThirdPartyData
from netra_workflows import Analysis, AnalysisPolicy, Bills, ContractUse, analyse, markdown, page, recommend

from .conftest import WriteBill
from .recount import amount, records, told

NOTHING_TO_BUY = AnalysisPolicy(offers=())
PLAN = "plan-1"
AGREED = {
    "ContractId": "contract-1", "ContractCommitmentId": PLAN, "ContractCommitmentType": "Savings Plan",
    "ContractCommitmentCost": "1000", "ContractCommitmentPeriodStart": "2026-03-01T00:00:00Z",
    "ContractCommitmentPeriodEnd": "2027-03-01T00:00:00Z", "BillingCurrency": "USD",
}  # fmt: skip


def agreed(path: Path, *rows: Mapping[str, str]) -> Path:
    """Write a file of contract commitments."""
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, list(AGREED))
        writer.writeheader()
        writer.writerows(AGREED | dict(row) for row in rows)
    return path


def of_plan(status: str, cost: str, **change: str) -> Mapping[str, str]:
    """Make usage that a commitment paid for, or what of it nobody used."""
    return {
        "BilledCost": "0", "EffectiveCost": cost, "PricingCategory": "Committed", "CommitmentDiscountId": PLAN,
        "CommitmentDiscountType": "Savings Plan", "CommitmentDiscountStatus": status, **change,
    }  # fmt: skip


def applied(*elements: tuple[str, str | None]) -> str:
    """Write the cell ContractApplied: commitments, each with the cost that counts there, or none told."""
    made = []
    for commitment, cost in elements:
        counts = "" if cost is None else f', "ContractCommitmentAppliedCost": {cost}'
        made.append(f'{{"ContractId": "contract-1", "ContractCommitmentId": "{commitment}"{counts}}}')
    return f'{{"Elements": [{", ".join(made)}]}}'


def judged(bills: Bills, *paths: Path) -> Analysis:
    """Read and judge files."""
    for path in paths:
        bills.ingest(path)
    return analyse(bills, NOTHING_TO_BUY)


def places(use: ContractUse) -> list[tuple[str, tuple[int, ...]]]:
    """Name the rows by which a commitment was used."""
    return [(rows.source, rows.records) for rows in use.rows]


@pytest.mark.parametrize("contract_first", [True, False])
def test_a_contract_knows_the_rows_that_use_it(
    bills: Bills, write_bill: WriteBill, tmp_path: Path, contract_first: bool
) -> None:
    """Of a plan it is told what was used and what is paid in vain, whichever file came first."""
    bill = write_bill(
        of_plan("Used", "30"), {}, of_plan("Unused", "8"), of_plan("Used", "5", CommitmentDiscountId="other"),
        of_plan("Used", "7", BillingCurrency="EUR", BillingAccountId="another"),
        {"ChargeCategory": "Purchase", "CommitmentDiscountId": PLAN, "BilledCost": "40", "EffectiveCost": "2"},
    )  # fmt: skip
    files = [agreed(tmp_path / "contracts.csv", {}), bill]

    analysis = judged(bills, *(files if contract_first else reversed(files)))

    [use] = analysis.contracts
    assert (use.contract, use.commitment, use.kind, use.cost) == ("contract-1", PLAN, "Savings Plan", 1000)
    assert (use.used, use.unused, use.utilisation) == (30, 10, Decimal("0.75"))
    assert use.coverage == Decimal("0.03")
    assert places(use) == [("bill.csv", (1, 3, 6))]
    advice = recommend(analysis)
    assert "| contract-1 | plan-1 | 1,000.00 USD | 30.00 USD | 10.00 USD |" in markdown(advice, analysis)
    assert all(told in page(advice, analysis) for told in ("contract-1", "30.00 USD", "75.0%"))


def test_a_row_counts_for_the_contracts_that_it_names(
    bills: Bills, write_bill: WriteBill, tmp_path: Path
) -> None:
    """A minimum spend is no discount: the rows that count towards it say so, and how much of them does."""
    rows = [
        {"BilledCost": "10", "ContractApplied": applied(("minimum", None))},
        {"BilledCost": "20", "ContractApplied": applied(("minimum", "4.5"), ("rates", "15.5"))},
        {**of_plan("Used", "3"), "ContractApplied": applied((PLAN, "3"))},
        {"BilledCost": "9", "ContractApplied": "{Elements"},
        {"BilledCost": "0.123456789012345678", "ContractApplied": applied(("rates", "0.123456789012345678"))},
    ]
    rows = [{"EffectiveCost": row.get("BilledCost", "0"), **row} for row in rows]
    contracts = agreed(
        tmp_path / "contracts.csv", *({"ContractCommitmentId": one} for one in ("minimum", "rates", PLAN))
    )

    analysis = judged(bills, contracts, write_bill(*rows, more=("ContractApplied",)))

    told = {use.commitment: (use.used, places(use)) for use in analysis.contracts}
    assert told == {
        "minimum": (Decimal("14.5"), [("bill.csv", (1, 2))]),
        "rates": (Decimal("15.623456789012345678"), [("bill.csv", (2, 5))]),
        PLAN: (3, [("bill.csv", (3,))]),
    }


def test_what_was_read_last_of_a_contract_counts(bills: Bills, write_bill: WriteBill, tmp_path: Path) -> None:
    """A contract that is told each month is one contract, as it was amended last."""
    first = agreed(tmp_path / "march.csv", {}, {"ContractCommitmentCost": "2000"})
    last = agreed(tmp_path / "april.csv", {"ContractCommitmentCost": "500"})

    analysis = judged(bills, first, last, write_bill(of_plan("Used", "30")))

    assert [(use.cost, use.used) for use in analysis.contracts] == [(500, 30)]


def test_a_contract_that_nothing_uses_is_told(bills: Bills, write_bill: WriteBill, tmp_path: Path) -> None:
    """What was agreed on and appears in no bill is worth a question, and divides nothing by zero."""
    analysis = judged(
        bills, agreed(tmp_path / "contracts.csv", {"ContractCommitmentCost": ""}), write_bill({})
    )

    [use] = analysis.contracts
    assert (use.used, use.unused, use.rows) == (0, 0, ())
    assert (use.utilisation, use.coverage) == (None, None)


def test_contracts_of_others_are_used_by_the_rows_that_say_so(third_party_data: ThirdPartyData) -> None:
    """Used, unused and the rows are those of csv and Decimal."""
    kinds = ("contract_commitment", "cost_and_usage")
    agreements, usage = (third_party_data.files("focus-generated", f"focus_1_3_{k}_*.csv.gz") for k in kinds)
    assert agreements
    for path in agreements:
        [bill] = [one for one in usage if one.name == path.name.replace(*kinds)]
        expected, rows = recounted(path, bill)

        with Bills.opened(threads=1) as bills:
            found = judged(bills, path, bill).contracts

        assert {use.commitment: (use.used, use.unused) for use in found} == expected
        assert {use.commitment: use.rows[0].records for use in found if use.rows} == rows
        third_party_data.read(path, cases=len(expected))


def recounted(contracts: Path, bill: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add up by csv and Decimal what each commitment was used for, and its rows."""
    known = {row["ContractCommitmentId"] for row in records(contracts)}
    sums, rows = {one: (Decimal(0), Decimal(0)) for one in known}, defaultdict(list)
    for number, row in enumerate(records(bill), start=1):
        named = {told(row, "CommitmentDiscountId"): None} | {
            one["ContractCommitmentId"]: one.get("ContractCommitmentAppliedCost")
            for one in json.loads(row["ContractApplied"] or '{"Elements": []}', parse_float=Decimal)[
                "Elements"
            ]
        }
        for one in known & {*named}:
            if row["ChargeCategory"] not in ("Usage", "Purchase"):
                continue
            rows[one].append(number)
            used, unused = sums[one]
            cost = amount(row["EffectiveCost"]) or Decimal(0)
            if row["CommitmentDiscountStatus"] == "Unused" or row["ChargeCategory"] == "Purchase":
                sums[one] = used, unused + cost
            else:
                counts = named[one]
                sums[one] = used + (cost if counts is None else Decimal(counts)), unused
    return sums, {one: tuple(own) for one, own in rows.items()}
