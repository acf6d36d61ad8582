"""What changed since the runs before."""

from netra_fixtures.report import Collector, RunReport

from .reported import STARTED, phase


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
