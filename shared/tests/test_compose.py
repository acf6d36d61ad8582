"""Servers in containers: brought up for one run, told apart from other runs, gone after it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netra_fixtures import lease
from netra_fixtures.services.compose import SHIPPED

from .crashing import WITHIN_S, KilledRun
from .runs import USE_BOTH, Run

pytestmark = pytest.mark.timeout(180)  # engines are slow to begin where many start containers

# a run of pytester has another home
OWN = {
    "DOCKER_HOST": os.environ.get("DOCKER_HOST", ""),
    "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"),
}


def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask the engine of this machine."""
    environ = {**os.environ, **{name: value for name, value in OWN.items() if value}}
    if not OWN["DOCKER_HOST"]:
        environ.pop("DOCKER_HOST", None)
    return subprocess.run(
        ["docker", *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def containers_of(project: str) -> list[str]:
    """List the containers of a project, running or not."""
    listed = asked("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}")
    return listed.stdout.split()


def no_engine() -> str:
    """Say why no test here can start a container; empty where one can."""
    if shutil.which("docker") is None or asked("compose", "version").returncode:
        return "there is no docker with Compose"
    for image in ("postgres:18-alpine", "valkey/valkey:9-alpine", "redis:8-alpine"):
        if asked("image", "inspect", image).returncode:
            return f"no engine answers that has the image {image}"
    return ""


@pytest.fixture(scope="session")
def reason_to_skip() -> str:
    """Why these tests can't start containers."""
    return no_engine()


@pytest.fixture
def docker(run: Run, monkeypatch: pytest.MonkeyPatch, reason_to_skip: str) -> None:
    """Let the runs inside a test see the engine of this machine; skip the test where there is none."""
    if reason_to_skip:
        pytest.skip(f"{reason_to_skip}; start Docker and pull the images of compose.yaml to run this test")
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    if not OWN["DOCKER_HOST"]:
        monkeypatch.delenv("DOCKER_HOST")


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize(("engine", "server"), [("valkey", "Valkey"), ("redis", "Redis")])
def test_servers_in_containers_prove_the_same_and_are_gone_after(run: Run, engine: str, server: str) -> None:
    """A team that trusts the official images proves on them what others prove on the kit's own servers."""
    outcome = run(USE_BOTH, "--services=compose", f"--redis={engine}", "-n", "2")

    outcome.result.assert_outcomes(passed=4)
    assert outcome.backends == {"postgres": "compose", "redis": "compose"}
    by_name = {one["name"]: one for one in outcome.report["run"]["services"]}
    assert by_name["postgres"]["version"].startswith("18.")
    assert by_name["redis"]["server"] == server
    assert by_name["postgres"]["start_s"] > 0
    assert containers_of(outcome.report["run"]["id"]) == []


@pytest.mark.usefixtures("docker")
def test_an_engine_that_has_the_images_is_taken_unasked(run: Run) -> None:
    """Where Docker runs anyway, nobody has to know the option."""
    outcome = run(USE_BOTH)

    outcome.result.assert_outcomes(passed=4)
    assert set(outcome.backends.values()) == {"compose"}
    assert {one["reason"] for one in outcome.report["run"]["services"]} == {
        "NETRA_POSTGRES_URL is not set and Docker is there",
        "NETRA_REDIS_URL is not set and Docker is there",
    }


@pytest.mark.usefixtures("docker")
def test_an_engine_without_the_images_is_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs Docker for something else gets an answer at once, not a download."""
    monkeypatch.setenv("NETRA_REDIS_IMAGE", "nowhere.invalid/none:1")

    outcome = run(USE_BOTH)

    outcome.result.assert_outcomes(passed=4)
    assert set(outcome.backends.values()) == {"embedded"}
    assert "it has no image nowhere.invalid/none:1" in outcome.report["run"]["services"][0]["reason"]


@pytest.mark.usefixtures("docker")
def test_an_image_that_cannot_be_had_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that was asked for never gives way to another; what it lacks is said."""
    monkeypatch.setenv("NETRA_POSTGRES_IMAGE", "nowhere.invalid/none:1")

    outcome = run(USE_BOTH, "--services=compose")

    assert outcome.result.ret == 1
    assert "it doesn't have nowhere.invalid/none:1 and can't pull" in outcome.text
    assert "name other images with NETRA_POSTGRES_IMAGE" in outcome.text
    assert "Traceback" not in outcome.text


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize(
    ("old", "new", "found", "said"),
    [
        ("fsync=off", "no_such_setting=1", "it ended;", "unrecognized configuration parameter"),
        (
            "CMD, pg_isready,",
            'CMD, "false",',
            "its health check fails;",
            "database system is ready to accept connections",
        ),
    ],
)
def test_a_server_that_never_gets_well_is_shown_with_what_it_said(
    run: Run, pytester: pytest.Pytester, old: str, new: str, found: str, said: str
) -> None:
    """Nobody should have to catch the log of a container that is gone by the time they look."""
    text = SHIPPED.read_text().replace("retries: 60", "retries: 5")
    (pytester.path / "compose.yaml").write_text(text.replace(old, new))

    outcome = run(USE_BOTH, "--services=compose")

    assert outcome.result.ret == 1
    assert f"PostgreSQL is not available: {found}" in outcome.text
    assert said in outcome.text
    assert "Traceback" not in outcome.text


@pytest.mark.usefixtures("docker")
def test_two_runs_in_containers_at_once_never_meet(run: Run) -> None:
    """Two people at one machine, or two jobs, don't wait for each other and see nothing of each other."""
    first = run("def test_unit():\n    pass\n")  # lays out the folder
    (first.folder / "test_shop.py").write_text(USE_BOTH)
    command = [sys.executable, "-m", "pytest", "--services=compose", "test_shop.py"]

    def again(number: int) -> subprocess.CompletedProcess[str]:
        options = [f"--report-dir=reports/{number}"]
        return subprocess.run(
            [*command, *options], cwd=first.folder, capture_output=True, text=True, timeout=120, check=False
        )

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(again, range(2)))

    assert [done.returncode for done in both] == [0, 0], both[0].stdout + both[1].stdout
    runs = [
        json.loads((first.folder / f"reports/{number}/report.json").read_text())["run"]["id"]
        for number in range(2)
    ]
    assert runs[0] != runs[1]
    assert [containers_of(one) for one in runs] == [[], []]


@pytest.fixture
def start(docker: None, run: Run, pytester: pytest.Pytester) -> Iterator[Callable[..., KilledRun]]:
    """Start a run in containers that is to be killed; whatever happens, it is ended."""
    run("def test_unit():\n    pass\n")  # lays out the folder
    started = []

    def start(*arguments: str, long_s: float = 30) -> KilledRun:
        options = ["--services=compose", *arguments]
        one = KilledRun(pytester.path, *options, environ=dict(os.environ), long_s=long_s)
        started.append(one)
        return one

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        asked("rm", "--force", "--volumes", *containers_of(one.name))


def left_in_time(killed: KilledRun) -> list[str]:
    """Wait until nothing is left, containers included; list what is left after five seconds."""
    limit = time.monotonic() + WITHIN_S
    while left := [*killed.left_in_time(), *containers_of(killed.name)]:
        if time.monotonic() > limit:
            break
    return left


@pytest.mark.parametrize("role", ["pytest", "worker", "supervisor"])
def test_whoever_of_a_run_in_containers_is_killed_nothing_is_left(
    start: Callable[..., KilledRun], role: str
) -> None:
    """SIGKILL is how CI ends a job that takes too long; five seconds later the machine is as before."""
    killed = start("-n", "2", long_s=0 if role == "worker" else 3)
    assert killed.until(lambda: killed.begun() > 1)
    containers = containers_of(killed.name)

    assert killed.kill(role)
    code = killed.ended()

    assert len(containers) == 2
    assert code == -signal.SIGKILL if role == "pytest" else code > 0, killed.output
    assert left_in_time(killed) == [], killed.output


def test_containers_whose_run_was_killed_whole_are_removed_by_a_later_one(
    start: Callable[..., KilledRun],
) -> None:
    """Where nobody was left to clean up, a later run does, with containers or without."""
    killed = start()
    assert killed.until(lambda: killed.begun() > 0)
    supervisor = killed.victim("supervisor")
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert killed.kill("pytest")
    killed.ended()
    before = containers_of(killed.name)

    os.utime(killed.directory, (0, 0))
    lease.Run().end()

    assert len(before) == 2
    assert left_in_time(killed) == []


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize(("service", "name"), [("redis", "Redis"), ("postgres", "PostgreSQL")])
def test_a_container_that_dies_ends_the_run_once_with_its_name(run: Run, service: str, name: str) -> None:
    """A hundred tests that each say "connection refused" hide the one thing that happened."""
    outcome = run(
        f"""
        import subprocess
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", range(9))
        async def test_work(engine, redis_client, netra_worker, turn):
            if turn == 3:
                container = netra_worker.directory.name + "-{service}-1"
                subprocess.run(["docker", "kill", container], check=True, capture_output=True)
            async with engine.begin() as connection:
                await connection.execute(text("select 1"))
            await redis_client.ping()
        """,
        "--services=compose",
    )

    assert outcome.result.ret != 0
    assert f"{name} ended with 137 during the run" in outcome.text
    assert outcome.result.parseoutcomes().get("passed") == 3
    assert outcome.result.parseoutcomes().get("failed") == 1
    assert containers_of(outcome.report["run"]["id"]) == []


# a person's own session


def standing(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "netra_fixtures.standing", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def session(docker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A project and ports of the test's own, so that nobody's session is touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"trial-{os.getpid()}")
    monkeypatch.setenv("NETRA_POSTGRES_PORT", "")
    monkeypatch.setenv("NETRA_REDIS_PORT", "")
    yield f"trial-{os.getpid()}"
    standing("down", "--services=compose")


def test_a_person_can_hold_containers_for_a_session(session: str) -> None:
    """Who began with containers ends with them, without having to say so again."""
    before = standing("status")
    up = standing("up", "--services=compose")
    urls = standing("urls")
    status = standing("status")
    down = standing("down")

    assert (before.returncode, before.stdout) == (1, "no servers stand; start them with up\n")
    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith("export NETRA_POSTGRES_URL=postgresql://netra:netra@127.0.0.1:")
    assert urls.stdout == up.stdout
    assert status.stdout == "postgres:18-alpine and valkey/valkey:9-alpine stand in containers\n"
    assert down.stdout == "the servers are down\n"
    assert containers_of(session) == []


def test_a_port_that_is_taken_is_named(session: str) -> None:
    """The person is told which port it is and which variable moves it, and nothing half started stays."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        up = standing("up", "--services=compose", NETRA_REDIS_PORT=port)

    assert up.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken; end what listens there, or set" in up.stderr
    assert "Traceback" not in up.stderr
    assert containers_of(session) == []


def test_servers_of_somebody_else_are_said_and_left_alone() -> None:
    """`up` and `down` with addresses of a colleague's servers do no harm, and `status` shows no password."""
    urls = {
        "NETRA_POSTGRES_URL": "postgresql://me:secret@db.example.com:5432/postgres",
        "NETRA_REDIS_URL": "redis://:secret@cache.example.com:6379/0",
    }
    up, status, down = (
        standing(command, "--services=external", **urls) for command in ("up", "status", "down")
    )

    assert up.stdout.splitlines() == [f"export {name}={url}" for name, url in urls.items()]
    assert "db.example.com:5432" in status.stdout
    assert "secret" not in status.stdout
    assert down.stdout == "the servers are somebody else's and stay\n"
