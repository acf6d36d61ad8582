"""The last runs are kept, and a run says what changed against them."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from netra_fixtures.budgets import Samples
from netra_fixtures.report import Collector, RunReport, history, since
from netra_fixtures.report.history import MOST_RUNS, Past

from .reported import STARTED, phase

RunOnce = Callable[..., RunReport]


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "latest"


@pytest.fixture
def ran(latest: Path) -> RunOnce:
    """Report a run of tests that ended as given, beside the history, and keep it there."""
    runs = iter(range(1000))

    def ran(
        outcomes: Mapping[str, str], *, took_s: float = 3, status: int = 0, **extra: Mapping[str, Any]
    ) -> RunReport:
        number = next(runs)
        began = STARTED + timedelta(minutes=number)
        collector = Collector(run_id=f"r{number}", started_at=began, seed=None)
        for name, outcomes_in_turn in outcomes.items():
            for outcome in outcomes_in_turn.split():
                collector.add(phase(name, outcome=outcome, longrepr="why", **extra.get(name, {})))
        ended = began + timedelta(seconds=took_s)
        report = collector.finish(ended_at=ended, exit_status=status, past=history.read(latest))
        history.keep(report, latest)
        return report

    return ran


def samples(ms: float) -> dict[str, Any]:
    measured = Samples()
    measured.record(ms)
    return {"netra": {"budgets": {"redis operation": measured.to_json()}}}


def test_what_changed_is_told_of_tests_that_ran_before(ran: RunOnce) -> None:
    """What broke, what was mended and what is new is what a person opens the report for."""
    first = ran({"a": "passed", "b": "failed"})

    changes = ran({"a": "failed", "b": "passed", "c": "failed"}).changes

    assert first.changes is None
    assert changes is not None
    assert (changes.since, changes.now_failing, changes.now_passing, changes.added) == (
        "r0", ("a",), ("b",), ("c",)
    )  # fmt: skip


def test_a_test_that_the_last_run_left_out_is_held_against_its_own_last_one(ran: RunOnce) -> None:
    """A quick run of one test between two whole ones makes nothing look new, and hides nothing that broke."""
    ran({"a": "passed", "b": "passed"})
    ran({"a": "passed"})

    changes = ran({"a": "passed", "b": "failed"}).changes

    assert changes is not None
    assert (changes.now_failing, changes.added) == (("b",), ())


@pytest.mark.parametrize(
    ("before", "now", "flaky"),
    [
        (["passed", "failed"], "passed", True),
        (["failed", "passed"], "error", True),
        (["passed", "skipped", "failed"], "passed", True),
        (["passed"], "rerun passed", True),
        (["rerun passed"], "passed", True),
        (["failed", "failed"], "passed", False),
        (["passed", "passed"], "failed", False),
        (["passed", "skipped"], "passed", False),
        (["passed", "failed", *["passed"] * 9], "passed", False),
    ],
)
def test_a_test_is_flaky_that_comes_and_goes_or_passes_only_when_run_again(
    ran: RunOnce, before: list[str], now: str, flaky: bool
) -> None:
    """What broke once or was mended once is no flaky test, and neither is one that has long been steady."""
    for outcome in before:
        ran({"a": outcome.replace("error", "failed")})

    changes = ran({"a": now.replace("error", "failed")}).changes

    assert changes is not None
    assert [one.nodeid for one in changes.flaky] == (["a"] if flaky else [])


def test_how_a_flaky_test_ended_is_drawn_run_after_run(ran: RunOnce) -> None:
    """Whoever hunts it sees how often it comes."""
    for outcome in ("passed", "failed", "skipped"):
        ran({"a": outcome})

    changes = ran({"a": "rerun passed"}).changes

    assert changes is not None
    assert [since.strip(one) for one in changes.flaky] == ["✓✗·✓, tried 2 times"]


def test_a_test_that_takes_longer_than_it_usually_does_is_named(ran: RunOnce) -> None:
    """Three runs make a habit; less than twice its time, or a quarter of a second, is a busy machine."""
    for _ in range(3):
        ran(dict.fromkeys("abcd", "passed"), a={"duration": 1}, b={"duration": 1}, c={"duration": 0.01})

    changes = ran(
        dict.fromkeys("abcd", "passed"),
        a={"duration": 3}, b={"duration": 1.9}, c={"duration": 0.1}, d={"duration": 0.1},
    ).changes  # fmt: skip

    assert changes is not None
    assert [(pace.nodeid, pace.call_s, pace.usual_s) for pace in changes.slower] == [("a", 3, 1)]
    assert [(pace.nodeid, pace.call_s, pace.usual_s) for pace in changes.faster] == [("d", 0.1, 0.5)]


def test_durations_and_budgets_are_held_against_runs_of_the_same_tests_alone(ran: RunOnce) -> None:
    """A run of one test, or one that was interrupted, says nothing about how long all of them usually take."""
    whole = dict.fromkeys("abc", "passed")
    ran(whole, took_s=10, a=samples(2))
    ran(whole, took_s=12, a=samples(4))
    ran({"a": "passed"}, took_s=1, a=samples(400))
    ran(whole, took_s=2, status=2, a=samples(400))

    report = ran(whole, took_s=30, a=samples(9))

    assert [run.alike for run in report.history.runs] == [True, True, False, True]
    assert since.usual_duration(report) == 11
    assert since.p95s(report, "redis operation") == [2, 4]
    assert since.in_short(report) == "no test changed; took 30 s, usually 11 s"
    assert since.moved(9, since.usual_p95(report, "redis operation")) == "3.0 times as slow"


def test_only_the_last_runs_are_kept(ran: RunOnce, latest: Path) -> None:
    """A folder that grew with every run would fill a disk that nobody looks at."""
    for _ in range(MOST_RUNS + 3):
        report = ran({"a": "passed"})

    kept = history.read(latest).runs
    assert len(kept) == MOST_RUNS
    assert kept[-1].run.id == report.run.id


def test_many_runs_of_one_test_do_not_push_out_the_last_one_of_all(ran: RunOnce) -> None:
    """An evening with one test must not make all the others look new the next morning."""
    everything = {f"test_{number}": "passed" for number in range(200)}
    ran(everything)
    for _ in range(MOST_RUNS + 3):
        ran({"test_0": "passed"})

    changes = ran(everything).changes

    assert changes is not None
    assert changes.added == ()


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\x80", b'{"schema_version": 99}', None])
def test_a_file_that_holds_no_run_is_named_and_passed_over(
    ran: RunOnce, latest: Path, content: bytes | None
) -> None:
    """A disk that was full once, or a newer version, is no reason for a run to fail, and none to be silent."""
    ran({"a": "failed"})
    bad = history.place(latest) / "20260228T120000000000Z-r.json"
    if content is None:
        bad.mkdir()
    else:
        bad.write_bytes(content)

    report = ran({"a": "passed"})

    assert report.changes is not None
    assert report.changes.now_passing == ("a",)
    assert report.history.unread == (bad.name,)
    assert since.passed_over(report) == (
        f"the history's {bad.name} can't be read and is passed over; remove it"
    )


def test_what_somebody_else_keeps_there_is_left_alone(ran: RunOnce, latest: Path) -> None:
    """A note beside the runs is neither read nor removed."""
    ran({"a": "passed"})
    note = history.place(latest) / "why-it-broke.json"
    note.write_text("keep me")

    for _ in range(MOST_RUNS + 3):
        report = ran({"a": "passed"})

    assert note.read_text() == "keep me"
    assert report.history.unread == ()


def test_runs_that_end_together_are_all_kept(latest: Path) -> None:
    """Two runs in one checkout lose none of each other's."""

    def keep(number: int) -> None:
        report = Collector(run_id=f"r{number}", started_at=STARTED, seed=7).finish(
            ended_at=STARTED, exit_status=0
        )
        history.keep(report, latest)

    threads = [threading.Thread(target=keep, args=[number]) for number in range(MOST_RUNS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    past = history.read(latest)
    assert {kept.run.id for kept in past.runs} == {f"r{number}" for number in range(MOST_RUNS)}
    assert past.unread == ()
    assert [path.name for path in latest.parent.iterdir()] == ["latest.history"]


KILLED = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import pytest
from netra_fixtures.report import Collector, history
began = datetime(2026, 3, 1, 12, tzinfo=UTC)
collector = Collector(run_id="r1", started_at=began, seed=None)
for name in range(500):
    collector.add(pytest.TestReport(f"a.py::test_{name}", ("a.py", 1, "a"), {}, "passed", None, "call"))
report = collector.finish(ended_at=began, exit_status=0)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
history.keep(report, Path(sys.argv[1]))
"""


def test_a_run_that_is_killed_while_it_is_kept_leaves_no_half_of_one(latest: Path, ran: RunOnce) -> None:
    """Whatever happens to one run, the next finds whole ones to compare itself with; here the kernel ends it."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(latest)], timeout=60, check=False)

    assert killed.returncode == -signal.SIGXFSZ
    assert history.read(latest) == Past()
    ran({"a": "passed"})
    assert len(history.read(latest).runs) == 1


def test_a_history_that_is_not_there_is_an_empty_one(latest: Path) -> None:
    """The first run has nothing to compare itself with, and says nothing about it."""
    assert history.read(latest) == Past()


def test_a_report_from_before_there_was_a_history_can_still_be_read(ran: RunOnce) -> None:
    """Reports in an archive stay readable: fields were added, none was changed."""
    written = json.loads(ran({"a": "passed"}).model_dump_json())
    del written["history"]

    assert RunReport.model_validate(written).history.runs == ()
