"""What the kit adds to a run of pytest and to each of its tests, and what `nox -s auth` takes for a trivial one."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from figures import Figure, Limit, LimitOn
from kit import STANDARD, plainly, standing
from turns import Contender, Subject, timed

SHARE = Limit(on=LimitOn.MEDIAN, bound=2)
OVER_XDIST = Limit(on=LimitOn.MEDIAN, bound=60)
TRIVIAL = Limit(on=LimitOn.MEDIAN, bound=1200)
HERE = Path(__file__).absolute().parent
ROOT = HERE.parent
DEADLINE_S = 60
TESTS = 60
XDIST = ("xdist", "xdist.looponfail")

TRIVIAL_TEST = "def test_nothing():\n    pass\n"
CONFIG = """[pytest]
addopts = ["--import-mode=importlib", "-p", "no:cacheprovider"]
anyio_mode = "auto"
"""
TEST = f"""
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("turn", range({TESTS}))
async def test_both(turn, engine, redis_client):
    async with engine.begin() as connection:
        await connection.execute(text("insert into bench.t7 (said) values ('x')"))
    await redis_client.set("said", b"x")
"""
VALUE = """
from netra_fixtures import Goal, Tier, business_value
pytestmark = business_value(tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="engineers get their answer in seconds")
"""
INTERVALS = """
import os, pathlib, statistics, time

BEGAN = []

def pytest_runtest_logstart():
    BEGAN.append(time.perf_counter())

def pytest_sessionfinish():
    steps = [after - before for before, after in zip(BEGAN, BEGAN[1:])]
    pathlib.Path(os.environ["BENCH_RESULT"]).write_text(str(statistics.median(steps[2:]) * 1000))
"""
CLIENTS = """
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def engine():
    engine = create_async_engine(os.environ["BENCH_POSTGRES"])
    yield engine
    await engine.dispose()

@pytest.fixture
async def redis_client():
    client = Redis.from_url(os.environ["BENCH_REDIS"])
    yield client
    await client.aclose()
"""


def without(*wanted: str) -> list[str]:
    """Give the options that leave out every installed plugin but those *wanted*."""
    names = sorted({point.name for point in entry_points(group="pytest11")} - set(wanted))
    return [part for name in names for part in ("-p", f"no:{name}")]


def run(command: Sequence[str], folder: Path, **environment: str) -> None:
    """Run a program to its end in *folder*.

    Raises:
        RuntimeError: it failed; with the last lines of what it said.
    """
    done = subprocess.run(
        command, cwd=folder, env=plainly(os.environ, **environment), timeout=DEADLINE_S,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}:\n{last}")


def pytest(*options: str) -> list[str]:
    """Give the command that runs pytest, as quietly as it does."""
    return [sys.executable, "-P", "-m", "pytest", "-q", *options]


def measure_share(subject: Subject) -> Iterator[Figure]:
    """Measure a test that uses both services, with the kit and on plain clients, from one's start to the next's."""
    with standing() as kit, tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, result = Path(name), Path(name, "result")
        ours, plain = folder / "ours", folder / "plain"
        where = {"BENCH_RESULT": str(result), "XDG_CACHE_HOME": str(folder), "PYTHONPATH": str(HERE)}
        where |= {"BENCH_POSTGRES": kit.database.endpoint.url(), "BENCH_REDIS": kit.redis.endpoint.url}
        migrations = f"netra_migrations = {list(STANDARD)}\n"
        for one, conftest, test, config in (
            (ours, INTERVALS, VALUE + TEST, CONFIG + migrations),
            (plain, INTERVALS + CLIENTS, TEST, CONFIG),
        ):
            one.mkdir()
            (one / "conftest.py").write_text(conftest)
            (one / "test_both.py").write_text(test)
            (one / "pytest.toml").write_text(config)

        def per_test(one: Path, *options: str) -> Contender:
            def once() -> float:
                run(pytest(*options), one, **where)
                return float(result.read_text())

            return once

        with_kit, on_clients = subject.in_turns(
            per_test(ours, *without("netra", "anyio"), "--services=embedded"), per_test(plain, *without("anyio")),
            turns=7, seconds=40,
        )  # fmt: skip
        yield subject.added(
            "the kit's share of a test that uses both",
            with_kit,
            ("the test on plain clients", on_clients),
            limit=SHARE,
        )


def measure_plugin(subject: Subject) -> Iterator[Figure]:
    """Measure what the plugin adds to an empty run under xdist."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "test_trivial.py").write_text(TRIVIAL_TEST)
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")

        def empty_run(*plugins: str) -> Contender:
            return timed(lambda: run(pytest("-n", "2", *without(*XDIST, *plugins)), folder))

        ours, with_anyio, bare = subject.in_turns(
            empty_run("netra", "anyio"), empty_run("anyio"), empty_run(), turns=15, seconds=30
        )
    name = "pytest -n 2 of an empty test, over xdist alone"
    yield subject.added(name, ours, ("xdist alone", bare), limit=OVER_XDIST)
    yield subject.added(
        "pytest -n 2 of an empty test, over xdist and anyio", ours, ("xdist and anyio's plugin", with_anyio)
    )


def measure_nox(subject: Subject) -> Iterator[Figure]:
    """Measure one trivial test in a domain's session, once its environment is made.

    Raises:
        RuntimeError: there is no nox, or the environment can't be made.
    """
    found = shutil.which("nox")
    nox = [found] if found else [sys.executable, "-m", "nox"]
    if not found and find_spec("nox") is None:
        raise RuntimeError("nox isn't on PATH; run the bench as a session of nox")
    (ROOT / "reports").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "reports") as name:
        test = Path(name, "test_trivial.py")
        test.write_text(TRIVIAL_TEST)
        options = ("-p", "no:cacheprovider", str(test))
        session = [*nox, "--noxfile", str(ROOT / "noxfile.py"), "-s", "auth", "--", *options]
        bare = [str(ROOT / ".nox" / "auth" / "bin" / "python"), "-P", "-m", "pytest", "-n", "2", *options]
        ours, alone = subject.in_turns(
            timed(lambda: run(session, ROOT, NETRA_WORKERS="2")), timed(lambda: run(bare, ROOT)),
            turns=9, seconds=25,
        )  # fmt: skip
    yield subject.figure(
        "nox -s auth of one trivial test, 2 workers",
        ours,
        [("the same pytest without nox", alone)],
        limit=TRIVIAL,
    )
