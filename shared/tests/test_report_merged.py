"""The shards of a run make one report, in which no test is missing unseen and none counts twice."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from netra_fixtures.report import RunReport, read

from .forked import ForkedRuns

ORDERS = '''
"""Orders are kept."""
import pytest
from sqlalchemy import text


@pytest.mark.parametrize("number", range(6))
async def test_orders(engine, number):
    """An order is kept."""
    async with engine.begin() as connection:
        await connection.execute(text("create temporary table orders (what text)"))
        await connection.execute(text("insert into orders values ('a pen')"))


async def test_keys(redis_client):
    """A key is kept."""
    await redis_client.set("a", "b")


def test_slow():
    """It takes as long as all others."""
'''
UNITS = '''
"""Arithmetic holds."""
import pytest


@pytest.mark.parametrize("number", range(8))
def test_sums(number):
    """A sum is a sum."""
    assert number != 8


def test_slow():
    """It takes as long as all others."""
'''
NAMESAKES = """
import pytest


@pytest.mark.parametrize("number", range(20))
class TestBooks:
    def test_sums(self, number): ...


@pytest.mark.parametrize("number", range(20))
class TestPens:
    def test_sums(self, number): ...
"""
DURATIONS = {
    "test_it.py::test_slow": 7.0,
    "test_it.py::test_keys": 1.0,
    **{f"test_it.py::test_{name}[{number}]": 1.0 for name in ("orders", "sums") for number in range(8)},
}
SETTINGS = """
[pytest]
addopts = ["-p", "no:valkey", "-p", "no:cacheprovider"]
anyio_mode = "auto"
"""
Shards = tuple[Path, Path]


Part = Callable[..., Shards]
Merge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_shards(forked_runs: ForkedRuns, kept_clusters: Path) -> Part:
    """Runs each of two shards of a module, and gives the folders of their reports."""

    def run_shards(folder: Path, source: str, *options: str) -> Shards:
        folder.mkdir()
        (folder / "pytest.toml").write_text(SETTINGS)
        (folder / "test_it.py").write_text(source)
        (folder / "durations.json").write_text(json.dumps(DURATIONS))
        for number in (1, 2):
            forked_runs.run(
                "pytest", "--splits=2", f"--group={number}", *options,
                "--splitting-algorithm=least_duration", f"--durations-path={folder / 'durations.json'}",
                f"--report-dir=shard-{number}",
                folder=folder,
                environ={
                    "PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_CACHE_HOME": str(kept_clusters),
                    "DOCKER_HOST": "unix:///nowhere/docker.sock",
                },
            )  # fmt: skip
        return folder / "shard-1", folder / "shard-2"

    return run_shards


@pytest.fixture
def merge(forked_runs: ForkedRuns, tmp_path: Path) -> Merge:
    """Runs the command that merges."""

    def merge(*folders: Path, into: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = ("netra_fixtures.report", "merge", *folders, "--into", into)
        return forked_runs.run(*command, folder=tmp_path, environ=variables)

    return merge


@pytest.fixture(scope="module")
def integration(run_shards: Part, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Run shards that use servers, each on two workers; to be read, and not to be changed."""
    return run_shards(tmp_path_factory.mktemp("integration") / "shop", ORDERS, "-n2")


