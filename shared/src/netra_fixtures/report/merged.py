"""One report of several: the shards of a run, from as many machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from netra_fixtures.budgets import Samples
from netra_fixtures.errors import ReportsDontMerge
from netra_fixtures.report import tables
from netra_fixtures.report.changes import changes, history
from netra_fixtures.report.history import Past
from netra_fixtures.report.model import (
    SCHEMA_VERSION,
    Counter,
    DataFile,
    Domain,
    Run,
    RunReport,
    Service,
    Test,
)
from netra_fixtures.report.parts import Outcome

NO_FAILURE = (0, 2, 5)  # of pytest: ended well, was interrupted, had no tests


def merge(parts: Sequence[RunReport], past: Past | None = None) -> RunReport:
    """Make one report of *parts*.

    A part or a test that is missing makes the whole incomplete. Workers are named after their part, as in 2/gw0,
    and times count from the start of the part that began first.

    Args:
        past: the runs before, for what changed since.

    Raises:
        ReportsDontMerge: a test is in two of them, or they are of different runs.
    """
    parts = sorted(parts, key=lambda part: part.run.started_at)
    missing = _missing_shards(parts)
    tests = list(_tests(parts))
    uncollected = list({one.nodeid: one for part in parts for one in part.uncollected}.values())
    shards = [part.run.shard for part in parts if part.run.shard]
    collected = shards[0].tests if shards else sum(part.totals.collected for part in parts)
    totals = tables.totals(tests, uncollected, collected)
    status = _exit_status(parts)
    proved = not totals.integration or any(
        test.integration and test.outcome is Outcome.PASSED for test in tests
    )
    verdict = tables.verdict(totals, 2 if missing and not status else status, proved=proved)
    time_factor = parts[0].run.time_factor
    return RunReport(
        schema_version=SCHEMA_VERSION,
        run=_run(parts, missing).model_copy(update={"exit_status": status, "verdict": verdict}),
        totals=totals,
        domains=tuple(_versioned(tables.domains(tests, uncollected), parts)),
        tests=tuple(sorted(tests, key=lambda test: (test.domain, test.module))),
        uncollected=tuple(uncollected),
        value=tables.value(tests, [one for part in parts for one in part.value.outcomes]),
        budgets=tables.budgets(
            ({one.name: Samples.from_json(one.samples) for one in part.budgets} for part in parts),
            time_factor,
        ),
        changes=changes(tests, past or Past()),
        history=history(tests, past or Past()),
    )


def _missing_shards(parts: Sequence[RunReport]) -> list[int]:
    """Name the parts of the run that left no report.

    Raises:
        ReportsDontMerge: the reports are not parts of one run.
    """
    if len({part.run.time_factor for part in parts}) > 1:
        raise ReportsDontMerge("they judged budgets with different time factors")
    shards = [part.run.shard for part in parts]
    if not any(shards):
        return []
    kinds = {(shard.of, shard.tests) if shard else None for shard in shards}
    if len(kinds) > 1:
        raise ReportsDontMerge("they are shards of different runs, or of different durations")
    numbers = [shard.number for shard in shards if shard]
    if len(numbers) > len(set(numbers)):
        raise ReportsDontMerge("two of them are of the same shard")
    first = shards[0]
    assert first is not None
    return sorted(set(range(1, first.of + 1)) - set(numbers))


def _tests(parts: Sequence[RunReport]) -> Iterator[Test]:
    began = parts[0].run.started_at
    seen: set[str] = set()
    for name, part in _named(parts):
        later_s = (part.run.started_at - began).total_seconds()
        for test in part.tests:
            if test.nodeid in seen:
                raise ReportsDontMerge(f"{test.nodeid} ran in two of them")
            seen.add(test.nodeid)
            place = {"worker": f"{name}/{test.worker}", "started_s": test.started_s + later_s}
            yield test.model_copy(update=place)


def _named(parts: Sequence[RunReport]) -> list[tuple[str, RunReport]]:
    """Give each part a short name: the number of its shard, or its place."""
    return [
        (str(part.run.shard.number if part.run.shard else place), part)
        for place, part in enumerate(parts, start=1)
    ]


def _run(parts: Sequence[RunReport], missing: Sequence[int]) -> Run:
    runs = [part.run for part in parts]
    ended = max(run.started_at + timedelta(seconds=run.duration_s) for run in runs)
    seeds = list(dict.fromkeys(run.seed for run in runs))
    deaths = [f"shard {name}: {part.run.cut_short}" for name, part in _named(parts) if part.run.cut_short]
    lost = [f"shard {number} left no report" for number in missing]
    return runs[0].model_copy(
        update={
            "duration_s": (ended - runs[0].started_at).total_seconds(),
            "python": ", ".join(sorted({run.python for run in runs})),
            "workers": sum(run.workers for run in runs),
            "seed": seeds[0] if len(seeds) == 1 else ", ".join(map(str, seeds)),
            "services": tuple(_services(parts)),
            "data": tuple(_data(one for run in runs for one in run.data)),
            "counters": tuple(_counters(parts)),
            "cut_short": "; ".join([*deaths, *lost]) or None,
            "shard": None,
        }
    )


def _exit_status(parts: Iterable[RunReport]) -> int:
    """Take the worst of pytest's own; a shard without tests is none."""
    given = {part.run.exit_status for part in parts}
    return max(given - {*NO_FAILURE}, default=2 if 2 in given else min(given))


def _services(parts: Sequence[RunReport]) -> Iterator[Service]:
    kinds: dict[tuple[str, str, str, str], list[Service]] = {}
    for name, part in _named(parts):
        for one in part.run.services:
            workers = tuple(f"{name}/{worker}" for worker in one.workers)
            kind = (one.name, one.server, one.version, one.backend)
            kinds.setdefault(kind, []).append(one.model_copy(update={"workers": workers}))
    for _, alike in sorted(kinds.items()):
        yield alike[0].model_copy(
            update={
                "start_s": max(one.start_s for one in alike),
                "reason": next((one.reason for one in alike if one.reason), ""),
                "workers": tuple(worker for one in alike for worker in one.workers),
            }
        )


def _data(files: Iterable[DataFile]) -> Iterator[DataFile]:
    cases: dict[tuple[str, str], int] = {}
    for one in files:
        cases[one.file, one.sha256] = cases.get((one.file, one.sha256), 0) + one.cases
    for (file, sha256), number in sorted(cases.items()):
        yield DataFile(file=file, sha256=sha256, cases=number)


def _counters(parts: Sequence[RunReport]) -> Iterator[Counter]:
    for name, part in _named(parts):
        for one in part.run.counters:
            yield one.model_copy(update={"worker": f"{name}/{one.worker}"})


def _versioned(domains: Iterable[Domain], parts: Sequence[RunReport]) -> Iterator[Domain]:
    """Give domains the versions that the parts had installed, which this machine need not have."""
    versions = {one.name: one.version for part in parts for one in part.domains if one.version}
    for domain in domains:
        yield domain.model_copy(update={"version": versions.get(domain.name)})
