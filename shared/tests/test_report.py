"""The report says what happened in a run: every test once, and nothing that was not so."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from netra_fixtures import Goal, Tier
from netra_fixtures.budgets import Samples
from netra_fixtures.report import Collector, RunReport, domain_of

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)

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
def collector() -> Collector:
    return Collector(run_id="r1", started_at=STARTED, seed=7)


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


@pytest.fixture
def finish(collector: Collector) -> Callable[..., RunReport]:
    """End a run that pytest ended with 0."""

    def finish(**changed: Any) -> RunReport:
        return collector.finish(**{"ended_at": STARTED + timedelta(seconds=3), "exit_status": 0, **changed})

    return finish


def phase(
    nodeid: str, when: str = "call", outcome: str = "passed", longrepr: Any = None, **extra: Any
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid, (nodeid, 1, nodeid), {}, outcome, longrepr, when, duration=0.5, **extra  # type: ignore[arg-type]
    )  # fmt: skip


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


def test_a_test_that_passes_after_its_worker_crashed_still_failed(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """A crash that a second attempt covers up is a crash."""
    collector.add(phase("a.py::test_a", "???", "failed", "worker 'gw0' crashed"))
    collector.add(phase("a.py::test_a"))

    assert finish().tests[0].outcome == "failed"


def test_a_test_that_was_run_again_says_so(collector: Collector, finish: Callable[..., RunReport]) -> None:
    """A flaky test that passes in the end is not an ordinary pass."""
    collector.add(phase("a.py::test_a", outcome="rerun"))
    collector.add(phase("a.py::test_a"))

    (test,) = finish().tests
    assert (test.outcome, test.reruns) == ("passed", 1)


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


@pytest.mark.parametrize("exit_status", [0, 2])
def test_a_run_that_stops_early_says_what_it_left_out(
    collector: Collector, finish: Callable[..., RunReport], exit_status: int
) -> None:
    """What never ran proves nothing."""
    collector.collected(3)
    collector.add(phase("a.py::test_a", "setup"))
    collector.add(phase("a.py::test_a"))
    collector.add(phase("a.py::test_b", "setup"))

    report = finish(exit_status=exit_status)
    assert [test.nodeid for test in report.tests] == ["a.py::test_a"]
    assert report.totals.not_run == 2
    assert report.run.verdict == "incomplete"


@pytest.mark.parametrize(
    ("outcome", "exit_status", "verdict"),
    [
        ("passed", 0, "passed"),
        ("failed", 1, "failed"),
        ("passed", 1, "failed"),
        ("passed", 3, "failed"),
        ("failed", 2, "failed"),
        ("passed", 2, "incomplete"),
        ("skipped", 0, "nothing proved"),
        (None, 5, "nothing proved"),
    ],
)
def test_the_verdict_follows_the_tests_and_pytest_s_own_status(
    collector: Collector,
    finish: Callable[..., RunReport],
    outcome: str | None,
    exit_status: int,
    verdict: str,
) -> None:
    """A green page above a red run would be worse than no page."""
    if outcome:
        collector.add(phase("a.py::test_a", outcome=outcome, longrepr=("a.py", 1, "Skipped: why")))

    assert finish(exit_status=exit_status).run.verdict == verdict


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


def test_value_counts_tests_that_passed_for_their_tier_and_every_higher_one(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """What the free tier has, the enterprise has too; what failed or was skipped, nobody has."""
    for name, outcome, tier, goals in [
        ("free", "passed", "free", ["user retention", "platform stability"]),
        ("mid", "passed", "mid", ["user retention"]),
        ("failed", "failed", "free", ["revenue generation"]),
        ("skipped", "skipped", "free", ["revenue generation"]),
    ]:
        value = {"tier": tier, "goals": goals, "impact": "nobody is signed out"}
        collector.add(phase(name, outcome=outcome, longrepr=("a.py", 1, "why"), netra={"value": value}))

    counted = finish().value
    assert counted.by_tier == {Tier.FREE: 1, Tier.EARLY: 1, Tier.MID: 2, Tier.ENTERPRISE: 2}
    assert counted.by_goal == {
        Goal.RETENTION: 2, Goal.STABILITY: 1, Goal.SECURITY: 0, Goal.REVENUE: 0, Goal.EFFICIENCY: 0
    }  # fmt: skip


def test_only_a_passed_test_establishes_outcomes(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """Savings that a failed test claims were not found."""
    for name, outcome in [("good", "passed"), ("bad", "failed")]:
        netra = {"outcomes": [{"name": "savings found", "amount": "12.30", "unit": "USD"}]}
        collector.add(phase(name, outcome=outcome, longrepr="why", netra=netra))

    (established,) = finish().value.outcomes
    assert (established.nodeid, str(established.amount), established.unit) == ("good", "12.30", "USD")


def test_budgets_are_judged_over_all_tests_together() -> None:
    """Ninety-five of a hundred operations count, wherever they ran; the time factor stretches the limit."""
    fast, slow = Samples(), Samples()
    for _ in range(90):
        fast.record(2)
    for _ in range(10):
        slow.record(15)

    judged = {}
    for factor in (1.0, 2.0):
        collector = Collector(run_id="r", started_at=STARTED, seed=None, time_factor=factor)
        collector.add(phase("a", netra={"budgets": {"redis operation": fast.to_json()}}))
        collector.add(phase("b", netra={"budgets": {"redis operation": slow.to_json()}}))
        report = collector.finish(ended_at=STARTED, exit_status=0)
        judged[factor] = [(one.count, one.max_ms, one.held) for one in report.budgets]
        assert [[one.held for one in test.budgets] for test in report.tests] == [[True], [factor == 2]]

    assert judged == {1.0: [(100, 15, False)], 2.0: [(100, 15, True)]}


def test_workers_that_shared_a_server_name_it_once(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """Two workers on one PostgreSQL are one service, up when the one that started it had it."""
    shared = {"name": "postgres", "server": "PostgreSQL", "version": "18.6", "backend": "embedded"}
    collector.add_worker({"worker": "gw0", "services": [shared | {"start_s": 0.01, "reason": ""}]})
    collector.add_worker({"worker": "gw1", "services": [shared | {"start_s": 0.21, "reason": "no engine"}]})

    (service,) = finish().run.services
    assert (service.start_s, service.reason, service.workers) == (0.21, "no engine", ("gw0", "gw1"))


def test_a_difference_to_the_server_s_own_counters_is_kept(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """Evidence that does not add up is shown, worker by worker; what the server can't tell is not compared."""
    collector.add_worker(
        {
            "worker": "gw0",
            "counters": [
                {
                    "link": "postgres",
                    "counted": {"transactions": 12, "rows_written": 5, "statements": 30},
                    "server": {"transactions": 10, "rows_written": 5, "statements": None},
                }
            ],
        }
    )

    (counter,) = finish().run.counters
    assert counter.difference == {"transactions": 2, "rows_written": 0}
    assert not counter.agrees


