"""The report tells of every test once: how it ended, why, and nothing that was not so."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from netra_fixtures.report import Collector, RunReport
from netra_fixtures.report.markdown import markdown
from netra_fixtures.report.page import page

from .reported import STARTED, Finish, phase

CONFTEST = """
import pytest

def pytest_configure(config):
    config.addinivalue_line("markers", "note(**what): what the kit would say of the test")

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "teardown":
        note = item.get_closest_marker("note")
        doc, promise = item.function.__doc__, item.module.__doc__
        told = note.kwargs if note else {}
        report.netra = {"doc": doc, "promise": promise, "integration": bool(note), **told}
    return report
"""


@dataclass
class Wire:
    """Hands pytest's reports to a collector, as the kit does."""

    collector: Collector
    items: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.items.add(report.nodeid)
        self.collector.add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.collector.add(report)


class EarlyWire(Wire):
    """Hands a report over before pytest itself has judged it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        super().pytest_runtest_logreport(report)


@dataclass
class Ran:
    """One real run of pytest, and the report of it."""

    report: RunReport
    counted: Mapping[str, int]

    def outcomes(self) -> dict[str, str]:
        """Outcomes by the name of the test."""
        return {test.nodeid.rpartition("::")[2]: test.outcome.value for test in self.report.tests}


Run = Callable[..., Ran]


@pytest.fixture
def run(pytester: pytest.Pytester, collector: Collector) -> Run:
    """Run the files given by name, with the options given, and report on it."""

    def run(*options: str, early: bool = False, **files: str) -> Ran:
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(**files)
        wire = (EarlyWire if early else Wire)(collector)
        bare = (
            "-p",
            "no:netra",
            "-p",
            "no:hypothesispytest",
        )  # importing hypothesis takes longer than the run
        result = pytester.runpytest_inprocess(*bare, *options, plugins=[wire])
        collector.collected(len(wire.items))
        report = collector.finish(ended_at=STARTED + timedelta(seconds=3), exit_status=int(result.ret))
        return Ran(report, result.parseoutcomes())

    return run


EVERY_ENDING = """
    import pytest

    @pytest.fixture
    def breaks():
        raise RuntimeError("never ready")

    @pytest.fixture
    def leaks():
        yield
        raise RuntimeError("left open")

    def test_passes(): ...
    def test_fails(): assert 1 == 2
    def test_breaks(breaks): ...
    def test_leaks(leaks): ...
    def test_fails_and_leaks(leaks): assert 1 == 2
    @pytest.mark.skip(reason="no data")
    def test_skipped(): ...
    def test_skips_itself(): pytest.skip("no server")
    @pytest.mark.xfail(reason="known")
    def test_gap(): assert 1 == 2
    @pytest.mark.xfail(reason="known", strict=True)
    def test_gap_that_closed(): ...
    @pytest.mark.xfail(reason="known", strict=False)
    def test_gap_that_may_close(): ...
"""


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["one process", "two workers"])
def test_every_test_is_counted_once_by_how_it_ended(run: Run, options: tuple[str, ...]) -> None:
    """Totals add up to the tests that ran, in one process as in several."""
    ran = run(*options, test_endings=EVERY_ENDING)

    assert ran.outcomes() == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_breaks": "error",
        "test_leaks": "error",
        "test_fails_and_leaks": "failed",
        "test_skipped": "skipped",
        "test_skips_itself": "skipped",
        "test_gap": "xfailed",
        "test_gap_that_closed": "failed",
        "test_gap_that_may_close": "xpassed",
    }
    totals = ran.report.totals
    assert (totals.passed, totals.failed, totals.errors) == (1, 3, 2)
    assert (totals.skipped, totals.xfailed, totals.xpassed, totals.not_run) == (2, 1, 1, 0)
    assert totals.collected == 10


def test_totals_agree_with_what_pytest_printed(run: Run) -> None:
    """Only a broken teardown is told apart: pytest counts its test twice, as what it was and as an error."""
    ran = run(test_endings=EVERY_ENDING)

    twice = {"test_leaks", "test_fails_and_leaks"}
    totals = ran.report.totals
    assert ran.counted == {
        "passed": totals.passed + len(twice - {"test_fails_and_leaks"}),
        "failed": totals.failed,
        "errors": totals.errors + len(twice - {"test_leaks"}),
        "skipped": totals.skipped,
        "xfailed": totals.xfailed,
        "xpassed": totals.xpassed,
    }


def test_a_failure_keeps_its_message_its_traceback_and_its_output(run: Run) -> None:
    """Whoever reads the report need not run the test again to see why it failed."""
    ran = run(test_one='def test_one():\n    print("the bill was empty")\n    assert 1 == 2, "no savings"')

    (test,) = ran.report.tests
    (failure,) = test.failures
    assert failure.when == "call"
    assert failure.message.startswith("AssertionError: no savings")
    assert "test_one.py:3" in failure.text
    assert [section.text for section in test.output] == ["the bill was empty\n"]


def test_a_test_that_fails_and_leaks_keeps_both_reasons(run: Run) -> None:
    """The second failure does not hide the first."""
    ran = run("-k", "fails_and_leaks", test_endings=EVERY_ENDING)

    assert [failure.when for failure in ran.report.tests[0].failures] == ["call", "teardown"]


def test_why_a_test_did_not_run_is_kept(run: Run) -> None:
    """A skip without its reason would pass for negligence."""
    ran = run("-k", "skip or gap", test_endings=EVERY_ENDING)

    reasons = {test.nodeid.rpartition("::")[2]: test.reason for test in ran.report.tests}
    assert reasons["test_skipped"] == "no data"
    assert reasons["test_skips_itself"] == "no server"
    assert reasons["test_gap"] == "known"


def test_a_figure_that_a_test_tells_is_kept_and_shown(run: Run) -> None:
    """How well something does is worth more than that it did well enough."""
    ran = run(
        test_one='def test_one(request):\n    request.node.user_properties.append(("recall <b>", 0.97))'
    )

    assert ran.report.tests[0].figures == {"recall <b>": "0.97"}
    assert "; recall &lt;b&gt; 0.97" in page(ran.report)
    assert r"| recall \<b\> | 0.97 |" in markdown(ran.report)


DYING = """
    import os, pytest

    @pytest.fixture
    def deadly():
        os._exit(3)

    def test_dies(deadly): ...
    def test_lives(): ...
