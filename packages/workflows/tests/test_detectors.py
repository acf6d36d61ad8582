"""Each rule fires on the row that it is about, and on no neighbour of that row."""

from decimal import Decimal
from typing import NamedTuple

import pytest

from netra_workflows import Analysis, AnalysisPolicy, Bills, Finding, analyse

from .conftest import WriteBill, written

NOTHING_TO_BUY = AnalysisPolicy(offers=())
Row = dict[str, str]

GP2 = {"ChargeDescription": "$0.10 per GB-month of General Purpose SSD (gp2) provisioned storage - US East",
       "PricingUnit": "GB-Months"}  # fmt: skip
GP3 = {
    **GP2,
    "ChargeDescription": "$0.08 per GB-month of General Purpose (gp3) provisioned storage - US East",
}
RDS_GP2 = {**GP2, "ServiceName": "Amazon Relational Database Service"}
IDLE = {"ServiceName": "Amazon Virtual Private Cloud",
        "ChargeDescription": "$0.005 per Idle public IPv4 address per hour"}  # fmt: skip
IN_USE = {**IDLE, "ChargeDescription": "$0.005 per In-use public IPv4 address per hour"}
M4 = {"ChargeDescription": "$0.10 per On Demand Linux m4.large Instance Hour"}
M5 = {"ChargeDescription": "$0.096 per On Demand Linux m5.large Instance Hour"}
M4_SOFTWARE = {"ChargeDescription": "AWS Marketplace hourly software usage|us-east-1|m4.large",
               "ServiceName": "Red Hat OpenShift Service on AWS"}  # fmt: skip
DB_M4 = {"ServiceName": "Amazon Relational Database Service",
         "ChargeDescription": "$0.175 per db.m4.large Single-AZ instance hour (or partial hour)"}  # fmt: skip
EXTENDED = {"ServiceName": "Amazon Relational Database Service",
            "ChargeDescription": "$0.10 per vCPU-hour of RDS Extended Support for MySQL 5.7"}  # fmt: skip
SNAPSHOT = {"ProviderName": "Microsoft", "ServiceName": "Storage", "PricingUnit": "GB/Month",
            "ChargeDescription": "Premium SSD Managed Disks - Snapshots LRS - US East"}  # fmt: skip
DISK = {**SNAPSHOT, "ChargeDescription": "Premium SSD Managed Disks - P10 LRS - US East"}
STATIC = {
    "ProviderName": "Google Cloud",
    "ServiceName": "Compute Engine",
    "ChargeDescription": "Static Ip Charge",
}
TRAIL = {"ServiceName": "AWS CloudTrail", "ChargeDescription": "$0.00002 per paid event recorded in US East",
         "PricingUnit": "Events"}  # fmt: skip
FREE_TRAIL = {**TRAIL, "ChargeDescription": "0.0 per free event recorded in US East", "BilledCost": "0"}


def found(bills: Bills, policy: AnalysisPolicy = NOTHING_TO_BUY) -> dict[str, Finding]:
    """Analyse, and give findings by rule; a rule occurs once in these tests."""
    findings = analyse(bills, policy).findings
    by_rule = {finding.rule.id: finding for finding in findings}
    assert len(by_rule) == len(findings)
    return by_rule


FIRES: list[tuple[str, Row, Row, str]] = [
    ("aws_gp2", GP2, GP3, "2"),
    ("aws_gp2", GP2, RDS_GP2, "2"),
    ("aws_idle_address", IDLE, IN_USE, "10"),
    ("aws_previous_generation", M4, M5, "0.4"),
    ("aws_previous_generation", M4, M4_SOFTWARE, "0.4"),
    ("aws_db_previous_generation", DB_M4, M5, "0.22857"),
    ("aws_extended_support", EXTENDED, {**EXTENDED, "ServiceName": "Amazon Elastic Compute Cloud"}, "10"),
    ("azure_premium_snapshot", SNAPSHOT, DISK, "6"),
    (
        "gcp_idle_address",
        STATIC,
        {**STATIC, "ChargeDescription": "External IP Charge on a Standard VM"},
        "10",
    ),
    ("aws_trails", TRAIL, FREE_TRAIL, "10"),
]
NO_WASTE: list[Row] = [
    {"ChargeCategory": "Credit"},
    {"ChargeCategory": "Tax"},
    {"ChargeCategory": "Adjustment"},
    {"ChargeCategory": "Purchase"},
    {"ChargeClass": "Correction"},
    {"BilledCost": "0"},
    {"BilledCost": "-1"},
    {"CommitmentDiscountStatus": "Used", "CommitmentDiscountId": "plan"},
    {"PricingCategory": "Committed"},
    {"ProviderName": "Oracle"},
]
REFUNDS = [("-9.99", "0.01"), ("-10", None), ("-10.01", None)]
NAT = {"ChargeDescription": "$0.045 per NAT Gateway Hour", "ResourceId": "nat-1"}
NAT_DATA = {"ChargeDescription": "$0.045 per GB Data Processed by NAT Gateways", "PricingUnit": "GB",
            "ResourceId": "nat-1"}  # fmt: skip
