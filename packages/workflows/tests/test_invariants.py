"""Whatever a bill holds, what is found in it never claims more than was billed, and no money twice."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netra_fixtures.data import ThirdPartyData
from netra_workflows import Analysis, Bills, analyse
from netra_workflows.generator import Bill

from .conftest import ROW, WriteBill
from .test_detectors import (
    BALANCER,
    BOUGHT,
    CAPACITY,
    DB_M4,
    GP2,
    IDLE,
    M4,
    M5,
    NAT,
    NAT_DATA,
    SNAPSHOT,
    STATIC,
    TRAIL,
    UNUSED,
    USED,
)  # fmt: skip

KINDS = (
    BALANCER,
    BOUGHT,
    CAPACITY,
    DB_M4,
    GP2,
    IDLE,
    M4,
    M5,
    NAT,
    NAT_DATA,
    SNAPSHOT,
    STATIC,
    TRAIL,
    UNUSED,
    USED,
    {},
)
DATA = (
    ("focus-sample-1.0", "*.csv"),
    ("focus-generated", "focus_*_cost_and_usage_*.csv.gz"),
    ("focus-spec-scenarios", "*/*.csv"),
    ("focus-spec-scenarios", "*/*/*.csv"),
    ("billing-exports-raw", "aws_cur_*.csv.gz"),
    ("billing-exports-raw", "azure_ea_*.csv*"),
    ("billing-exports-raw", "azure_header_variants/*.csv"),
    ("billing-exports-raw", "nise_*.csv.gz"),
)


def hold(bills: Bills, analysis: Analysis) -> None:
    """Hold an analysis against the rows of its bills, by SQL of its own."""
    seen: Counter[tuple[str, int]] = Counter()
    for finding in analysis.findings:
        billed = Decimal(0)
        for rows in finding.rows:
            seen.update((rows.source, record) for record in rows.records)
            found = bills.connection.execute(
                "select billed, category, commitment_status, correction, currency, provider from charge"
                " join meter using (meter_id) join source using (source_id)"
                " where name = ? and list_contains(?, record)",
                [rows.source, list(rows.records)],
            ).fetchall()
            assert len(found) == len(rows.records)
            for amount, category, status, correction, currency, provider in found:
                billed += amount
                assert (currency, provider) == (finding.currency, finding.provider)
                if finding.rule.id == "unused_commitment":
                    assert category == "Purchase" or (category, status) == ("Usage", "Unused")
                else:
                    assert (category, status, correction) == ("Usage", None, False)
        assert Decimal(0) <= finding.saving <= finding.billed == billed
        assert finding.at_stake >= finding.saving
    assert max(seen.values(), default=1) == 1, "a row is counted by two findings"
    for total in analysis.totals:
        saved = sum(
            f.saving
            for f in analysis.findings
            if (f.provider, f.currency) == (total.provider, total.currency)
        )
        assert saved <= total.usage + total.purchases - min(
            0, _negative(bills, total.provider, total.currency)
        )


def _negative(bills: Bills, provider: str, currency: str) -> Decimal:
    """What was taken back of usage and purchases: rows that no finding holds may lower a total."""
    [[sum_]] = bills.connection.execute(
        "select coalesce(sum(billed), 0) from charge join meter using (meter_id) where provider = ? and currency = ?"
        " and billed < 0 and category in ('Usage', 'Purchase')",
        [provider, currency],
    ).fetchall()
    return Decimal(sum_)


cells = st.fixed_dictionaries(
    {},
    optional={
        "BilledCost": st.decimals(-100, 1000, places=4).map(str),
        "EffectiveCost": st.decimals(0, 1000, places=4).map(str),
        "PricingQuantity": st.sampled_from(["0", "1", "100", "168", "500"]),
        "ChargeCategory": st.sampled_from(["Usage", "Purchase", "Tax", "Credit", "Adjustment"]),
        "ChargeClass": st.sampled_from(["", "Correction"]),
        "SubAccountId": st.sampled_from(["shop", "lab"]),
        "ResourceId": st.sampled_from(["", "thing-1", "nat-1", "lb-1"]),
        "BillingCurrency": st.sampled_from(["USD", "EUR"]),
        "CommitmentDiscountStatus": st.sampled_from(["", "Used", "Unused"]),
        "CommitmentDiscountId": st.sampled_from(["", "plan-1", "plan-2"]),
        "PricingCategory": st.sampled_from(["Standard", "Committed", "Dynamic", ""]),
        "Tags": st.sampled_from(["", "{}", '{"team": "web"}']),
        "ChargePeriodStart": st.integers(1, 20).map(lambda day: f"2026-03-{day:02}T00:00:00Z"),
        "ChargePeriodEnd": st.integers(20, 28).map(lambda day: f"2026-03-{day:02}T01:00:00Z"),
    },
)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(st.sampled_from(KINDS), cells), min_size=1, max_size=25))
def test_no_bill_makes_findings_claim_what_they_may_not(
    write_bill: WriteBill, rows: list[tuple[dict[str, str], dict[str, str]]]
) -> None:
    """Rows drawn at random, of all kinds, categories, signs and currencies: the invariants hold."""
    drawn = [kind | change for kind, change in rows]
    own = [row | {"BillingAccountId": (ROW | row)["BillingCurrency"]} for row in drawn]
    with Bills.opened(threads=1) as bills:
        bills.ingest(write_bill(*own))

        hold(bills, analyse(bills))


@pytest.mark.soak
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(st.sampled_from(KINDS), cells), min_size=1, max_size=60))
def test_no_bill_of_hundreds_makes_findings_claim_what_they_may_not(
    write_bill: WriteBill, rows: list[tuple[dict[str, str], dict[str, str]]]
) -> None:
    """The same, for hundreds of bills."""
    test_no_bill_makes_findings_claim_what_they_may_not.hypothesis.inner_test(write_bill, rows)  # type: ignore[attr-defined]


def test_the_invariants_hold_on_a_generated_bill_of_three_clouds(bills: Bills, tmp_path: Path) -> None:
    """With waste, commitments, anomalies and missing tags at once, nothing is counted twice."""
    path = tmp_path / "bill.csv.gz"
    Bill(5, rows=3000).write(path)
    bills.ingest(path)

    analysis = analyse(bills)

    assert len({finding.rule.id for finding in analysis.findings}) >= 7
    hold(bills, analysis)


@pytest.mark.parametrize(("part", "pattern"), DATA)
def test_the_invariants_hold_on_other_peoples_bills(
    third_party_data: ThirdPartyData, part: str, pattern: str
) -> None:
    """On any folder of that shape: savings within what was billed, no row twice, no currencies mixed."""
    paths = third_party_data.files(part, pattern)
    with Bills.opened(threads=1) as bills:
        for path in paths:
            third_party_data.read(path, cases=bills.ingest(path, name=path.name).rows)

        hold(bills, analyse(bills))