@pytest.fixture(scope="module")
def units(run_shards: Part, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Run shards that use no server; to be read, and not to be changed."""
    return run_shards(tmp_path_factory.mktemp("units") / "shop", UNITS)


@pytest.fixture
def shards(units: Shards, tmp_path: Path) -> Shards:
    """Copy the shards that use no server, for a test that changes them."""
    for folder in units:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / units[0].name, tmp_path / units[1].name


def report(folder: Path) -> RunReport:
    found = read(folder)
    assert found is not None
    return found


def names(part: RunReport) -> set[str]:
    return {test.nodeid.rpartition("::")[2] for test in part.tests}


def test_shards_take_fair_parts_and_merge_into_the_whole(units: Shards, tmp_path: Path) -> None:
    """Two machines finish at the same time, and a reader sees one run."""
    command = (
        sys.executable,
        "-P",
        "-m",
        "netra_fixtures.report",
        "merge",
        *units,
        "--into",
        tmp_path / "whole",
    )

    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)

    whole, (one, two) = report(tmp_path / "whole"), map(report, units)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("It holds: 9 passed")
    assert names(one) == {"test_slow"} | (names(one) & {"test_sums[6]", "test_sums[7]"})
    assert names(one) | names(two) == names(whole)
    assert names(one).isdisjoint(names(two))
    assert whole.totals.collected == whole.totals.passed == whole.totals.unit == 9


@pytest.mark.timeout(180)  # starts the servers of two runs
def test_the_whole_keeps_what_each_shard_proved(merge: Merge, integration: Shards, tmp_path: Path) -> None:
    """Evidence, servers and measurements add up, and every test says which machine ran it."""
    done = merge(*integration, into=tmp_path / "whole")

    whole, parts = report(tmp_path / "whole"), [*map(report, integration)]
    assert done.returncode == 0, done.stderr
    assert {test.worker.partition("/")[0] for test in whole.tests} == {"1", "2"}
    assert sum(test.evidence.postgres.rows_written for test in whole.tests) == 6
    assert (whole.totals.integration, whole.totals.unit) == (7, 1)
    assert len(whole.run.counters) == sum(len(part.run.counters) for part in parts)
    assert all(budget.count == sum(count(part, budget.name) for part in parts) for budget in whole.budgets)
    (postgres,) = (one for one in whole.run.services if one.name == "postgres")
    assert {worker.partition("/")[0] for worker in postgres.workers} == {"1", "2"}
    assert "redis" in {one.name for one in whole.run.services}
    assert whole.run.workers == 4
    assert whole.run.seed == f"{parts[0].run.seed}, {parts[1].run.seed}"
    assert whole.run.duration_s >= sum(part.run.duration_s for part in parts)


def count(part: RunReport, budget: str) -> int:
    return sum(one.count for one in part.budgets if one.name == budget)


def test_a_shard_says_which_it_is(units: Shards) -> None:
    """Whoever opens the report of a part must not take it for the whole."""
    part = report(units[0]).run.shard

    assert part is not None
    assert (part.number, part.of, part.tests) == (1, 2, 9)
    assert "shard 1 of 2" in (units[0] / "report.md").read_text()


def test_shards_in_random_order_part_the_same_list(merge: Merge, run_shards: Part, tmp_path: Path) -> None:
    """Each shard draws a seed of its own, and no test may fall between two orders."""
    parts = run_shards(tmp_path / "shop", NAMESAKES, "--random-order")  # the order tells namesakes apart

    done = merge(*parts, into=tmp_path / "whole")

    assert done.returncode == 0, done.stdout + done.stderr
    assert report(tmp_path / "whole").totals.passed == 40


def test_what_was_left_out_by_name_is_not_missing(merge: Merge, run_shards: Part, tmp_path: Path) -> None:
    """A person who merges shards of a selection asked for no more."""
    parts = run_shards(tmp_path / "shop", UNITS, "-k", "sums")

    merge(*parts, into=tmp_path / "whole")

    totals = report(tmp_path / "whole").totals
    assert totals.collected == totals.passed == 8


def test_a_missing_shard_makes_the_whole_incomplete(merge: Merge, units: Shards, tmp_path: Path) -> None:
    """A machine that died must not look like a run that holds."""
    done = merge(units[1], into=tmp_path / "whole")

    whole = report(tmp_path / "whole")
    assert done.returncode == 1
    assert done.stdout.startswith("The run is incomplete")
    assert whole.run.cut_short == "shard 1 left no report"
    assert whole.totals.not_run == 9 - len(whole.tests)


def test_tests_that_fell_between_shards_make_the_whole_incomplete(
    merge: Merge, shards: Shards, tmp_path: Path
) -> None:
    """Shards that parted by different durations may leave one out; the sum shows it."""
    left_out = json.loads((shards[1] / "report.json").read_text())
    left_out["tests"].pop()
    (shards[1] / "report.json").write_text(json.dumps(left_out))

    done = merge(*shards, into=tmp_path / "whole")

    assert done.returncode == 1
    assert report(tmp_path / "whole").totals.not_run == 1


def test_a_failure_in_one_shard_fails_the_whole(merge: Merge, run_shards: Part, tmp_path: Path) -> None:
    """What one machine found is found, whatever the others say."""
    one, two = run_shards(tmp_path / "shop", UNITS.replace("!= 8", "!= 5"))

    done = merge(two, one, into=tmp_path / "whole")

    assert done.returncode == 1
    assert done.stdout.startswith("It does not hold: 1 failed, 8 passed")


@pytest.mark.parametrize(
    ("status", "verdict"), [(1, "It does not hold"), (2, "The run is incomplete"), (5, "It holds")]
)
def test_how_a_shard_ended_counts_where_all_its_tests_passed(
    merge: Merge, shards: Shards, tmp_path: Path, status: int, verdict: str
) -> None:
    """A missed budget fails a run that enforces them, and no test; a shard without tests fails nothing."""
    replace(shards[1], '"exit_status": 0', f'"exit_status": {status}')

    done = merge(*shards, into=tmp_path / "whole")

    assert done.stdout.startswith(verdict)


def test_the_files_of_junit_become_one(merge: Merge, units: Shards, tmp_path: Path) -> None:
    """A job that shows test results reads one file, whoever ran them."""
    merge(*units, into=tmp_path / "whole")

    suites = ElementTree.parse(tmp_path / "whole" / "junit.xml").getroot()
    assert len(suites.findall("testsuite")) == 2
    assert len(suites.findall("testsuite/testcase")) == 9


def test_the_summary_goes_to_the_page_of_the_job(merge: Merge, units: Shards, tmp_path: Path) -> None:
    """Who looks at a pull request reads the verdict without opening anything."""
    page = tmp_path / "summary.md"
    page.write_text("before\n")

    merge(*units, into=tmp_path / "whole", GITHUB_STEP_SUMMARY=str(page))

    assert page.read_text().startswith("before\n# It holds\n")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda one, two: shutil.copy(one / "report.json", two), "two of them are of the same shard"),
        (
            lambda one, two: replace(two, '"tests": 9', '"tests": 8'),
            "they are shards of different runs, or of different durations",
        ),
        (lambda one, two: repeat_a_test(one, two), "ran in two of them"),
        (
            lambda one, two: replace(two, '"time_factor": 1.0', '"time_factor": 2.0'),
            "they judged budgets with different time factors",
        ),
        (lambda one, two: (two / "report.json").unlink(), "holds no report that can be read"),
    ],
    ids=["same shard", "another run", "same test", "another time factor", "no report"],
)
def test_what_is_not_of_one_run_is_not_merged(
    merge: Merge, shards: Shards, tmp_path: Path, spoil: Callable[[Path, Path], object], reason: str
) -> None:
    """A sum of what does not belong together says nothing, and looks as if it did."""
    spoil(*shards)

    done = merge(*shards, into=tmp_path / "whole")

    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "whole").exists()


def replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "report.json").read_text()
    assert text.count(old) == 1
    (folder / "report.json").write_text(text.replace(old, new))


def repeat_a_test(one: Path, two: Path) -> None:
    """Let the second report hold a test of the first."""
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (one, two))
    second["tests"].append(first["tests"][0])
    (two / "report.json").write_text(json.dumps(second))