BALANCER = {"ChargeDescription": "$0.0225 per Application LoadBalancer-hour (or partial hour)", "ResourceId": "lb-1",
            "ServiceName": "Elastic Load Balancing"}  # fmt: skip
CAPACITY = {**BALANCER, "PricingUnit": "LCU-Hours",
            "ChargeDescription": "$0.008 per used Application load balancer capacity unit-hour"}  # fmt: skip
IDLE_THINGS = [("aws_idle_nat", NAT, NAT_DATA), ("aws_idle_load_balancer", BALANCER, CAPACITY)]
TRAFFIC: list[tuple[str, str | None, str, bool]] = [
    ("168", None, "", True), ("167.999", None, "", False), ("168", "0", "", True), ("168", "0.000001", "", False),
    ("168", "5", "elsewhere", True),
]  # fmt: skip
PLAN = {"CommitmentDiscountId": "plan-1", "CommitmentDiscountType": "Savings Plan", "ResourceId": "plan-1"}
BOUGHT = {
    **PLAN,
    "ChargeCategory": "Purchase",
    "EffectiveCost": "0",
    "PricingCategory": "",
    "BilledCost": "10",
}
USED = {**PLAN, "CommitmentDiscountStatus": "Used", "PricingCategory": "Committed", "BilledCost": "0"}
UNUSED = {**USED, "CommitmentDiscountStatus": "Unused"}
COMMITMENTS = [("10", "4", "4", "4"), ("3", "4", "4", "3"), ("0", "4", "4", "0"), ("10", "0", None, None)]
TAGS = [
    ("", False), ("{}", False), ("NULL", False), ("no json", False), ("[]", False), ('{"team": "web"}', True),
    ('[{"key": "a", "value": "b"}]', True), ('{"team": ""}', True),
]  # fmt: skip


def cases() -> dict[str, list[Row]]:
    """Give the rows of every case; each is an account of its own in one bill."""
    made: dict[str, list[Row]] = {}
    for number, (_, fires, neighbour, _) in enumerate(FIRES):
        made[f"fires {number}"] = [neighbour, fires, neighbour]
    for number, change in enumerate(NO_WASTE):
        made[f"no waste {number}"] = [IDLE | change]
    for refunded, _ in REFUNDS:
        made[f"refund {refunded}"] = [IDLE, IDLE | {"BilledCost": refunded}]
    for rule, there, at_work in IDLE_THINGS:
        for number, (hours, traffic, elsewhere, _) in enumerate(TRAFFIC):
            rows = [there | {"PricingQuantity": hours}]
            if traffic is not None:
                other = {"ResourceId": elsewhere} if elsewhere else {}
                rows.append(at_work | {"PricingQuantity": traffic, "BilledCost": "0"} | other)
            made[f"{rule} {number}"] = rows
    for number, (bought, unused, _, _) in enumerate(COMMITMENTS):
        own = {"CommitmentDiscountId": f"plan-{number}"}
        made[f"plan {number}"] = [
            BOUGHT | own | {"BilledCost": bought}, USED | own | {"EffectiveCost": str(10 - int(unused))},
            UNUSED | own | {"EffectiveCost": unused},
        ]  # fmt: skip
    for tags, _ in TAGS:
        made[f"tags {tags}"] = [{"Tags": tags}, {"Tags": tags, "ChargeCategory": "Tax"}]
    return made


