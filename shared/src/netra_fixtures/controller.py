"""The process that a person started: it holds the run together and reports on it."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.junitxml import xml_key

from netra_fixtures import settings
from netra_fixtures.errors import SettingInvalid
from netra_fixtures.hold import note_elsewhere
from netra_fixtures.lease import Run, died
from netra_fixtures.misspelt import misspelt
from netra_fixtures.worker import ACCOUNT, Worker

if TYPE_CHECKING:
    from netra_fixtures.report import RunReport

SEEDS = 2**32
DIRECTORY = "reports/latest"


class Controller:
    """One run of pytest, seen from where it was started; under xdist the workers are other processes.

    Args:
        seed: what chance in this run follows from.
    """

    def __init__(self, config: pytest.Config, chosen: settings.Settings, seed: int) -> None:
        self.config = config
        self.settings = chosen
        self.seed = seed
        self.run = Run()
        self.started_at = datetime.now(UTC)
        self._reports: list[pytest.TestReport | pytest.CollectReport] = []
        self._accounts: list[dict[str, Any]] = []
        self._report: RunReport | None = None
        self._unwritten: OSError | None = None
        self._unkept: OSError | None = None
        self._no_junit: OSError | None = None
        option = config.getoption("report_dir")
        self.directory = Path(config.invocation_params.dir, option) if option else config.rootpath / DIRECTORY
        self._crashed: list[str] = []
        self._junit = self.run.directory.with_name(self.run.directory.name + ".junit.xml")
        self._own_junit = config.pluginmanager.hasplugin("junitxml") and not config.getoption("xmlpath")
        if self._own_junit:
            config.option.xmlpath = str(self._junit)

    @classmethod
    def begin(cls, config: pytest.Config) -> Controller:
        """Begin a run.

        Raises:
            pytest.UsageError: an option, ini value or variable can't be read.
        """
        try:
            chosen = settings.read(config)
            if chosen.postgres_url or chosen.redis_url:
                from netra_fixtures.services import external

                external.check(chosen)
        except SettingInvalid as error:
            raise pytest.UsageError(str(error)) from None
        seed = config.getoption("seed")
        try:
            return cls(config, chosen, secrets.randbelow(SEEDS) if seed is None else seed)
        except OSError as error:
            raise pytest.UsageError(
                f"no folder for the run can be made: {error}; free room there, or set TMPDIR to another folder"
            ) from None

    def told(self) -> dict[str, Any]:
        """Give what a process that runs tests is told."""
        return {"place": self.run.place.to_json(), "seed": self.seed, "settings": self.settings.to_json()}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist what this run is."""
        node.workerinput["netra"] = self.told()

    def pytest_report_header(self) -> list[str]:
        """Say how to have the same run again, and what a person may have meant otherwise."""
        notes = [self.run.note, *misspelt(os.environ)]
        return [f"netra: --seed={self.seed}", *(f"netra: {note}" for note in notes if note)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a worker says of a test."""
        self._reports.append(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what couldn't be collected."""
        if not report.passed:
            self._reports.append(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Keep the account that a worker of xdist gave at its end; a crashed one gave none."""
        if error:
            self._crashed.append(node.gateway.id)
        account = getattr(node, "workeroutput", {}).get(ACCOUNT)
        if account:
            self._accounts.append(account)

    @pytest.hookimpl(wrapper=True, trylast=True)  # after junitxml has written, before the terminal sums up
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        """Write the report of a run that ran an integration test; others prove nothing about services."""
        wanted = self.config.getoption("report_dir") or any(
            getattr(report, "netra", {}).get("integration") for report in self._reports
        )
        if self._own_junit and not wanted:
            self._forgo_junit()
        elif self._own_junit:
            note_elsewhere(self.run.directory, self._junit)
        try:
            result = yield
        except OSError as error:
            if not self._own_junit:  # where it is written was chosen by who runs the tests
                raise
            result, self._no_junit = None, error
            self._forgo_junit()
        if self._crashed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = exitstatus = pytest.ExitCode.TESTS_FAILED
        if wanted:
            self._finish(session, exitstatus)
        return result

    def _forgo_junit(self) -> None:
        self.config.pluginmanager.unregister(self.config.stash[xml_key])
        del self.config.stash[xml_key]
        self._own_junit = False

    def _finish(self, session: pytest.Session, exitstatus: int) -> None:
        here = self.config.stash.get(Worker.KEY, None)
        if here is not None and here.account is not None:
            self._accounts.append(here.account)
        self._report = self._summed(int(exitstatus))
        missed = not all(budget.held for budget in self._report.budgets)
        if missed and self.config.getoption("enforce_budgets") and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._report = self._summed(pytest.ExitCode.TESTS_FAILED)
        try:
            self._write(self._report)
        except OSError as error:
            self._report, self._unwritten = None, error

    def _summed(self, exit_status: int) -> RunReport:
        from netra_fixtures import report

        collector = report.Collector(
            run_id=self.run.directory.name,
            started_at=self.started_at,
            seed=self.seed,
            time_factor=self.settings.time_factor,
        )
        for one in self._reports:
            collector.add(one)
        for account in self._accounts:
            collector.add_worker(account)
        collector.cut_short(died(self.run.directory))
        collector.collected(max((account["collected"] for account in self._accounts), default=0))
        return collector.finish(
            ended_at=datetime.now(UTC),
            exit_status=exit_status,
            workers=len(self._accounts) or 1,
            past=report.history.read(self.directory),
        )

    def _write(self, summed: RunReport) -> None:
        from netra_fixtures import report

        name = self.run.directory.name
        note_elsewhere(self.run.directory, report.begun(self.directory, name))
        attachments = {"junit.xml": self._junit} if self._own_junit else None
        report.write(summed, self.directory, run=name, attachments=attachments)
        if self._own_junit:
            self.config.stash[xml_key].logfile = str(self.directory / "junit.xml")  # the terminal names it
        try:
            report.history.keep(summed, self.directory)
        except OSError as error:
            self._unkept = error

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say in the terminal what was proved, and where the report is."""
        if self._unwritten:
            terminalreporter.write_line(
                f"netra: the report can't be written: {self._unwritten}; name another folder with --report-dir",
                red=True,
            )
        if self._unkept:
            terminalreporter.write_line(
                f"netra: the run can't be kept for comparison: {self._unkept}; make room, or remove what stands there",
                yellow=True,
            )
        if self._no_junit:
            terminalreporter.write_line(
                f"netra: junit.xml can't be written: {self._no_junit}; make room in {self._junit.parent}",
                red=True,
            )
        if self._crashed:
            crashed = f"the run ends as failed: {' and '.join(self._crashed)} crashed"
            terminalreporter.write_line(
                f"netra: {crashed}; see what was running, and its output, above", red=True
            )
        for reason, number in self._left_out().items():
            terminalreporter.write_line(f"netra: {number} skipped: {reason}", yellow=True)
        if self._report:
            from netra_fixtures.report import write_summary

            write_summary(terminalreporter, self._report, self._shown_directory())

    def _left_out(self) -> Counter[str]:
        """Count the tests that were skipped for want of a server, by what was wanting."""
        reasons = (getattr(report, "netra", {}).get("lacks") for report in self._reports)
        return Counter(reason for reason in reasons if reason)

    def _shown_directory(self) -> Path:
        here = os.fspath(self.config.invocation_params.dir)
        return Path(os.path.relpath(self.directory, here))

    def pytest_unconfigure(self) -> None:
        """Let go of the services."""
        self.run.end()
        self._junit.unlink(missing_ok=True)
