"""The report as one self-contained HTML page; `page.html.jinja` has its markup, `page.css` its looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from netra_fixtures.report import charts, state, wording
from netra_fixtures.report.model import RunReport, Test
from netra_fixtures.value import BusinessValue, Tier


@dataclass(frozen=True, slots=True)
class Module:
    """The tests of one file, under the promise it makes."""

    path: str
    promise: str | None
    worth: Sequence[BusinessValue]
    tests: Sequence[Test]


def page(report: RunReport) -> str:
    """Render *report*; whatever it says is shown as text, never read as markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        amount=wording.amount,
        delivered=wording.delivered,
        evidence=wording.evidence,
        milliseconds=wording.milliseconds,
        seconds=wording.seconds,
        sentence=wording.sentence,
        tiers=tiers,
        kind=state.kind,
        expires=state.expires,
        notes=state.notes,
        rows=state.rows,
    )
    failed = [test for test in report.tests if test.failures]
    return environment.get_template("page.html.jinja").render(
        report=report,
        verdict=wording.VERDICTS[report.run.verdict],
        counts=wording.counts(report),
        workers=wording.workers(report),
        remarks=wording.remarks(report),
        proofs=wording.proofs(report),
        outcomes=wording.OUTCOMES,
        delivered_in_all=wording.delivered_in_all(report.value.outcomes),
        modules={domain.name: modules(report, domain.name) for domain in report.domains},
        failed=failed,
        anchors={test.nodeid: f"failure-{number}" for number, test in enumerate(failed, start=1)},
        histograms=[(budget, charts.histogram(budget)) for budget in report.budgets if budget.count],
        lanes=charts.lanes(report.tests, report.run.duration_s),
        width=charts.WIDTH,
        height=charts.HEIGHT,
        lane_width=charts.LANE_WIDTH,
    )


def modules(report: RunReport, domain: str) -> list[Module]:
    """Group a domain's tests by their files."""
    tests = sorted((test for test in report.tests if test.domain == domain), key=lambda test: test.module)
    return [_module(path, list(group)) for path, group in groupby(tests, key=lambda test: test.module)]


def _module(path: str, tests: Sequence[Test]) -> Module:
    return Module(
        path=path,
        promise=next((test.promise for test in tests if test.promise), None),
        worth=list(dict.fromkeys(test.value for test in tests if test.value)),
        tests=tests,
    )


def tiers(value: BusinessValue) -> str:
    """Name the tiers that have what a test proves."""
    if value.tier is Tier.FREE:
        return "every tier"
    return "enterprise" if value.tier is Tier.ENTERPRISE else f"{value.tier.value} and up"
