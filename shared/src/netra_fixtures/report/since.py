"""The words and figures for what changed since the runs before, for the terminal, the page and the Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from netra_fixtures.budgets import BudgetResult
from netra_fixtures.report.model import RunReport
from netra_fixtures.report.parts import Outcome, Verdict
from netra_fixtures.report.past import Changes, Flaky, RunBefore
from netra_fixtures.report.wording import amount, milliseconds, seconds

MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.ERROR: "✗"}


def in_short(report: RunReport) -> str:
    """Say in one line what changed; empty where there is nothing to compare with."""
    if not report.changes:
        return ""
    counted = [f"{len(names):,} {word}" for word, names in groups(report.changes) if names]
    took = usual_duration(report)
    return ", ".join(counted or ["no test changed"]) + (
        f"; took {seconds(report.run.duration_s)}, usually {seconds(took)}" if took is not None else ""
    )


def groups(changes: Changes) -> list[tuple[str, Sequence[str]]]:
    """Give the kinds of change with the tests they happened to, what matters most first."""
    return [
        ("now failing", changes.now_failing),
        ("fixed", changes.now_passing),
        ("flaky", [one.nodeid for one in changes.flaky]),
        ("new", changes.added),
        ("slower", [one.nodeid for one in changes.slower]),
        ("faster", [one.nodeid for one in changes.faster]),
    ]


def comparable(report: RunReport) -> list[RunBefore]:
    """Give the runs before that ran about the same tests, to their end."""
    return [run for run in report.history.runs if run.alike and run.verdict is not Verdict.INCOMPLETE]


def usual_duration(report: RunReport) -> float | None:
    """Give the median of what comparable runs took, in s; None where there are none."""
    return median(took) if (took := [run.duration_s for run in comparable(report)]) else None


def usual_p95(report: RunReport, budget: str) -> float | None:
    """Give the median of a budget's p95 over comparable runs, in ms; None where nothing was measured."""
    return median(known) if (known := [ms for ms in p95s(report, budget) if ms is not None]) else None


def usual_domain(report: RunReport, domain: str) -> float | None:
    """Give the median of what a domain's tests took in comparable runs, in s."""
    known = [run.domains_s[domain] for run in comparable(report) if domain in run.domains_s]
    return median(known) if known else None


def p95s(report: RunReport, budget: str) -> list[float | None]:
    """Give a budget's p95 in each comparable run, in ms, the oldest first."""
    return [_p95(run.budgets, budget) for run in comparable(report)]


def _p95(budgets: Iterable[BudgetResult], name: str) -> float | None:
    return next((budget.p95_ms for budget in budgets if budget.name == name), None)


def moved(now: float | None, usual: float | None) -> str:
    """Say by how much something moved, where that is more than a fifth: 1.8 times as slow as usual."""
    if not now or not usual or 0.8 < now / usual < 1.2:
        return "as usual" if now and usual else ""
    return f"{usual / now:.1f} times as fast" if now < usual else f"{now / usual:.1f} times as slow"


def usually(report: RunReport, budget: str) -> str:
    """Give what a budget's p95 usually is, for the line that gives it now."""
    usual = usual_p95(report, budget)
    return "" if usual is None else f", usually {milliseconds(usual)}"


def strip(flaky: Flaky) -> str:
    """Draw how a flaky test ended, run after run: ✓✗✓."""
    marks = "".join(MARKS.get(outcome, "·") for outcome in flaky.outcomes)
    return f"{marks}, tried {amount(flaky.reruns + 1, 'times')}" if flaky.reruns else marks


def passed_over(report: RunReport) -> str:
    """Name the files of the history that can't be read; empty where all can."""
    unread = report.history.unread
    if not unread:
        return ""
    more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    return f"the history's {unread[0]}{more} can't be read and is passed over; remove it"
