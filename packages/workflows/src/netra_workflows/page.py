"""The report of a run as one HTML page for a person who decides: offline, without a script; `markup/` has its looks."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from netra_workflows.advice import Advice, Recommendation, Step, Sum, Wave
from netra_workflows.analysis import Analysis
from netra_workflows.model import NO_CURRENCY, Anomaly, Finding
from netra_workflows.report import money, plain, priced

if TYPE_CHECKING:
    from jinja2 import Environment

MARKUP: Final = Path(__file__).parent / "markup"
MOST_BARS: Final = 10
MOST_LISTED: Final = 300
MOST_REFUSED: Final = 20


class Bar(NamedTuple):
    """An amount of a chart; `width` is its part of the largest, `share` its part of all, both of a hundred."""

    label: str
    amount: Decimal
    width: float
    share: int


class Chart(NamedTuple):
    """Amounts side by side, the largest first."""

    title: str
    bars: Sequence[Bar]


class Money(NamedTuple):
    """All that is said in one currency. `share` is what a month's saving is of a month's bill, of a hundred."""

    currency: str
    sum: Sum | None
    billed: Decimal
    months: int
    share: Decimal | None
    years_return: Decimal | None
    charts: Sequence[Chart]
    waves: Sequence[tuple[Wave, Decimal, Sequence[Step]]]
    findings: Sequence[Finding]
    anomalies: Sequence[tuple[Anomaly, float]]

    @property
    def named(self) -> str:
        """Say which currency it is; what an inventory shows may have no price at all."""
        return (
            "without a price" if self.currency == NO_CURRENCY and not self.billed else f"in {self.currency}"
        )


def page(advice: Advice, analysis: Analysis, missing: Iterable[str] = ()) -> str:
    """Render the report; whatever stands in a bill is shown as text.

    Args:
        missing: names of uploads that could not be read.
    """
    style = (MARKUP / "page.css").read_text(encoding="utf-8")
    currencies = {own.currency for own in analysis.totals} | {own.currency for own in analysis.findings}
    told = [_in(currency, advice, analysis) for currency in currencies]
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            advice=advice,
            analysis=analysis,
            missing=sorted(missing),
            told=sorted(told, key=lambda own: (own.sum is None, -own.billed, own.currency)),
            style=style,
            policy=f"default-src 'none'; style-src '{_digest(style)}'",
            listed=MOST_LISTED,
            refused=MOST_REFUSED,
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only who writes a page pays for it

    environment = Environment(
        loader=FileSystemLoader(MARKUP),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=plain, money=money, priced=priced)
    return environment


def _digest(text: str) -> str:
    """Name *text* as the one style that the page may hold."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _in(currency: str, advice: Advice, analysis: Analysis) -> Money:
    own = [one for one in advice.recommendations if one.currency == currency]
    total = next((one for one in advice.sums if one.currency == currency), None)
    billed = sum((one.billed for one in analysis.totals if one.currency == currency), Decimal(0))
    months = max(analysis.months.get(currency, 1), 1)
    steps = [step for step in advice.plan if step.recommendation.currency == currency]
    return Money(
        currency=currency,
        sum=total,
        billed=billed,
        months=months,
        share=total.a_month * months / billed * 100 if total and billed > 0 else None,
        years_return=total.a_year / total.cost if total and total.cost else None,
        charts=_charts(own),
        waves=_waves(steps),
        findings=[one for one in analysis.findings if one.currency == currency],
        anomalies=_anomalies([one for one in analysis.anomalies if one.currency == currency]),
    )


def _charts(own: Sequence[Recommendation]) -> list[Chart]:
    by_cloud: dict[str, Decimal] = defaultdict(Decimal)
    by_kind: dict[str, Decimal] = defaultdict(Decimal)
    for one in own:
        by_cloud[one.provider] += one.a_month
        by_kind[one.title] += one.a_month
    made = (Chart("By cloud", _bars(by_cloud)), Chart("By kind", _bars(by_kind)))
    return [chart for chart in made if chart.bars]


def _bars(amounts: dict[str, Decimal]) -> list[Bar]:
    ranked = sorted(
        ((label, own) for label, own in amounts.items() if own > 0), key=lambda one: (-one[1], one[0])
    )
    rest = sum((own for _, own in ranked[MOST_BARS:]), Decimal(0))
    shown = [*ranked[:MOST_BARS], *([(f"{len(ranked) - MOST_BARS} more", rest)] if rest else [])]
    whole, most = sum(own for _, own in shown), max((own for _, own in shown), default=Decimal(1))
    return [
        Bar(label, own, round(float(own / most * 100), 1), round(own / whole * 100)) for label, own in shown
    ]


def _waves(steps: Sequence[Step]) -> list[tuple[Wave, Decimal, Sequence[Step]]]:
    waves = ((wave, [step for step in steps if step.wave is wave]) for wave in Wave)
    return [
        (wave, sum((step.recommendation.a_month for step in own), Decimal(0)), own)
        for wave, own in waves
        if own
    ]


def _anomalies(own: Sequence[Anomaly]) -> list[tuple[Anomaly, float]]:
    """Give the dearest days first, each with what was usual of its cost, of a hundred."""
    ranked = sorted(
        own, key=lambda one: (one.usual - one.cost, one.day, one.provider, one.account, one.service)
    )
    return [(one, round(float(max(one.usual, Decimal(0)) / one.cost * 100), 1)) for one in ranked]
