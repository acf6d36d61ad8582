"""The report as Markdown, for where a page can't go: a CI job's summary, a chat, a mail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from netra_fixtures.report import since, state
from netra_fixtures.report.left import Snapshot
from netra_fixtures.report.model import Failure, RunReport, Test
from netra_fixtures.report.wording import (
    VERDICTS,
    counts,
    delivered,
    delivered_in_all,
    milliseconds,
    proofs,
    seconds,
    sentence,
    workers,
)

MOST_NAMED = 20
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@-])")


def markdown(report: RunReport) -> str:
    """Write verdict, services, domains, value, budgets, evidence and failures."""
    run, totals = report.run, report.totals
    blocks = [
        f"# {VERDICTS[run.verdict]}",
        f"{counts(report)} in {seconds(run.duration_s)} on {workers(report)}; "
        f"{totals.integration} integration, {totals.unit} unit. "
        f"Run {plain(run.id)}, {run.started_at:%Y-%m-%d %H:%M:%S %Z}, Python {run.python}, "
        f"seed {plain(run.seed)}.",
        *_failures(report),
        *_changes(report),
        *_tables(report),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def plain(text: object) -> str:
    """Escape *text* so that Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _changes(report: RunReport) -> list[str]:
    if not report.changes:
        return []
    marks = {flaky.nodeid: since.strip(flaky) for flaky in report.changes.flaky}
    rows = [
        [word, name, marks.get(name, "") if word == "flaky" else ""]
        for word, names in since.groups(report.changes)
        for name in names[:MOST_NAMED]
    ]
    return [
        f"Since run {plain(report.changes.since)}: {plain(since.in_short(report))}.",
        _table("What changed", ["change", "test", "in the last runs"], rows),
    ]


def _tables(report: RunReport) -> list[str]:
    run, value = report.run, report.value
    return [
        _table(
            "Services",
            ["service", "server", "backend", "up in", "why"],
            [
                [one.name, f"{one.server} {one.version}", one.backend, seconds(one.start_s), one.reason]
                for one in run.services
            ],
        ),
        _table(
            "What passed over the wire",
            ["link", "counted", "the server's own count"],
            [[one.link, one.counts, one.comparison] for one in proofs(report)],
        ),
        _table(
            "Domains",
            ["domain", "version", "passed", "failed", "errors", "skipped", "known gaps", "time"],
            [
                [
                    d.name,
                    d.version or "not installed",
                    d.passed,
                    d.failed,
                    d.errors,
                    d.skipped,
                    d.xfailed,
                    seconds(d.duration_s),
                ]
                for d in report.domains
            ],
        ),
        _table(
            "Budgets",
            ["budget", "limit (p95)", "count", "p50", "p95", "max", "held"],
            [
                [
                    b.name,
                    milliseconds(b.limit_ms),
                    f"{b.count:,}",
                    milliseconds(b.p50_ms),
                    milliseconds(b.p95_ms),
                    milliseconds(b.max_ms),
                    "yes" if b.held else "no",
                ]
                for b in report.budgets
            ],
        ),
        _table(
            "Figures",
            ["test", "figure", "is"],
            [[sentence(test), name, told] for test in report.tests for name, told in test.figures.items()],
        ),
        _table("Value by tier", ["tier", "tests passed"], [[t, n] for t, n in value.by_tier.items()]),
        _table("Value by goal", ["goal", "tests passed"], [[g, n] for g, n in value.by_goal.items()]),
        _table("Delivered in all", ["outcome", "amount", "count"], delivered_in_all(value.outcomes)),
        _table(
            "Outcomes", ["outcome", "amount"], [[o.name, delivered(o.amount, o.unit)] for o in value.outcomes]
        ),
        _table(
            "Third-party data", ["file", "sha256", "cases"], [[d.file, d.sha256, d.cases] for d in run.data]
        ),
    ]


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(plain(cell) for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"## {title}", "", f"| {' | '.join(header)} |", "|" + " --- |" * len(header), *lines])


def _failures(report: RunReport) -> list[str]:
    blocks = [
        f"### {plain(module.nodeid)}\n\nnot collected\n\n{_fenced(module.text)}"
        for module in report.uncollected
        if module.text
    ]
    for test in report.tests:
        blocks += [_failure(test, failure) for failure in test.failures]
        blocks += [_state(test.snapshot)] if test.failures and test.snapshot else []
    return ["## Failures", *blocks] if blocks else []


def _failure(test: Test, failure: Failure) -> str:
    return (
        f"### {plain(sentence(test))}\n\n"
        f"{plain(test.nodeid)}, {plain(failure.when)}, worker {plain(test.worker)}\n\n"
        f"{_fenced(failure.message)}"
    )


def _state(left: Snapshot) -> str:
    lines = [f"The state it left: {plain(state.in_short(left))}.", *map(plain, state.notes(left))]
    act = "Open it" if left.kept else "Run it again and keep the state"
    return "\n\n".join([*lines, f"{act}:", _fenced(left.command)])


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
