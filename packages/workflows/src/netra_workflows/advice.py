"""From findings to a decision: recommendations, ranked, and a plan with effort, risk and return.

Amounts of an analysis are for the time that its bills span; here they become a month's and a year's. Months count
whole, so that a month that has only begun makes no saving larger than it was.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

from pydantic import Field

from netra_workflows.analysis import Analysis
from netra_workflows.model import Certainty, Effort, Finding, Frozen
from netra_workflows.tokens import WEIGHT

CENT: Final = Decimal("0.01")
HOURS: Final[Mapping[Effort, Decimal]] = {
    Effort.SMALL: Decimal(2),
    Effort.MEDIUM: Decimal(16),
    Effort.LARGE: Decimal(80),
}


class Wave(StrEnum):
    """When to do what: by effort, and by how certain the saving is."""

    NOW = "this week"
    NEXT = "this month"
    LATER = "this quarter"


class EffortCost(Frozen):
    """What an act costs, for the return: hours by effort, at a price an hour in the findings' currency."""

    an_hour: Decimal = Decimal(100)
    hours: dict[Effort, Decimal] = Field(default_factory=lambda: dict(HOURS))

    def of(self, effort: Effort) -> Decimal:
        """Give the cost of one act."""
        return self.an_hour * self.hours[effort]


class Recommendation(Frozen):
    """What to do about all findings of one rule with one provider, in one currency. Amounts are rounded to the cent."""

    rule: str
    title: str
    published: str
    provider: str
    currency: str
    action: str
    risk: str
    effort: Effort
    certainty: Certainty
    accounts: int
    resources: int
    rows: int
    at_stake: Decimal = Field(description="over the time that the bills span")
    saving: Decimal = Field(description="over the time that the bills span")
    a_month: Decimal
    a_year: Decimal
    cost: Decimal = Field(description="of doing it, once")
    years_return: Decimal | None = Field(
        description="a year's saving for each unit of cost; None where it is free"
    )


class Step(Frozen):
    """A recommendation with its place in the plan."""

    number: int
    wave: Wave
    recommendation: Recommendation


class Sum(Frozen):
    """What a plan saves in one currency."""

    currency: str
    a_month: Decimal
    a_year: Decimal
    cost: Decimal


class Advice(Frozen):
    """Recommendations, largest saving first, and the plan that orders them. Currencies are never added up."""

    recommendations: tuple[Recommendation, ...]
    plan: tuple[Step, ...]
    sums: tuple[Sum, ...]
    warnings: tuple[str, ...]


def recommend(analysis: Analysis, *, effort: EffortCost | None = None) -> Advice:
    """Make a plan of what was found.

    Args:
        effort: what acting costs.
    """
    made = _made(analysis, effort or EffortCost())
    ranked = sorted(made, key=lambda r: (-r.a_month, -r.at_stake, r.rule, r.provider, r.currency))
    waves = sorted(ranked, key=lambda r: (list(Wave).index(_wave(r)), -r.a_month * WEIGHT[r.certainty]))
    steps = tuple(Step(number=n, wave=_wave(r), recommendation=r) for n, r in enumerate(waves, start=1))
    return Advice(
        recommendations=tuple(ranked),
        plan=steps,
        sums=_sums(ranked),
        warnings=analysis.warnings,
    )


def _wave(one: Recommendation) -> Wave:
    if one.effort is Effort.SMALL and one.certainty is Certainty.HIGH and one.a_month > 0:
        return Wave.NOW
    return Wave.LATER if one.effort is Effort.LARGE or one.a_month == 0 else Wave.NEXT


def _sums(ranked: Sequence[Recommendation]) -> tuple[Sum, ...]:
    currencies = sorted({one.currency for one in ranked if one.a_month > 0})
    return tuple(
        Sum(
            currency=currency,
            a_month=sum((r.a_month for r in ranked if r.currency == currency), Decimal(0)),
            a_year=sum((r.a_year for r in ranked if r.currency == currency), Decimal(0)),
            cost=sum((r.cost for r in ranked if r.currency == currency and r.a_month > 0), Decimal(0)),
        )
        for currency in currencies
    )


def _made(analysis: Analysis, costs: EffortCost) -> Iterable[Recommendation]:
    groups: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in analysis.findings:
        groups[finding.rule.id, finding.provider, finding.currency].append(finding)
    for (_, provider, currency), own in groups.items():
        rule = own[0].rule
        saving = sum((finding.saving for finding in own), Decimal(0))
        month = saving / own[0].months  # the same for all of a rule in a currency
        cost = costs.of(rule.effort)
        yield Recommendation(
            rule=rule.id, title=rule.title, published=rule.published, provider=provider, currency=currency,
            action=rule.action, risk=rule.risk, effort=rule.effort, certainty=rule.certainty,
            accounts=len({finding.account for finding in own} - {""}),
            resources=len({resource for finding in own for resource in finding.resources}),
            rows=sum(len(rows.records) for finding in own for rows in finding.rows),
            at_stake=sum((finding.at_stake for finding in own), Decimal(0)).quantize(CENT),
            saving=saving.quantize(CENT), a_month=month.quantize(CENT), a_year=(month * 12).quantize(CENT), cost=cost,
            years_return=(month * 12 / cost).quantize(CENT) if cost else None,
        )  # fmt: skip
