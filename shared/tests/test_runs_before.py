"""A run says in the terminal, on the page and in report.json what has changed since the runs before."""

import html
import os
from pathlib import Path

import pytest

from .runs import Outcome, Run

PASSES = "def test_one(): ...\ndef test_two(): ..."
FAILS = "def test_one(): assert not 'broken'\ndef test_two(): ..."
OUT = "--report-dir=out"


def page(outcome: Outcome) -> str:
    return html.unescape((outcome.folder / "out" / "index.html").read_text())


def test_what_changed_is_said_wherever_a_person_looks(run: Run) -> None:
    """Whoever mended something sees that it is mended, and that it comes and goes."""
    first = run(PASSES, OUT)
    assert "since the last run" not in first.text

    broken = run(FAILS, OUT)
    mended = run(PASSES + "\ndef test_three(): ...", OUT)

    assert "since the last run: 1 now failing; took " in broken.text
    assert "since the last run: 1 fixed, 1 flaky, 1 new; took " in mended.text
    assert "✓✗✓" in page(mended)
    assert "✓✗✓" in (mended.folder / "out" / "report.md").read_text().replace("\\", "")
    assert len(list((mended.folder / "out.history").iterdir())) == 3


def test_a_run_that_is_interrupted_is_kept_as_what_it_was(run: Run) -> None:
    """What ran before the interruption did run; the next run is not held against how long it took."""
    run(PASSES, OUT)
    stops = "def test_one(): assert not 'broken'\ndef test_two(): raise KeyboardInterrupt"
    interrupted = run(stops, OUT)
    after = run(PASSES, OUT)

    assert interrupted.result.ret == pytest.ExitCode.INTERRUPTED
    assert "since the last run: 1 fixed, 1 flaky; took " in after.text


def test_a_broken_file_of_the_history_is_said_once_and_fails_nothing(run: Run) -> None:
    """The run goes on as if the file were not there, and names it."""
    broken = run(PASSES, OUT).folder / "out.history" / "20260228T120000000000Z-r.json"
    broken.write_text('{"schema_version": 1, "run":')

    outcome = run(PASSES, OUT)

    said = f"the history's {broken.name} can't be read and is passed over; remove it"
    assert outcome.result.ret == 0
    assert outcome.text.count(said) == 1
    assert said[1:] in page(outcome)
    assert "since the last run: no test changed; took " in outcome.text


def test_a_history_that_cannot_be_written_is_said_and_fails_nothing(
    run: Run, pytester: pytest.Pytester
) -> None:
    """The report stands all the same."""
    (pytester.path / "out.history").write_text("a file of mine")

    outcome = run(PASSES, OUT)

    assert outcome.result.ret == 0
    assert "the run can't be kept for comparison: " in outcome.text
    assert "Traceback" not in outcome.text
    assert (pytester.path / "out" / "index.html").exists()
    assert (pytester.path / "out.history").read_text() == "a file of mine"


def test_a_report_elsewhere_keeps_its_history_beside_itself(run: Run, tmp_path: Path) -> None:
    """Reports of two kinds of runs, in two folders, are never held against each other."""
    elsewhere = tmp_path / "archive" / "nightly"
    run(PASSES, OUT)
    run(FAILS, f"--report-dir={elsewhere}")

    again = run(FAILS, f"--report-dir={elsewhere}")

    assert "since the last run: no test changed; took " in again.text
    assert set(os.listdir(elsewhere.parent)) == {"nightly", "nightly.history"}
    assert len(os.listdir(elsewhere.parent / "nightly.history")) == 2
