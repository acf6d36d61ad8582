"""A reader gets a plan whose every figure follows from the bills, and a report that no bill can write in."""

import csv
import io
from collections.abc import Iterator
from decimal import Decimal

import pytest

from netra_workflows import Analysis, AnalysisPolicy, Bills, analyse
from netra_workflows.advice import EffortCost, Wave, recommend
from netra_workflows.generator import Bill
from netra_workflows.inventory import InventoryFinding
from netra_workflows.model import Certainty, Effort, Rows
from netra_workflows.report import findings_csv, markdown
from netra_workflows.tokens import Alternative, TokenSpend

from .conftest import WriteBill
from .test_detectors import EXTENDED, GP2, IDLE, M4

NOTHING_TO_BUY = AnalysisPolicy(offers=())
NEXT_MONTH = {
    "BillingPeriodStart": "2026-04-01T00:00:00Z", "ChargePeriodStart": "2026-04-02T00:00:00Z",
    "ChargePeriodEnd": "2026-04-02T01:00:00Z",
}  # fmt: skip


@pytest.fixture(scope="module")
def three_clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bills]:
    """A generated bill of three clouds, read."""
    path = tmp_path_factory.mktemp("bills") / "bill.csv"
    Bill(21, rows=2500).write(path)
    with Bills.opened(threads=1) as bills:
        bills.ingest(path)
        yield bills


@pytest.fixture(scope="module")
def generated(three_clouds: Bills) -> Analysis:
    """What is found in it."""
    return analyse(three_clouds)


def test_every_figure_of_a_recommendation_is_a_sum_of_rows(three_clouds: Bills, generated: Analysis) -> None:
    """Plain SQL over the rows that findings name comes to the same billed amounts, resources and counts."""
    advice = recommend(generated)

    for one in advice.recommendations:
        own = [
            f
            for f in generated.findings
            if (f.rule.id, f.provider, f.currency) == (one.rule, one.provider, one.currency)
        ]
        records = sorted(record for f in own for rows in f.rows for record in rows.records)
        [[count, billed]] = three_clouds.connection.execute(
            "select count(*), sum(billed) from charge where list_contains(?, record)", [records]
        ).fetchall()
        assert (one.rows, sum(f.billed for f in own)) == (count, billed)
        assert one.saving <= billed.quantize(Decimal("0.01"))
        assert one.saving == sum(f.saving for f in own).quantize(Decimal("0.01"))
        assert one.a_year == (sum((f.saving for f in own), Decimal(0)) / 2 * 12).quantize(Decimal("0.01"))


def test_a_plan_has_each_recommendation_once_and_in_waves(generated: Analysis) -> None:
    """What is quick and sure comes first, what saves nothing last."""
    advice = recommend(generated)

    assert [step.number for step in advice.plan] == list(range(1, len(advice.recommendations) + 1))
    assert {step.recommendation for step in advice.plan} == set(advice.recommendations)
    waves = [list(Wave).index(step.wave) for step in advice.plan]
    assert waves == sorted(waves)
    assert {s.wave for s in advice.plan if s.recommendation.a_month == 0} <= {Wave.LATER}


def test_a_month_is_the_whole_of_the_bills_divided_by_their_months(
    bills: Bills, write_bill: WriteBill
) -> None:
    """Two months' waste of ten dollars each is ten a month and a hundred and twenty a year, not twenty."""
    bills.ingest(write_bill(IDLE, IDLE | NEXT_MONTH))

    [one] = recommend(analyse(bills, NOTHING_TO_BUY)).recommendations

    assert (one.saving, one.a_month, one.a_year) == (Decimal(20), Decimal(10), Decimal(120))


def test_effort_decides_the_wave_and_the_return(bills: Bills, write_bill: WriteBill) -> None:
    """Releasing an address takes two hours, an upgrade eighty; each hour costs what the caller says."""
    bills.ingest(write_bill(IDLE, EXTENDED, M4))

    advice = recommend(analyse(bills, NOTHING_TO_BUY), effort=EffortCost(an_hour=Decimal(10)))

    assert [
        (step.recommendation.rule, step.wave, step.recommendation.years_return) for step in advice.plan
    ] == [
        ("aws_idle_address", Wave.NOW, Decimal(6)),
        ("aws_previous_generation", Wave.NEXT, Decimal("0.03")),
        ("aws_extended_support", Wave.LATER, Decimal("0.15")),
    ]
    assert [(s.currency, s.a_month, s.cost) for s in advice.sums] == [("USD", Decimal("20.40"), Decimal(980))]


def test_currencies_are_never_added_up(bills: Bills, write_bill: WriteBill) -> None:
    """Ten euros and ten dollars are two sums."""
    bills.ingest(write_bill(IDLE, IDLE | {"BillingCurrency": "EUR", "BillingAccountId": "europe"}))

    advice = recommend(analyse(bills, NOTHING_TO_BUY))

    assert [(own.currency, own.a_month) for own in advice.sums] == [
        ("EUR", Decimal(10)),
        ("USD", Decimal(10)),
    ]


