"""Whoever is killed, and whenever: nothing is left on the machine 5 s later, and what could be known is said."""

import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from .conftest import SHOP
from .crashing import KilledRun

pytestmark = pytest.mark.timeout(180)  # each starts a run for real, and waits for its stages

Start = Callable[..., KilledRun]
ROLES = ("pytest", "controller", "worker", "supervisor", "postgres", "redis", "tap")
NAMES = {
    "supervisor": "the supervisor ended",
    "postgres": "PostgreSQL ended with -9",
    "redis": "Redis ended with -9",
    "tap": "the tap that counts evidence ended with -9",
}
LATEST_S = 0.15  # a kill comes so much after its stage at most
STAGES: Mapping[str, Callable[[KilledRun], bool]] = {
    "pytest has started": lambda run: True,
    "the supervisor starts": lambda run: bool(run.victim("supervisor")),
    "the directory is there": lambda run: bool(run.name) and run.directory.exists(),
    "the data directory is made": lambda run: run.has("pg/data"),
    "the server is up": lambda run: run.has("pg/.s.PGSQL.5432"),
    "the template is sealed": lambda run: run.has("pg-*"),
    "the first test has begun": lambda run: run.begun() >= 1,
    "the fourth test has begun": lambda run: run.begun() >= 4,
    "the last test has begun": lambda run: run.begun() >= 9,
    "the report is begun": lambda run: run.has("elsewhere") and run.begun() >= 9,
}
UNCACHED = ("the data directory is made", "the server is up", "the template is sealed")


@pytest.fixture
def start(tmp_path: Path, kept_clusters: Path) -> Iterator[Start]:
    """Start pytest on a project that uses both services; whatever still runs of it afterwards is ended."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "pytest.toml").write_text(
        '[pytest]\naddopts = ["-p", "no:cacheprovider"]\nanyio_mode = "auto"\n'
        'timeout = "60"\nnetra_migrations = ["shop:migrate"]\n'
    )
    started: list[KilledRun] = []

    def start(
        *arguments: str, cached: bool = True, variables: Mapping[str, str] = {}, **how: float
    ) -> KilledRun:
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NETRA_", "PYTEST_")) and name not in {"CI", "PYTHONDONTWRITEBYTECODE"}
        }
        cache = kept_clusters if cached else tmp_path / "cache"
        environ |= {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(cache), **variables}
        started.append(KilledRun(tmp_path, *arguments, environ=environ, **how))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()
        run.process.wait()


def moment(role: str, seed: str) -> tuple[str, float]:
    """Draw a stage and how many seconds after it the victim dies."""
    drawn = random.Random(f"{seed}:{role}")
    return drawn.choice(list(STAGES)), drawn.uniform(0, LATEST_S)


def killed(start: Start, role: str, seed: str) -> tuple[KilledRun, bool]:
    """Run the project and kill one of its processes at the moment that the seed gives."""
    stage, delay_s = moment(role, seed)
    print(f"{role} dies {delay_s:.3f} s after: {stage}; NETRA_CRASH_SEED={seed} brings it back")
    arguments = [] if role == "pytest" else ["-n", "2"]
    long_s = 30 if role == "controller" else 0
    run = start(*arguments, cached=stage not in UNCACHED, long_s=long_s)
    if run.until(lambda: STAGES[stage](run)):
        time.sleep(delay_s)
    return run, run.kill("pytest" if role == "controller" else role)


def check(run: KilledRun, role: str, *, was_there: bool) -> None:
    """Hold what the run said, and what it left, against what must be so."""
    code = run.ended()
    left = run.left_in_time()

    assert left == [], run.output
    if not was_there:
        assert code == 0, run.output
    elif role in {"pytest", "controller"}:
        assert code == -signal.SIGKILL
    elif "9 passed" in run.output and code == 0:
        assert role in {"worker", *NAMES}  # it died when everything was proved, and told
    elif role == "worker":
        assert code != 0, run.output
        assert "crashed" in run.output or "execnet" in run.output  # killed before xdist knew it
    else:
        assert code not in {0, -signal.SIGKILL}, run.output
        assert NAMES[role] in run.output
        assert "INTERNALERROR" not in run.output
        assert run.output.count("\nFAILED ") + run.output.count("\nERROR ") <= 4, run.output  # two a worker


@pytest.mark.parametrize("role", ROLES)
def test_whoever_is_killed_at_any_moment_nothing_is_left_and_the_run_says_what_died(
    start: Start, role: str
) -> None:
    """CI kills what takes too long and a machine without memory kills anything; neither may need a clean-up by hand."""
    seed = os.environ.get("NETRA_CRASH_SEED") or secrets.token_hex(4)

    run, was_there = killed(start, role, seed)

    check(run, role, was_there=was_there)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(15))
@pytest.mark.parametrize("role", ROLES)
def test_a_hundred_kills_leave_nothing(start: Start, role: str, turn: int) -> None:
    """What holds at five moments and not at a hundred doesn't hold."""
    seed = os.environ.get("NETRA_CRASH_SEED") or secrets.token_hex(4)

    run, was_there = killed(start, role, seed)

    check(run, role, was_there=was_there)