class Judged(NamedTuple):
    """One bill of all cases: findings by case, with rows counted within their case."""

    findings: dict[str, dict[str, Finding]]
    records: dict[str, dict[str, tuple[int, ...]]]
    analysis: Analysis


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Judge all cases in one bill: none may be moved by its neighbours."""
    rows, first = [], {}
    for case, own in cases().items():
        first[case] = len(rows)
        rows += [row | {"SubAccountId": case} for row in own]
    with Bills.opened(threads=1) as bills:
        bills.ingest(written(tmp_path_factory.mktemp("bills") / "cases.csv", *rows))
        analysis = analyse(bills, NOTHING_TO_BUY)
    findings: dict[str, dict[str, Finding]] = {case: {} for case in first}
    records: dict[str, dict[str, tuple[int, ...]]] = {case: {} for case in first}
    for finding in analysis.findings:
        findings[finding.account][finding.rule.id] = finding
        own_rows = (record - first[finding.account] for rows_ in finding.rows for record in rows_.records)
        records[finding.account][finding.rule.id] = tuple(own_rows)
    return Judged(findings, records, analysis)


@pytest.mark.parametrize(
    "number", range(len(FIRES)), ids=[f"{n} {fires[0]}" for n, fires in enumerate(FIRES)]
)
def test_a_rule_fires_on_its_row_and_not_on_the_next_one(judged: Judged, number: int) -> None:
    """Of two rows that look alike only the wasteful one is called waste, with what the rule saves."""
    rule, _, _, saving = FIRES[number]
    case = f"fires {number}"

    assert judged.records[case] == {rule: (2,)}
    finding = judged.findings[case][rule]
    assert finding.saving == Decimal(saving)
    assert finding.billed == finding.at_stake == Decimal(10)
    assert finding.rule.published in finding.why


@pytest.mark.parametrize(
    "number", range(len(NO_WASTE)), ids=[f"{n} {change}" for n, change in enumerate(NO_WASTE)]
)
def test_what_is_no_usage_paid_on_demand_is_no_waste(judged: Judged, number: int) -> None:
    """Credits, taxes, refunds, purchases and what a commitment paid for are nobody's idle machine."""
    assert judged.findings[f"no waste {number}"] == {}


@pytest.mark.parametrize(("refunded", "saving"), REFUNDS)
def test_what_a_provider_took_back_is_not_saved_again(
    judged: Judged, refunded: str, saving: str | None
) -> None:
    """A resource whose rows come to nothing has nothing to save."""
    found = {rule: finding.saving for rule, finding in judged.findings[f"refund {refunded}"].items()}

    assert found == ({"aws_idle_address": Decimal(saving)} if saving else {})


@pytest.mark.parametrize("rule", [rule for rule, *_ in IDLE_THINGS])
@pytest.mark.parametrize("number", range(len(TRAFFIC)))
def test_a_thing_is_idle_when_nothing_passed_through_it_for_a_week(
    judged: Judged, rule: str, number: int
) -> None:
    """An hour without traffic is no proof, a week is; traffic of another gateway is no excuse."""
    findings = judged.findings[f"{rule} {number}"]

    assert set(findings) == ({rule} if TRAFFIC[number][3] else set())
    assert all(finding.saving == Decimal(10) for finding in findings.values())


@pytest.mark.parametrize("number", range(len(COMMITMENTS)))
def test_what_of_a_commitment_is_unused_is_at_stake_up_to_what_it_was_billed(
    judged: Judged, number: int
) -> None:
    """A purchase and the use of it are one and the same money; only what was paid in this bill could be saved."""
    bought, unused, at_stake, saving = COMMITMENTS[number]

    [use] = [own for own in judged.analysis.commitments if own.commitment == f"plan-{number}"]
    assert (use.used, use.unused, use.purchased) == (10 - Decimal(unused), Decimal(unused), Decimal(bought))
    assert use.utilisation == use.used / 10
    assert [(f.rule.id, f.at_stake, f.saving) for f in judged.findings[f"plan {number}"].values()] == (
        [("unused_commitment", Decimal(at_stake), Decimal(saving))] if at_stake and saving else []
    )
    assert list(judged.records[f"plan {number}"].values()) == ([(1, 3)] if at_stake else [])


