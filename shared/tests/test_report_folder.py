"""The folder of a report is whole: the one before, or the new one, and nothing beside it."""

import json
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from netra_fixtures.report import Collector, RunReport, read, schema_text, write
from netra_fixtures.report.model import SCHEMA_FILE

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILES = {"report.json", "report.md", "index.html"}


def named(run_id: str) -> RunReport:
    return Collector(run_id=run_id, started_at=STARTED, seed=7).finish(ended_at=STARTED, exit_status=0)


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "latest"


@pytest.fixture
def beside(latest: Path) -> Callable[[], set[str]]:
    """What stands beside the report."""
    return lambda: {path.name for path in latest.parent.iterdir()} - {latest.name}


def test_a_report_is_read_back_as_it_was_written(latest: Path) -> None:
    """The next run compares itself with exactly what this one said."""
    report = named("r1")

    write(report, latest)

    assert read(latest) == report
    assert {path.name for path in latest.iterdir()} == FILES


def test_a_new_report_replaces_all_of_the_old_one(latest: Path, beside: Callable[[], set[str]]) -> None:
    """A snapshot of last week's failure does not stand beside today's report."""
    write(named("r1"), latest)
    (latest / "left-over.txt").write_text("of the run before")

    write(named("r2"), latest)

    assert {path.name for path in latest.iterdir()} == FILES
    assert json.loads((latest / "report.json").read_text())["run"]["id"] == "r2"
    assert beside() == set()


@pytest.mark.parametrize("place", ["notes", "notes/important.txt"])
def test_a_report_never_replaces_what_is_none(tmp_path: Path, place: str) -> None:
    """What a person mistypes as the report's folder may be their work."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "important.txt").write_text("keep me")

    with pytest.raises(FileExistsError, match="what stands there is no report"):
        write(named("r1"), tmp_path / place)

    assert (tmp_path / "notes" / "important.txt").read_text() == "keep me"


def test_attachments_move_into_the_report(latest: Path, tmp_path: Path) -> None:
    """pytest's own junit.xml and the state of failed tests stand beside the page that names them."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "rows.json").write_text("[]")
    (tmp_path / "j.xml").write_text("<testsuites/>")

    attachments = {"junit.xml": tmp_path / "j.xml", "snapshots": tmp_path / "kept", "none": tmp_path / "none"}
    write(named("r1"), latest, attachments=attachments)

    assert (latest / "junit.xml").read_text() == "<testsuites/>"
    assert (latest / "snapshots" / "rows.json").exists()
    assert {path.name for path in latest.iterdir()} == FILES | {"junit.xml", "snapshots"}


def test_a_report_that_cannot_be_finished_leaves_the_old_one(
    latest: Path, tmp_path: Path, beside: Callable[[], set[str]]
) -> None:
    """Whatever goes wrong while it is written, nobody meets half a report."""
    write(named("r1"), latest)
    (tmp_path / "j.xml").write_text("<testsuites/>")

    with pytest.raises(OSError, match="no-such-folder"):
        write(named("r2"), latest, attachments={"no-such-folder/junit.xml": tmp_path / "j.xml"})

    assert read(latest) == named("r1")
    assert beside() == set()


def test_a_link_to_another_folder_is_replaced_and_its_target_left_alone(
    latest: Path, tmp_path: Path, beside: Callable[[], set[str]]
) -> None:
    """Someone's archive does not vanish because `latest` pointed at it."""
    write(named("r1"), tmp_path / "archive")
    latest.parent.mkdir()
    latest.symlink_to(tmp_path / "archive")

    write(named("r2"), latest)

    assert not latest.is_symlink()
    assert beside() == set()
    assert read(tmp_path / "archive") == named("r1")


def test_runs_that_end_together_leave_one_whole_report(latest: Path, beside: Callable[[], set[str]]) -> None:
    """Two runs in one checkout take turns; the last one stands, and no part of the others."""
    reports = [named(f"r{number}") for number in range(4)]
    failed: list[BaseException] = []

    def keep_writing(report: RunReport) -> None:
        try:
            for _ in range(10):
                write(report, latest)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_writing, args=[report]) for report in reports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    assert read(latest) in reports
    assert {path.name for path in latest.iterdir()} == FILES
    assert beside() == set()


def test_a_report_can_be_read_by_whom_the_umask_lets(latest: Path) -> None:
    """A page that only its writer may open is no use on a build server."""
    umask = os.umask(0o022)
    try:
        write(named("r1"), latest)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(latest.stat().st_mode) == 0o755
    assert stat.S_IMODE((latest / "index.html").stat().st_mode) == 0o644


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"schema_version": 99}', "\x80"])
def test_a_report_that_this_version_cannot_read_counts_as_none(latest: Path, content: str | None) -> None:
    """The report of an older version is no reason for a run to fail."""
    latest.mkdir(parents=True)
    if content is not None:
        (latest / "report.json").write_text(content, encoding="latin-1")

    assert read(latest) is None


def test_the_published_schema_is_that_of_the_model() -> None:
    """Who reads reports with other tools reads them by this file."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "write schema_text() to report.schema.json"
    )
    assert json.loads(schema_text()) == RunReport.model_json_schema()


def test_the_json_has_every_key_that_readers_were_promised() -> None:
    """A key that vanishes breaks dashboards that nobody here sees."""
    collector = Collector(run_id="r1", started_at=STARTED, seed=7)
    redis = {"name": "redis", "server": "Valkey", "version": "9", "backend": "embedded", "start_s": 0.1}
    data = {"file": "a.csv", "sha256": "aa", "cases": 1}
    collector.add_worker({"worker": "gw0", "services": [redis], "data": [data]})
    value = {"tier": "free", "goals": ["user retention"], "impact": "nobody is signed out"}
    samples = {"count": 0, "max_ms": 0.0, "ratio": 1.02, "buckets": []}
    netra = {
        "value": value,
        "budgets": {"redis operation": samples},
        "outcomes": [{"name": "savings", "amount": 1, "unit": "USD"}],
    }
    collector.add(pytest.TestReport("a::b", ("a", 1, "b"), {}, "passed", None, "call", netra=netra))
    whole = json.loads(collector.finish(ended_at=STARTED, exit_status=0).model_dump_json())

    def has(part: dict[str, object], keys: str) -> bool:
        return set(keys.split()) <= set(part)

    assert has(whole, "schema_version run totals domains tests value budgets")
    assert has(whole["run"], "id started_at duration_s python workers seed services data")
    assert has(whole["run"]["services"][0], "name server version backend start_s")
    assert has(whole["run"]["data"][0], "file sha256 cases")
    assert has(whole["totals"], "collected passed failed errors skipped xfailed integration unit")
    assert has(whole["domains"][0], "name version passed failed skipped duration_s")
    test = whole["tests"][0]
    assert has(test, "nodeid domain outcome worker setup_s call_s teardown_s doc value evidence budgets")
    assert has(test["value"], "tier goals impact")
    assert has(test["evidence"]["postgres"], "transactions rows_written")
    assert has(test["evidence"]["redis"], "commands")
    assert has(test["evidence"]["websocket"], "frames")
    assert has(test["budgets"][0], "name limit_ms count p50_ms p95_ms max_ms held")
    assert has(whole["value"], "by_tier by_goal outcomes")
    assert has(whole["value"]["outcomes"][0], "name amount unit nodeid")
    assert has(whole["budgets"][0], "name limit_ms count p50_ms p95_ms max_ms held")
