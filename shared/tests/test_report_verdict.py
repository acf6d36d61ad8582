"""The verdict follows what happened, also where a run was cut short or a test was run again."""

import pytest

from netra_fixtures.report import Collector

from .reported import Finish, phase


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
    finish: Finish,
    outcome: str | None,
    exit_status: int,
    verdict: str,
) -> None:
    """A green page above a red run would be worse than no page."""
    if outcome:
        collector.add(phase("a.py::test_a", outcome=outcome, longrepr=("a.py", 1, "Skipped: why")))

    assert finish(exit_status=exit_status).run.verdict == verdict


@pytest.mark.parametrize("exit_status", [0, 2])
def test_a_run_that_stops_early_says_what_it_left_out(
    collector: Collector, finish: Finish, exit_status: int
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


def test_a_test_that_passes_after_its_worker_crashed_still_failed(
    collector: Collector, finish: Finish
) -> None:
    """A crash that a second attempt covers up is a crash."""
    collector.add(phase("a.py::test_a", "???", "failed", "worker 'gw0' crashed"))
    collector.add(phase("a.py::test_a"))

    assert finish().tests[0].outcome == "failed"


def test_a_test_that_was_run_again_says_so(collector: Collector, finish: Finish) -> None:
    """A flaky test that passes in the end is not an ordinary pass."""
    collector.add(phase("a.py::test_a", outcome="rerun"))
    collector.add(phase("a.py::test_a"))

    (test,) = finish().tests
    assert (test.outcome, test.reruns) == ("passed", 1)
