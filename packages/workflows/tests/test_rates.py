"""What a saving rests on is told: a published rate is its source's, and one of our own is called an assumption."""

import re
from collections import defaultdict
from decimal import Decimal
from importlib.resources import files

import pytest

from netra_fixtures.data import ThirdPartyData
from netra_workflows import Bills, analyse, findings_csv, markdown, recommend
from netra_workflows.columns import table
from netra_workflows.plan import known_offers

from .conftest import WriteBill
from .recount import records

SOURCES = files("netra_workflows").joinpath("tables", "SOURCES.md").read_text(encoding="utf-8")
DAYS = [f"2026-03-{day:02}T{hour:02}" for day in range(1, 9) for hour in range(24)]


def rate(rule: str) -> Decimal:
    """Give what a rule saves, as its table has it."""
    return next(Decimal(row["rate"]) for row in table("rules") if row["id"] == rule)


def test_every_rate_has_its_source_or_is_an_assumption() -> None:
    """Whoever checks a saving finds each of its rates, and what it rests on."""
    names = [row["id"] for row in table("rules") if row["id"] != "commitment_plan"]
    names += [row["family"] for row in table("families")] + [row["name"] for row in table("thresholds")]

    assert [name for name in names if f"`{name}`" not in SOURCES] == []
    for offer in known_offers():
        assumed = "assumption" if offer.basis.startswith("assumed:") else "source"
        assert f"| {offer.programme} | {offer.discount} | {assumed}" in SOURCES


@pytest.mark.parametrize(
    ("description", "assumed"),
    [("m4.large Instance Hour", True), ("(gp2) provisioned storage", False)],
    ids=["a previous generation", "gp2"],
)
def test_a_finding_says_that_its_rate_is_assumed(
    bills: Bills, write_bill: WriteBill, description: str, assumed: bool
) -> None:
    """Nobody takes a price of our memory for one that the provider published."""
    bills.ingest(write_bill({"ChargeDescription": description}))

    analysis = analyse(bills)

    [finding] = analysis.findings
    assert finding.saving > 0
    for told in (finding.why, findings_csv(analysis), markdown(recommend(analysis), analysis)):
        assert ("assumed: " in told) is assumed


@pytest.mark.parametrize(
    ("change", "assumed"),
    [
        ({"ChargeDescription": "m5.large Instance Hour"}, True),
        ({"ProviderName": "Google Cloud", "ServiceName": "Compute Engine", "ChargeDescription": "N2 Core"}, False),
    ],
    ids=["AWS", "Google Cloud"],
)  # fmt: skip
def test_a_plan_says_that_its_discount_is_assumed(
    bills: Bills, write_bill: WriteBill, change: dict[str, str], assumed: bool
) -> None:
    """A purchase for a year names the offer, and where its discount is from."""
    bills.ingest(
        write_bill(
            *(
                {**change, "ChargePeriodStart": f"{hour}:00:00Z", "ChargePeriodEnd": f"{hour}:59:59Z"}
                for hour in DAYS
            )
        )
    )

    [finding] = [one for one in analyse(bills).findings if one.rule.id == "commitment_plan"]

    assert finding.saving > 0
    assert ("assumed: " in finding.why) is assumed


def test_gp3_costs_less_by_the_rate_in_published_prices(third_party_data: ThirdPartyData) -> None:
    """In every region whose prices of both a published bill shows, gp3 is cheaper by just the rate."""
    for path in third_party_data.files("focus-sample-1.0", "*.csv"):
        prices: dict[str, dict[str, Decimal]] = defaultdict(dict)
        for row in records(path):
            if kind := re.search(r"\((gp[23])\) provisioned storage", row["ChargeDescription"]):
                prices[row["RegionId"]][kind[1]] = Decimal(row["ListUnitPrice"])
        both = [(own["gp2"], own["gp3"]) for own in prices.values() if len(own) == 2]

        assert {1 - new / old for old, new in both} <= {rate("aws_gp2")}
        third_party_data.read(path, cases=len(both))


def test_a_standard_snapshot_costs_less_by_the_published_rate(third_party_data: ThirdPartyData) -> None:
    """The rule says how much itself."""
    for path in third_party_data.files("savings-rules", "thrifty_controls.csv"):
        [told] = [
            row for row in records(path) if row["control_id"] == "compute_disk_snapshot_storage_standard"
        ]

        assert f"save {rate('azure_premium_snapshot') * 100:.0f}%" in told["description"]
        third_party_data.read(path, cases=1)