"""


def test_a_worker_that_crashes_fails_the_test_it_ran(run: Run) -> None:
    """A crash may leave no report of any phase, and must not pass for a test that was never there."""
    ran = run("-n1", test_crash=DYING)

    assert ran.outcomes() == {"test_dies": "failed", "test_lives": "passed"}
    died = next(test for test in ran.report.tests if test.outcome == "failed")
    assert died.worker == "gw0"
    assert died.integration is None
    assert died.failures[0].when == "worker crashed"
    assert ran.report.totals.failed == ran.counted["failed"] == 1


@pytest.mark.parametrize("early", [False, True])
def test_a_failed_subtest_fails_its_test_once_and_is_named(run: Run, early: bool) -> None:
    """One test is one failure, however many of its cases failed, and each case is named."""
    ran = run(
        early=early,
        test_cases="""
        def test_cases(subtests):
            for role in ("user", "admin", "root"):
                with subtests.test(role=role):
                    assert role == "user"
        """,
    )

    (test,) = ran.report.tests
    assert ran.report.totals.failed == 1
    assert [failure.message.splitlines()[0] for failure in test.failures] == [
        "AssertionError: assert 'admin' == 'user'", "AssertionError: assert 'root' == 'user'"
    ]  # fmt: skip
    assert all(failure.when.startswith("subtest (role=") for failure in test.failures)


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["one process", "two workers"])
def test_a_module_that_cannot_be_collected_is_one_error(run: Run, options: tuple[str, ...]) -> None:
    """Its tests are missing from the run, so the run must not look whole."""
    ran = run(*options, test_broken="import no_such_module", test_fine="def test_fine(): ...")

    (broken,) = ran.report.uncollected
    assert broken.nodeid == "test_broken.py"
    assert broken.message == "ModuleNotFoundError: No module named 'no_such_module'"
    assert ran.report.totals.errors == ran.counted["errors"] == 1
    assert ran.report.run.verdict == "failed"


def test_a_module_that_skips_itself_is_counted_as_pytest_counts_it(run: Run) -> None:
    """A whole file that was left out shows."""
    ran = run(
        test_left="import pytest\npytest.skip('no data', allow_module_level=True)", test_b="def test_b(): ..."
    )

    assert ran.report.totals.skipped == ran.counted["skipped"] == 1
    assert ran.report.uncollected[0].message == "no data"


def test_promise_and_sentence_and_worker_of_a_test_reach_the_report(run: Run) -> None:
    """The page speaks in the words of the tests."""
    ran = run("-n1", test_doc='"""Users stay in."""\ndef test_doc():\n    """A restart signs nobody out."""')

    (test,) = ran.report.tests
    assert (test.promise, test.doc, test.worker) == ("Users stay in.", "A restart signs nobody out.", "gw0")


def test_integration_and_unit_tests_are_counted_apart(run: Run) -> None:
    """A unit test proves nothing about services, and does not count as if it did."""
    ran = run(
        "-n2",
        test_both="""
        import pytest
        @pytest.mark.note(evidence={"postgres": {"statements": 3, "transactions": 2, "rows_written": 4}})
        def test_integration(): ...
        def test_unit_one(): ...
        def test_unit_two(): ...
        """,
    )

    assert (ran.report.totals.integration, ran.report.totals.unit) == (1, 2)
    seen = next(test for test in ran.report.tests if test.integration).evidence
    assert (seen.postgres.transactions, seen.postgres.rows_written, seen.redis.commands) == (2, 4, 0)


def test_tests_stand_on_the_time_line_from_the_start_of_the_run(collector: Collector, finish: Finish) -> None:
    """The phases of a test keep their own durations, and its place is counted from the run's start."""
    for offset, when in enumerate(("setup", "call", "teardown")):
        collector.add(phase("a", when, start=STARTED.timestamp() + 1.5 + offset))

    (test,) = finish().tests
    assert (test.started_s, test.setup_s, test.call_s, test.teardown_s) == (1.5, 0.5, 0.5, 0.5)


def test_importing_the_report_loads_no_template_engine(pytester: pytest.Pytester) -> None:
    """Who only reads a report pays for pydantic alone."""
    loaded = pytester.runpython_c(
        "import sys, netra_fixtures.report; "
        "print({'jinja2', 'rich', 'sqlalchemy', 'redis', 'asyncio'} & set(sys.modules))"
    )

    assert loaded.outlines == ["set()"], os.linesep.join(loaded.errlines)
