"""Other people's bills are read and judged as an independent recount does it, whatever rows they hold."""

import json
from collections import defaultdict
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from netra_fixtures.data import ThirdPartyData
from netra_workflows import Analysis, AnalysisPolicy, Bills, Format, Ingested, UnknownColumns, analyse

from . import doubts
from .recount import Charge, amount, by_provider, charges, focus, instant, records, told

NOTHING_TO_BUY = AnalysisPolicy(offers=())
FOCUS = (
    ("focus-sample-1.0", "*.csv"),
    ("focus-generated", "focus_*_cost_and_usage_*.csv.gz"),
    ("focus-spec-scenarios", "ai_billing/*.csv"),
    ("focus-spec-scenarios", "commitment_discount_flexibility/*.csv"),
    ("focus-spec-scenarios", "commitment_discount_scenarios/*.csv"),
    ("focus-spec-scenarios", "commitment_eligibility/*.csv"),
    ("focus-spec-scenarios", "saas_examples/*_agreements/*.csv"),
    ("focus-spec-scenarios", "saas_examples/virtual_currency_*.csv"),
)
RAW = (
    ("aws_cur_*.csv.gz", Format.AWS),
    ("nise_aws_*.csv.gz", Format.AWS),
    ("azure_ea_*.csv.gz", Format.AZURE),
    ("azure_ea_*_small.csv", Format.AZURE),
    ("azure_header_variants/headersets_*.csv", Format.AZURE),
    ("azure_header_variants/values_*.csv", Format.AZURE),
    ("nise_azure_*.csv.gz", Format.AZURE),
    ("nise_gcp_*.csv.gz", Format.GCP),
)
AZURE_COSTS = (
    "CostInBillingCurrency",
    "costInBillingCurrency",
    "costinbillingcurrency",
    "Cost",
    "PreTaxCost (PreTaxCost)",
)
AZURE_CURRENCIES = ("BillingCurrencyCode", "BillingCurrency", "Currency")


def billed(bills: Bills) -> dict[tuple[str, str], Decimal]:
    return {(total.provider, total.currency): total.billed for total in bills.totals()}


def rounded_to_18(rows: dict[tuple[str, str], Decimal]) -> dict[tuple[str, str], Decimal]:
    return {key: value.quantize(Decimal("0.000000000001")) for key, value in rows.items()}


class Judged(NamedTuple):
    """What the package says of a bill, and what a recount does."""

    read: Ingested
    refused: list[int]
    totals: dict[tuple[str, str], Decimal]
    analysis: Analysis
    expected: list[Charge | int]

    @property
    def rows(self) -> list[Charge]:
        return [row for row in self.expected if isinstance(row, Charge)]


@cache
def judged(path: Path) -> Judged:
    """Read a bill in both ways, once."""
    with Bills.opened(threads=1) as bills:
        read = bills.ingest(path)
        refused = [refusal.record for refusal in bills.refusals(read.source)]
        return Judged(read, refused, billed(bills), analyse(bills, NOTHING_TO_BUY), list(focus(path)))


@pytest.mark.parametrize(("part", "pattern"), FOCUS)
def test_a_focus_bill_is_read_and_judged_as_in_a_recount(
    third_party_data: ThirdPartyData, part: str, pattern: str
) -> None:
    """Totals, refused rows, commitments and every finding with its rows are those of plain Python, csv and Decimal."""
    for path in third_party_data.files(part, pattern):
        bill = judged(path)

        assert bill.totals == by_provider(bill.rows), path.name
        assert bill.refused == [row for row in bill.expected if isinstance(row, int)]
        assert bill.read.rows + bill.read.refused == len(bill.expected)
        _commitments_add_up(bill)
        _findings_are_the_same(bill)
        third_party_data.read(path, cases=len(bill.expected))


def _findings_are_the_same(bill: Judged) -> None:
    expected = doubts.findings(_as_billed(bill.rows))
    found = {(f.rule.id, f.provider, f.account, f.currency): f for f in bill.analysis.findings}
    assert found.keys() == expected.keys()
    for key, (amount_, saving, proof) in expected.items():
        assert {record for own in found[key].rows for record in own.records} == proof, key
        assert found[key].billed == amount_
        assert abs(found[key].saving - saving) < Decimal("1e-12")


def _commitments_add_up(bill: Judged) -> None:
    expected: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for row in _as_billed(bill.rows):
        if row.commitment and row.category in {"Usage", "Purchase"}:
            used, unused, bought = expected[row.provider, row.commitment]
            expected[row.provider, row.commitment] = [
                used + (row.effective if row.status == "Used" else 0),
                unused + (row.effective if row.status == "Unused" or row.category == "Purchase" else 0),
                bought + (row.billed if row.category == "Purchase" else 0),
            ]
    found = bill.analysis.commitments
    assert {(c.provider, c.commitment): [c.used, c.unused, c.purchased] for c in found} == expected


@pytest.mark.parametrize(("pattern", "format"), RAW)
def test_a_raw_export_is_recognised_and_adds_up(
    third_party_data: ThirdPartyData, pattern: str, format: Format
) -> None:
    """An export that no tool has mapped to FOCUS yet is known by its columns, and costs what it says."""
    for path in third_party_data.files("billing-exports-raw", pattern):
        rows = list(records(path))
        with Bills.opened(threads=1) as bills:
            read = bills.ingest(path)

            assert read.format is format
            assert (read.rows, read.refused) == (len(rows), 0)
            assert rounded_to_18(billed(bills)) == rounded_to_18(_raw_sums(rows, format)), path.name
            assert _hours(bills) == _raw_hours(rows, format)
        third_party_data.read(path, cases=len(rows))


