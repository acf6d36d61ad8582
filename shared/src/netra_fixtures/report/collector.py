"""Gathers what pytest and its workers report, in the one process that sees all of it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from netra_fixtures.report import tables
from netra_fixtures.report.changes import changes, history
from netra_fixtures.report.history import Past
from netra_fixtures.report.model import (
    SCHEMA_VERSION,
    Counter,
    DataFile,
    Run,
    RunReport,
    Service,
    Shard,
    Uncollected,
)
from netra_fixtures.report.parts import Outcome
from netra_fixtures.report.phases import Phases, failure_of, reason_of


class _ServiceNote(BaseModel):
    name: str
    server: str
    version: str
    backend: str
    start_s: float
    reason: str = ""


class _CounterNote(BaseModel):
    link: str
    counted: dict[str, int]
    server: dict[str, int | None]
    note: str = ""
    explained: tuple[str, ...] = ()


class _WorkerNote(BaseModel):
    """What a worker hands over at its end."""

    worker: str
    services: list[_ServiceNote] = []
    data: list[DataFile] = []
    counters: list[_CounterNote] = []
    shard: Shard | None = None


class Collector:
    """Turns one run's reports into its `RunReport`; lives in xdist's controller, or in the only process.

    Args:
        run_id: names the run.
        started_at: an aware instant.
        seed: the one that every random choice of the run follows from, if it has one.
        time_factor: what the limits of budgets are multiplied with.
    """

    def __init__(
        self, *, run_id: str, started_at: datetime, seed: int | str | None, time_factor: float = 1.0
    ) -> None:
        self._run_id = run_id
        self._started_at = started_at
        self._seed = seed
        self._time_factor = time_factor
        self._collected = 0
        self._cut_short: str | None = None
        self._tests: dict[str, Phases] = {}
        self._uncollected: dict[str, Uncollected] = {}
        self._workers: list[_WorkerNote] = []

    def collected(self, number: int) -> None:
        """Take the number of tests that are to run."""
        self._collected = number

    def cut_short(self, death: Exception | None) -> None:
        """Take what died so that the run ended, if something did."""
        self._cut_short = str(death) if death else None

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Take what `pytest_runtest_logreport` or `pytest_collectreport` was given."""
        if isinstance(report, pytest.CollectReport):
            self._add_uncollected(report)
        else:
            self._tests.setdefault(report.nodeid, Phases(report.nodeid)).add(report)

    def _add_uncollected(self, report: pytest.CollectReport) -> None:
        if report.passed:
            return
        failure = failure_of(report, "collection")
        self._uncollected[report.nodeid] = Uncollected(
            nodeid=report.nodeid,
            domain=tables.domain_of(report.nodeid or "."),
            outcome=Outcome.ERROR if report.failed else Outcome.SKIPPED,
            message=failure.message if report.failed else reason_of(report),
            text=failure.text if report.failed else "",
        )

    def add_worker(self, payload: Mapping[str, Any]) -> None:
        """Take what a worker handed over at its end: servers, counters, third-party files."""
        self._workers.append(_WorkerNote.model_validate(payload))

    def finish(
        self, *, ended_at: datetime, exit_status: int, workers: int = 1, past: Past | None = None
    ) -> RunReport:
        """Sum up the run.

        Args:
            ended_at: an aware instant.
            exit_status: pytest's own.
            workers: how many processes ran tests.
            past: the runs before, for what changed since.
        """
        ended = [phases for phases in self._tests.values() if phases.outcome]
        began = self._started_at.timestamp()
        tests = [phases.test(began, self._time_factor) for phases in ended]
        uncollected = list(self._uncollected.values())
        totals = tables.totals(tests, uncollected, self._collected)
        proved = not totals.integration or any(
            test.integration and test.outcome is Outcome.PASSED for test in tests
        )
        return RunReport(
            schema_version=SCHEMA_VERSION,
            run=Run(
                id=self._run_id,
                started_at=self._started_at,
                duration_s=(ended_at - self._started_at).total_seconds(),
                python=platform.python_version(),
                workers=workers,
                seed=self._seed,
                time_factor=self._time_factor,
                exit_status=exit_status,
                verdict=tables.verdict(totals, exit_status, proved=proved),
                services=merged_services(self._workers),
                data=merged_data(self._workers),
                counters=compared_counters(self._workers),
                cut_short=self._cut_short,
                shard=next((worker.shard for worker in self._workers if worker.shard), None),
            ),
            totals=totals,
            domains=tables.domains(tests, uncollected),
            tests=tuple(sorted(tests, key=lambda test: (test.domain, test.module))),
            uncollected=tuple(uncollected),
            value=tables.value(tests, [one for phases in ended for one in phases.delivered()]),
            budgets=tables.budgets((phases.samples for phases in ended), self._time_factor),
            changes=changes(tests, past or Past()),
            history=history(tests, past or Past()),
        )


def merged_services(workers: Iterable[_WorkerNote]) -> tuple[Service, ...]:
    """Name each kind of server once, with the workers that it served."""
    kinds: dict[tuple[str, str, str, str], list[tuple[str, _ServiceNote]]] = {}
    for worker in workers:
        for one in worker.services:
            kind = (one.name, one.server, one.version, one.backend)
            kinds.setdefault(kind, []).append((worker.worker, one))
    return tuple(
        Service(
            name=name,
            server=server,
            version=version,
            backend=backend,
            start_s=max(one.start_s for _, one in served),
            reason=next((one.reason for _, one in served if one.reason), ""),
            workers=tuple(dict.fromkeys(worker for worker, _ in served)),
        )
        for (name, server, version, backend), served in sorted(kinds.items())
    )


def merged_data(workers: Iterable[_WorkerNote]) -> tuple[DataFile, ...]:
    """Add up the cases that all workers took from each file."""
    cases: dict[tuple[str, str], int] = {}
    for worker in workers:
        for file in worker.data:
            key = (file.file, file.sha256)
            cases[key] = cases.get(key, 0) + file.cases
    return tuple(
        DataFile(file=file, sha256=sha256, cases=number) for (file, sha256), number in sorted(cases.items())
    )


def compared_counters(workers: Iterable[_WorkerNote]) -> tuple[Counter, ...]:
    """Hold what was counted on the wire against what the servers counted."""
    return tuple(
        _compared(worker.worker, one)
        for worker in sorted(workers, key=lambda worker: worker.worker)
        for one in worker.counters
    )


def _compared(worker: str, one: _CounterNote) -> Counter:
    server = {name: number for name, number in one.server.items() if number is not None}
    return Counter(
        link=one.link,
        worker=worker,
        counted=one.counted,
        server=server,
        difference={name: one.counted[name] - server[name] for name in one.counted if name in server},
        note=one.note,
        explained=one.explained,
    )
