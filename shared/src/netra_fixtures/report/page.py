"""The report as one self-contained HTML page; `markup/` has its templates, its looks and its script."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netra_fixtures.report import charts, promises, since, state, wording
from netra_fixtures.report.model import RunReport
from netra_fixtures.report.parts import Outcome

if TYPE_CHECKING:
    from jinja2 import Environment

MARKUP = Path(__file__).parent / "markup"
MOST_NAMED = 20
LONGEST = 8


def page(report: RunReport) -> str:
    """Render *report*; whatever it says is shown as text, never read as markup."""
    failed = [test for test in report.tests if test.failures]
    style, script = ((MARKUP / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            report=report,
            style=style,
            script=script,
            policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'",
            verdict=wording.VERDICTS[report.run.verdict],
            counts=wording.counts(report),
            workers=wording.workers(report),
            remarks=wording.remarks(report),
            proofs=wording.proofs(report),
            outcomes=wording.OUTCOMES,
            outcomes_of=Outcome,
            parts=parts(report),
            delivered_in_all=wording.delivered_in_all(report.value.outcomes),
            domains=[(domain, promises.modules(report, domain.name)) for domain in report.domains],
            values=promises.values(report),
            failed=failed,
            anchors={test.nodeid: f"failure-{number}" for number, test in enumerate(failed, start=1)},
            tests={test.nodeid: test for test in report.tests},
            longest=sorted(report.tests, key=lambda test: -test.duration_s)[:LONGEST],
            **_changes(report),
            **_drawings(report),
        )
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(MARKUP),
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
        tiers=promises.tiers,
        kind=state.kind,
        expires=state.expires,
        notes=state.notes,
        rows=state.rows,
        moved=since.moved,
        strip=since.strip,
    )
    return environment


def _digest(text: str) -> str:
    """Name *text* as the one style or script that the page may hold."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def parts(report: RunReport) -> list[tuple[Outcome, int]]:
    """Count tests and modules by outcome, those that went wrong first, without what did not happen."""
    totals = report.totals
    counted = [
        (Outcome.FAILED, totals.failed),
        (Outcome.ERROR, totals.errors),
        (Outcome.XFAILED, totals.xfailed),
        (Outcome.XPASSED, totals.xpassed),
        (Outcome.SKIPPED, totals.skipped),
        (Outcome.PASSED, totals.passed),
    ]
    return [(outcome, number) for outcome, number in counted if number]


def _changes(report: RunReport) -> dict[str, Any]:
    changes = report.changes
    return {
        "groups": since.groups(changes) if changes else [],
        "flaky": {one.nodeid: one for one in changes.flaky} if changes else {},
        "paces": {pace.nodeid: pace for pace in (*changes.slower, *changes.faster)} if changes else {},
        "passed_over": since.passed_over(report),
        "usual_duration": since.usual_duration(report),
        "usual_domains": {one.name: since.usual_domain(report, one.name) for one in report.domains},
        "usual_p95": {one.name: since.usual_p95(report, one.name) for one in report.budgets},
        "most": MOST_NAMED,
    }


def _drawings(report: RunReport) -> dict[str, Any]:
    return {
        "histograms": {one.name: charts.histogram(one) for one in report.budgets if one.count},
        "trends": {
            one.name: charts.trend([*since.p95s(report, one.name), one.p95_ms], one.limit_ms)
            for one in report.budgets
        },
        "span": charts.span(report),
        "lanes": charts.lanes(report),
        "clock": charts.clock(charts.span(report)),
        "steps": charts.steps(report),
        "charts": charts,
    }