def _raw_sums(rows: list[dict[str, str]], format: Format) -> dict[tuple[str, str], Decimal]:
    provider = {Format.AWS: "AWS", Format.AZURE: "Microsoft", Format.GCP: "Google Cloud"}[format]
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        if format is Format.AWS:
            cost, currency = (
                told(row, "lineItem/NetUnblendedCost", "lineItem/UnblendedCost"),
                told(row, "lineItem/CurrencyCode"),
            )
        elif format is Format.AZURE:
            cost, currency = told(row, *AZURE_COSTS), told(row, *AZURE_CURRENCIES)
        else:
            cost, currency = told(row, "cost"), told(row, "currency")
        value = amount(cost)
        assert value is not None
        sums[provider, currency or "XXX"] += value
    return dict(sums)


def _raw_hours(rows: list[dict[str, str]], format: Format) -> Decimal:
    """Add up how long all charges lasted."""
    hours = Decimal(0)
    for row in rows:
        if format is Format.AZURE:
            assert instant(told(row, "Date", "date", "UsageDateTime", "UsageDateTime (UsageDateTime)"))
            hours += 24
        else:
            names = (
                ("lineItem/UsageStartDate", "lineItem/UsageEndDate")
                if format is Format.AWS
                else ("usage_start_time", "usage_end_time")
            )
            started, ended = (instant(told(row, name)) for name in names)
            assert started is not None
            assert ended is not None
            hours += Decimal((ended - started).total_seconds()) / 3600
    return hours.quantize(Decimal("0.001"))


def _hours(bills: Bills) -> Decimal:
    [[seconds]] = bills.connection.execute("select sum(epoch(ended - started)) from charge").fetchall()
    return (Decimal(repr(seconds)) / 3600).quantize(Decimal("0.001"))


def test_an_export_of_a_provider_that_is_not_read_yet_is_reported(third_party_data: ThirdPartyData) -> None:
    """Oracle's own export is named as unknown, and not guessed at."""
    for path in third_party_data.files("billing-exports-raw", "oci_*.csv.gz"):
        with Bills.opened(threads=1) as bills, pytest.raises(UnknownColumns):
            bills.ingest(path)
        third_party_data.read(path, cases=1)


def test_contract_commitments_of_focus_1_3_are_read(third_party_data: ThirdPartyData) -> None:
    """What was agreed on is kept beside the bill, and is no charge of it."""
    for path in third_party_data.files("focus-generated", "focus_*_contract_commitment_*.csv.gz"):
        rows = list(records(path))
        with Bills.opened(threads=1) as bills:
            read = bills.ingest(path)
            [[kept, cost]] = bills.connection.execute("select count(*), sum(cost) from contract").fetchall()

        assert (read.format, read.rows, read.totals) == (Format.CONTRACTS, len(rows), ())
        assert (kept, cost) == (
            len(rows),
            sum(amount(told(row, "ContractCommitmentCost")) or 0 for row in rows),
        )
        third_party_data.read(path, cases=len(rows))


def _as_billed(rows: list[Charge]) -> list[Charge]:
    """Let BilledCost stand for EffectiveCost where a provider rounds that to whole dollars."""
    own: dict[str, list[Charge]] = defaultdict(list)
    for row in rows:
        if row.category == "Usage" and row.status is None and row.billed != int(row.billed):
            own[row.provider].append(row)
    round_ = {
        p for p, some in own.items() if len(some) > 1 and all(r.effective == int(r.effective) for r in some)
    }
    return [
        Charge(**{**vars(row), "effective": row.billed})
        if row.provider in round_ and row.status is None and row.category == "Usage"
        else row
        for row in rows
    ]


def test_eligible_spend_that_nothing_covers_is_that_of_the_rows(third_party_data: ThirdPartyData) -> None:
    """Where a bill tells what each row is eligible for, coverage is told by provider and programme."""
    for path in third_party_data.files("focus-spec-scenarios", "commitment_eligibility/*.csv"):
        expected: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
        for row in records(path):
            details, cost = (
                told(row, "CommitmentProgramEligibilityDetails"),
                amount(told(row, "EffectiveCost")),
            )
            if details and cost is not None and told(row, "ChargeCategory") == "Usage":
                programmes = {one["ProgramType"] for one in json.loads(details)["CommitmentPrograms"]}
                for programme in {*programmes, "any"}:
                    covered, eligible = expected[
                        told(row, "ServiceProviderName", "ProviderName") or "", programme
                    ]
                    used = told(row, "CommitmentDiscountStatus") == "Used"
                    if used or (
                        told(row, "CommitmentDiscountStatus") is None
                        and told(row, "PricingCategory") == "Standard"
                    ):
                        expected[told(row, "ServiceProviderName", "ProviderName") or "", programme] = [
                            covered + (cost if used else 0), eligible + cost
                        ]  # fmt: skip
        found = judged(path).analysis.coverage

        assert {(c.provider, c.programme): [c.covered, c.eligible] for c in found} == expected
        third_party_data.read(path, cases=len(expected))


def test_all_bills_of_a_folder_are_read_side_by_side(third_party_data: ThirdPartyData) -> None:
    """A company's clouds are analysed together: totals are the sums of the files, and each keeps its rows."""
    paths: list[Path] = third_party_data.files("focus-generated", "focus_1_3_cost_and_usage_*.csv.gz")
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with Bills.opened(threads=1) as bills:
        for path in paths:
            bills.ingest(path)
            for key, value in by_provider(charges(path)).items():
                sums[key] += value
            third_party_data.read(path, cases=1)

        assert billed(bills) == dict(sums)
        assert {rows.source for f in analyse(bills).findings for rows in f.rows} <= {
            path.name for path in paths
        }
