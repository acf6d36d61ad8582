"""The few lines that a run leaves in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from netra_fixtures.budgets import BudgetResult
from netra_fixtures.report import since, state
from netra_fixtures.report.model import RunReport, Service
from netra_fixtures.report.parts import Verdict
from netra_fixtures.report.wording import VERDICTS, counts, milliseconds, proofs, seconds, workers

MOST_LINES = 12


def summary(report: RunReport, directory: Path | None = None) -> list[str]:
    """Say in at most twelve lines how the run ended, on which servers, and what proves it.

    Budgets that held make room first, then services and counters. *directory* is where the report stands.
    """
    end = [] if directory is None else [f"report: {directory / 'index.html'}"]
    changed = since.in_short(report)
    head = [_verdict(report), *([f"since the last run: {changed}"] if changed else [])]
    body = _aligned(
        [(service.name, _service(service)) for service in report.run.services]
        + [(proof.link, f"{proof.counts}: {proof.comparison}") for proof in proofs(report)]
    )
    room = MOST_LINES - len(head) - len(end)
    body, left_out = body[:room], len(body) - room
    if left_out > 0:
        body[-1] = f"… and {left_out + 1} lines more in the report"
    return head + body + _budgets(report, room - len(body)) + end


def write_summary(
    terminal: pytest.TerminalReporter, report: RunReport, directory: Path | None = None
) -> None:
    """Write the summary as a section of pytest's own, the verdict in its colour."""
    good = report.run.verdict is Verdict.PASSED
    bad = report.run.verdict is Verdict.FAILED
    terminal.section("netra", sep="-")
    first, *rest = summary(report, directory)
    terminal.write_line(first, bold=True, green=good, red=bad, yellow=not good and not bad)
    for line in rest:
        terminal.write_line(line, yellow="differs from" in line or "missed" in line)
    if unread := since.passed_over(report):
        terminal.write_line(f"netra: {unread}", yellow=True)
    for line in state.terminal(report):
        terminal.write_line(line)


def _verdict(report: RunReport) -> str:
    totals = report.totals
    seed = "" if report.run.seed is None else f"; seed {report.run.seed}"
    return (
        f"{VERDICTS[report.run.verdict]}: {counts(report)} in {seconds(report.run.duration_s)}, "
        f"{workers(report)} ({totals.integration:,} integration, {totals.unit:,} unit){seed}"
    )


def _service(service: Service) -> str:
    reason = f" ({service.reason})" if service.reason else ""
    return f"{service.server} {service.version}, {service.backend}, up in {seconds(service.start_s)}{reason}"


def _budgets(report: RunReport, room: int) -> list[str]:
    budgets = report.budgets
    urgent = sorted(budgets, key=lambda budget: budget.held)[: max(room, 0)]
    hidden = len(budgets) - len(urgent)
    if hidden and urgent:
        hidden += 1
        urgent = urgent[:-1]
    shown = [budget for budget in budgets if budget in urgent]
    lines = _aligned([(budget.name, _budget(report, budget)) for budget in shown])
    return lines + ([f"… and {hidden} budgets more in the report"] if hidden and room > 0 else [])


def _budget(report: RunReport, budget: BudgetResult) -> str:
    judged = "held" if budget.held else "missed"
    return (
        f"p95 {milliseconds(budget.p95_ms)} of {milliseconds(budget.limit_ms)} {judged}"
        f" ({budget.count:,} measured, p50 {milliseconds(budget.p50_ms)}, max {milliseconds(budget.max_ms)}"
        f"{since.usually(report, budget.name)})"
    )


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:{width}}  {text}" for name, text in rows]
