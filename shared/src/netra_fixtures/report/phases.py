"""What pytest reported of one test, phase by phase, until it becomes one `Test` of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue

from netra_fixtures.budgets import Samples, judge_all
from netra_fixtures.report.left import Snapshot
from netra_fixtures.report.model import DeliveredOutcome, Evidence, Failure, Section, Test
from netra_fixtures.report.parts import Outcome
from netra_fixtures.report.tables import BAD, domain_of
from netra_fixtures.value import BusinessValue

LONGEST_TEXT = 20_000
WORST_FIRST = (
    Outcome.FAILED,
    Outcome.ERROR,
    Outcome.XFAILED,
    Outcome.SKIPPED,
    Outcome.XPASSED,
    Outcome.PASSED,
)


class _Delivered(BaseModel):
    name: str
    amount: Decimal
    unit: str


class Note(BaseModel):
    """What the plugin attached to a test's reports as `report.netra`."""

    domain: str | None = None
    worker: str | None = None
    doc: str | None = None
    promise: str | None = None
    integration: bool | None = None
    value: BusinessValue | None = None
    evidence: Evidence = Evidence()
    budgets: dict[str, dict[str, JsonValue]] = {}
    outcomes: list[_Delivered] = []
    snapshot: Snapshot | None = None


@dataclass
class Phases:
    """One test's phases, over all its attempts."""

    nodeid: str
    seen: set[Outcome] = field(default_factory=set)
    phases_s: dict[str, float] = field(default_factory=dict)
    began: float | None = None
    worker: str = "main"
    reruns: int = 0
    reason: str | None = None
    failures: list[Failure] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)

    def add(self, report: pytest.TestReport) -> None:
        """Take in one phase."""
        self.note |= getattr(report, "netra", None) or {}
        self.worker = _worker(report) or self.note.get("worker") or self.worker
        if report.start and self.began is None:
            self.began = report.start
        if isinstance(report, pytest.SubtestReport):
            self._add_subtest(report)
            return
        self.phases_s[report.when] = report.duration
        self.figures = {str(name): shorten(str(value)) for name, value in report.user_properties}
        self.reruns += str(report.outcome) == "rerun"  # set by a plugin that runs failed tests again
        outcome = outcome_of(report)
        if outcome:
            self.seen.add(outcome)
        if report.failed and not self._says_only_that_subtests_failed(report):
            self.failures.append(failure_of(report, report.when))
        if outcome in (Outcome.SKIPPED, Outcome.XFAILED, Outcome.XPASSED):
            self.reason = reason_of(report)
        self._keep_output(report)

    def _add_subtest(self, report: pytest.SubtestReport) -> None:
        if report.failed:
            self.seen.add(Outcome.FAILED)
            self.failures.append(failure_of(report, f"subtest {report._sub_test_description()}"))
            self._keep_output(report)

    def _keep_output(self, report: pytest.TestReport) -> None:
        if self.failures:
            self.output.update((title, shorten(text)) for title, text in report.sections)

    def _says_only_that_subtests_failed(self, report: pytest.TestReport) -> bool:
        return bool(self.failures) and str(report.longrepr).startswith("contains ")

    @property
    def outcome(self) -> Outcome | None:
        """The worst that happened; None for a test that did not get to its end."""
        return next((outcome for outcome in WORST_FIRST if outcome in self.seen), None)

    @cached_property
    def told(self) -> Note:
        """What the plugin told of it; to be read once its last report is in."""
        return Note.model_validate(self.note)

    @cached_property
    def samples(self) -> Mapping[str, Samples]:
        """What its operations took, by budget."""
        return {name: Samples.from_json(data) for name, data in self.told.budgets.items()}

    def delivered(self) -> list[DeliveredOutcome]:
        """The outcomes that it established, if it passed."""
        if self.outcome is not Outcome.PASSED:
            return []
        return [DeliveredOutcome(**dict(one), nodeid=self.nodeid) for one in self.told.outcomes]

    def test(self, run_began: float, time_factor: float) -> Test:
        """Sum it up; only for a test that has an outcome."""
        note, outcome = self.told, self.outcome
        assert outcome is not None
        return Test(
            nodeid=self.nodeid,
            domain=note.domain or domain_of(self.nodeid),
            outcome=outcome,
            integration=note.integration,
            worker=self.worker,
            started_s=max(self.began - run_began, 0.0) if self.began else 0.0,
            setup_s=self.phases_s.get("setup", 0.0),
            call_s=self.phases_s.get("call", 0.0),
            teardown_s=self.phases_s.get("teardown", 0.0),
            reruns=self.reruns,
            doc=note.doc,
            promise=note.promise,
            reason=self.reason,
            value=note.value,
            evidence=note.evidence,
            budgets=tuple(judge_all(self.samples, time_factor)),
            failures=tuple(self.failures),
            output=tuple(Section(title=title, text=text) for title, text in self.output.items()),
            snapshot=note.snapshot if outcome in BAD else None,
            figures=self.figures,
        )


def outcome_of(report: pytest.TestReport) -> Outcome | None:
    """Read one phase; None for a phase that decides nothing."""
    if hasattr(report, "wasxfail"):
        return {"skipped": Outcome.XFAILED, "passed": Outcome.XPASSED}.get(report.outcome, Outcome.FAILED)
    if report.failed:
        return Outcome.ERROR if report.when in ("setup", "teardown") else Outcome.FAILED
    if report.skipped:
        return Outcome.SKIPPED
    return Outcome.PASSED if report.passed and report.when == "call" else None


def failure_of(report: pytest.TestReport | pytest.CollectReport, when: str) -> Failure:
    """Keep what a failed report says; xdist reports a crashed worker in a phase called "???"."""
    text = report.longreprtext
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else text.strip().rpartition("\n")[2].removeprefix("E ").strip()
    when = "worker crashed" if when == "???" else when
    return Failure(when=when, message=shorten(message), text=shorten(text))


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Say why a test was skipped, or was expected to fail."""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail).removeprefix("reason: ")
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


def shorten(text: str) -> str:
    """Cut the middle out of a text that is too long to be read."""
    half = LONGEST_TEXT // 2
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _worker(report: pytest.TestReport) -> str | None:
    known = getattr(report, "worker_id", None)
    if known is None and hasattr(report, "node"):
        known = report.node.gateway.id
    return known