def test_a_resource_that_a_bill_prices_is_not_saved_twice(bills: Bills, write_bill: WriteBill) -> None:
    """A provider's advice and a bill's finding on one volume are one saving; a namesake elsewhere is another."""
    bills.ingest(write_bill(GP2 | {"ResourceId": "arn:aws:ec2:us-east-1:1:volume/vol-1"}))
    hub = [
        InventoryFinding(
            rule="recommended_upgrade", published="hub", provider="AWS", resource=name, idle=False,
            certainty=Certainty.HIGH,
            rows=(Rows(source="i", records=(1,), part=name),), currency="USD", cost=Decimal(10), saving=Decimal(2),
        )
        for name in ("vol-1", "vol-2", "arn:aws:ec2:eu-west-1:1:volume/vol-1")
    ]  # fmt: skip

    advice = recommend(analyse(bills, NOTHING_TO_BUY, inventory=hub))

    assert {(r.rule, r.resources, r.saving) for r in advice.recommendations} == {
        ("aws_gp2", 1, Decimal(2)), ("recommended_upgrade", 2, Decimal(4)),
    }  # fmt: skip


def test_ai_spend_is_part_of_the_plan(bills: Bills) -> None:
    """Tokens are advised on beside machines, and a model that is withdrawn is a warning."""
    way = Alternative(
        rule="token_batch", published="p", certainty=Certainty.MEDIUM, cost=Decimal(4), saving=Decimal(6)
    )
    spend = TokenSpend(
        source="a.csv", provider="them", model="big", requests=3, input=1, output=1, repeated=None, cost=Decimal(10),
        alternatives=(way,),
        warning="big is withdrawn on 2027-01-01: move to another model",
    )  # fmt: skip

    analysis = analyse(bills, tokens=[spend])
    advice = recommend(analysis)

    assert [(r.rule, r.a_month, r.at_stake, r.effort) for r in advice.recommendations] == [
        ("token_batch", Decimal(6), Decimal(10), Effort.MEDIUM)
    ]
    assert "> big is withdrawn on 2027-01-01: move to another model" in markdown(advice, analysis)


def test_the_report_says_what_the_plan_does(bills: Bills, generated: Analysis) -> None:
    """Sums, steps, findings, commitments with their proof and every provider's total stand in it."""
    advice = recommend(generated)

    text = markdown(advice, generated)

    for own in advice.sums:
        assert f"**{own.a_month:,} {own.currency} a month**" in text
    for step in advice.plan:
        assert f"| {step.number} | {step.recommendation.action} |" in text
    for total in generated.totals:
        assert f"{total.billed.quantize(Decimal('0.01')):,} {total.currency}" in text
    for plan in generated.plans:
        assert f"no plan of these offers costs less than {plan.proof.bound:,.4f}" in text


def test_a_report_of_nothing_says_so(bills: Bills) -> None:
    """Who uploads nothing reads a sentence, not an empty page."""
    text = markdown(recommend(analyse(bills)), analyse(bills))

    assert "Nothing was found that could have cost less." in text
    assert "No bill was read." in text


FORMULAS = ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=2", " =cmd|' /C calc'!A0", "|x", "%x"]


def test_an_export_holds_no_formula(bills: Bills, write_bill: WriteBill) -> None:
    """A resource that is called like a formula is text in whatever spreadsheet opens the export."""
    bills.ingest(write_bill(*(IDLE | {"SubAccountId": evil, "ResourceId": evil} for evil in FORMULAS)))

    rows = [*csv.DictReader(io.StringIO(findings_csv(analyse(bills, NOTHING_TO_BUY))))]

    plain = sorted(f"'{evil}".replace("\t", " ").replace("\r", " ") for evil in FORMULAS)
    assert sorted((row["account"], row["resources"]) for row in rows) == [(one, one) for one in plain]
    assert {row["saving"] for row in rows} == {"10.000000000000000000000000"}


MARKUP = [
    "<script>alert(1)</script>", "a | b | c", "[click](javascript:alert(1))", "![x](http://a/b)", "two\nlines\n# head",
    "`code`", "x" * 500, "\x1b[31mred", "\u202eabc",
]  # fmt: skip


def test_a_report_holds_no_markup_of_a_bill(bills: Bills, write_bill: WriteBill) -> None:
    """Whoever names a resource writes no line, link or script into somebody else's report."""
    bills.ingest(write_bill(*(IDLE | {"SubAccountId": evil} for evil in MARKUP)))
    analysis = analyse(bills, NOTHING_TO_BUY)

    text = markdown(recommend(analysis), analysis)

    lines = [own for own in text.splitlines() if own.startswith("| Public IPv4")]
    assert len(lines) == len(MARKUP)
    for line in lines:
        assert line.count(" | ") == 4
        assert not any(
            mark in line.replace("\\<", "").replace("\\[", "").replace("\\`", "")
            for mark in ("<", "[", "`", "\x1b")
        )
        assert len(line) < 300