@pytest.mark.parametrize(("tags", "owned"), TAGS)
def test_usage_without_a_tag_is_nobodys(judged: Judged, tags: str, owned: bool) -> None:
    """What bears no tag can't be charged to a team; it is shown, and not called a saving."""
    case = f"tags {tags}"

    assert judged.records[case] == ({} if owned else {"untagged": (1,)})
    assert [(f.saving, f.at_stake) for f in judged.findings[case].values()] == ([] if owned else [(0, 10)])


def test_coverage_is_what_commitments_pay_of_what_they_could(bills: Bills, write_bill: WriteBill) -> None:
    """Machines by the hour count, covered or not; disks, taxes and the purchase itself don't."""
    bills.ingest(
        write_bill(
            BOUGHT,
            USED | M5 | {"EffectiveCost": "6"},
            M5 | {"EffectiveCost": "2"},
            GP3,
            {"ChargeCategory": "Tax"},
        )
    )

    [coverage] = analyse(bills, NOTHING_TO_BUY).coverage

    assert (coverage.provider, coverage.covered, coverage.eligible) == ("AWS", Decimal(6), Decimal(8))
    assert coverage.uncovered == Decimal(2)


def test_untagged_usage_is_told_by_provider(bills: Bills, write_bill: WriteBill) -> None:
    """Whoever asks how much is nobody's gets a sum beside the whole."""
    bills.ingest(write_bill({"Tags": ""}, {}, {"Tags": "", "ChargeCategory": "Tax"}))

    [tagging] = analyse(bills, NOTHING_TO_BUY).tagging

    assert (tagging.usage, tagging.untagged, tagging.untagged_rows) == (Decimal(20), Decimal(10), 1)


def test_a_bill_without_a_column_for_tags_says_nothing_about_them(
    bills: Bills, write_bill: WriteBill
) -> None:
    """What an export doesn't tell is not held against its owner."""
    bills.ingest(write_bill({}, without=("Tags",)))

    assert analyse(bills, NOTHING_TO_BUY).tagging == ()
    assert found(bills) == {}


def test_a_row_that_two_rules_doubt_belongs_to_one(bills: Bills, write_bill: WriteBill) -> None:
    """An untagged volume of an old type is one finding, and so is its money."""
    bills.ingest(write_bill(GP2 | {"Tags": ""}, {"Tags": ""}))

    findings = found(bills)

    assert {rule: finding.rows[0].records for rule, finding in findings.items()} == {
        "aws_gp2": (1,),
        "untagged": (2,),
    }


def test_accounts_and_currencies_are_findings_of_their_own(bills: Bills, write_bill: WriteBill) -> None:
    """Whoever pays sees what they could save, in their own money."""
    euro = {"BillingCurrency": "EUR", "BillingAccountId": "europe"}
    bills.ingest(
        write_bill(IDLE, IDLE | {"SubAccountId": "lab"}, IDLE | euro, IDLE | {"ResourceId": "thing-2"})
    )

    findings = analyse(bills, NOTHING_TO_BUY).findings

    assert sorted((f.account, f.currency, f.saving, len(f.resources)) for f in findings) == [
        ("lab", "USD", Decimal(10), 1), ("shop", "EUR", Decimal(10), 1), ("shop", "USD", Decimal(20), 2),
    ]  # fmt: skip


def test_findings_are_ranked_by_what_they_save(bills: Bills, write_bill: WriteBill) -> None:
    """The first line of a report is the one to act on first."""
    bills.ingest(write_bill({"Tags": ""}, GP2, IDLE, M4))

    assert list(found(bills)) == ["aws_idle_address", "aws_gp2", "aws_previous_generation", "untagged"]


def test_an_analyser_asked_twice_says_the_same(bills: Bills, write_bill: WriteBill) -> None:
    """Asking again, also after another bill, changes nothing that was said of the first."""
    bills.ingest(write_bill(GP2, IDLE))
    first = analyse(bills)

    assert analyse(bills) == first
    bills.ingest(write_bill({}, name="other.csv"))
    assert analyse(bills).findings == first.findings