def test_counters_that_were_compared_with_nothing_do_not_agree(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """Silence of the server is no confirmation."""
    counters = [{"link": "redis", "counted": {"commands": 4}, "server": {}}]
    collector.add_worker({"worker": "gw0", "counters": counters})

    assert not finish().run.counters[0].agrees


def test_cases_that_workers_took_from_one_file_add_up(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """A file that changed between two reads shows as two."""
    for worker, sha256, cases in [("gw0", "aa", 3), ("gw1", "aa", 4), ("gw1", "bb", 1)]:
        data = [{"file": "focus/bill.csv", "sha256": sha256, "cases": cases}]
        collector.add_worker({"worker": worker, "data": data})

    assert [(one.sha256, one.cases) for one in finish().run.data] == [("aa", 7), ("bb", 1)]


def test_what_changed_since_the_last_run_is_told_of_tests_that_ran_in_both() -> None:
    """A test that was not selected last time did not break since."""
    reports: list[RunReport] = []
    for outcomes in [{"a": "passed", "b": "failed"}, {"a": "failed", "b": "passed", "c": "failed"}]:
        collector = Collector(run_id=f"r{len(reports)}", started_at=STARTED, seed=None)
        for name, outcome in outcomes.items():
            collector.add(phase(name, outcome=outcome, longrepr="why"))
        previous = reports[-1] if reports else None
        reports.append(collector.finish(ended_at=STARTED, exit_status=1, previous=previous))

    assert reports[0].changes is None
    changes = reports[1].changes
    assert changes is not None
    assert (changes.since, changes.now_failing, changes.now_passing, changes.added) == (
        "r0", ("a",), ("b",), ("c",)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodeid", "domain"),
    [
        ("packages/auth/tests/test_tokens.py::test_a[packages/x/y]", "auth"),
        ("shared/tests/test_report.py::test_a", "shared"),
        ("tests/test_a.py::test_a", "tests"),
        ("test_a.py::test_a", "test_a"),
        ("packages/test_a.py", "packages"),
    ],
)
def test_the_domain_of_a_test_is_the_package_it_stands_in(nodeid: str, domain: str) -> None:
    """A crashed worker can't say where its test belongs; its path can."""
    assert domain_of(nodeid) == domain


def test_domains_are_summed_up_with_the_versions_installed(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """A domain that is no installed package has no version, rather than a made-up one."""
    collector.add(phase("packages/nowhere/tests/test_a.py::test_a"))
    collector.add(phase("packages/nowhere/tests/test_a.py::test_b", outcome="failed", longrepr="why"))
    collector.add(phase("shared/tests/test_a.py::test_a", outcome="skipped", longrepr=("a", 1, "why")))

    first, second = finish().domains
    assert (first.name, first.version, first.passed, first.failed) == ("nowhere", None, 1, 1)
    assert (second.name, second.skipped, second.duration_s) == ("shared", 1, 0.5)


def test_text_that_no_page_can_hold_is_spelled_out(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """Colours, control characters, half a surrogate and reversed text neither break nor forge the report."""
    collector.add(
        phase("a", outcome="failed", longrepr="\x1b[31mred\x1b[0m \x00 \udc80 \u202egnp.exe\r\nend")
    )

    report = finish()
    assert report.tests[0].failures[0].text == "red \\x00 \\udc80 \\u202egnp.exe\nend"
    assert RunReport.model_validate_json(report.model_dump_json()) == report


def test_a_text_too_long_to_read_loses_its_middle(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
    """Ten megabytes of a diff do not make a report of ten megabytes."""
    collector.add(phase("a", outcome="failed", longrepr="begin" + "x" * 10_000_000 + "end"))

    text = finish().tests[0].failures[0].text
    assert len(text) < 25_000
    assert text.startswith("begin")
    assert text.endswith("end")


def test_tests_stand_on_the_time_line_from_the_start_of_the_run(
    collector: Collector, finish: Callable[..., RunReport]
) -> None:
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
