"""Without an engine that can run containers, a run says so in a sentence, or goes on without; nothing hangs."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netra_fixtures.services.compose import SHIPPED, Project, compose_file
from netra_fixtures.services.containers import answers
from netra_fixtures.services.engine import Docker, in_sight
from netra_fixtures.waiting import eventually

from .runs import USE_BOTH, Run

ROOT = Path(__file__).parents[2]
REFUSED = 'test "$1" = version && exit 0; echo "docker: \'compose\' is not a docker command." >&2; exit 1'
SILENT = "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def write_program(folder: Path, text: str) -> None:
    """Make a program `docker` that does what the shell is told."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_compose_without_docker_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for containers on a machine without Docker is told what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))

    outcome = run(USE_BOTH, "--services=compose")

    assert outcome.result.ret == 1
    assert "there is no program docker on PATH; install Docker with its Compose plugin" in outcome.text
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (SILENT, "no engine answers: Cannot connect to the Docker daemon"),
        (REFUSED, "docker has no Compose plugin; install docker-compose-plugin"),
    ],
)
def test_a_docker_that_cannot_do_it_is_one_sentence(
    run: Run, programs: Path, program: str, said: str
) -> None:
    """An engine that isn't started and a plugin that isn't installed have different remedies."""
    write_program(programs, program)

    outcome = run(USE_BOTH, "--services=compose")

    assert outcome.result.ret == 1
    assert said in outcome.text
    assert "Traceback" not in outcome.text


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (SILENT, "no engine answers: Cannot connect"),
        (REFUSED, "docker has no Compose plugin"),
        ("exec sleep 60", "docker version took longer than 1 s"),
    ],
)
def test_a_docker_that_cannot_do_it_is_passed_over_where_nobody_asked_for_it(
    run: Run, programs: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str
) -> None:
    """A laptop with a Docker that is broken, or hangs, runs the tests on the kit's own servers."""
    write_program(programs, program)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")

    outcome = run(USE_BOTH)

    outcome.result.assert_outcomes(passed=4)
    assert set(outcome.backends.values()) == {"embedded"}
    assert why in outcome.report["run"]["services"][0]["reason"]


def test_a_machine_without_an_engine_is_known_without_starting_a_program(
    programs: Path, tmp_path: Path
) -> None:
    """A run on a machine without Docker pays nothing for the possibility."""
    write_program(programs, f"touch {tmp_path}/started")
    nowhere = {"PATH": str(programs), "DOCKER_HOST": f"unix://{tmp_path}/none"}

    seen = (
        in_sight(nowhere),
        in_sight({**nowhere, "DOCKER_HOST": f"unix://{tmp_path}"}),
        in_sight({"PATH": ""}),
    )

    assert seen == (False, True, False)
    assert not (tmp_path / "started").exists()


def test_a_projects_own_compose_file_is_not_mistaken_for_the_kits(tmp_path: Path) -> None:
    """Most compose.yaml files start an application; only one that publishes the kit's ports is meant for the kit."""
    own = tmp_path / "compose.yaml"
    own.write_text("services: {web: {image: nginx}}")
    theirs = compose_file(tmp_path)
    own.write_text(SHIPPED.read_text())

    assert (theirs, compose_file(tmp_path)) == (SHIPPED, own)


def test_the_file_at_the_root_is_the_one_that_is_shipped() -> None:
    """What a person starts by hand is what the tests ran on."""
    assert (ROOT / "compose.yaml").read_text() == SHIPPED.read_text()


@pytest.mark.timeout(15)
def test_a_call_that_never_ends_is_ended(programs: Path) -> None:
    """A hanging engine must not hang the tests, nor leave programs behind."""
    write_program(programs, f"sleep 60 & echo $! > {programs}/pid; wait")
    project = Project(SHIPPED, Docker(os.environ), name="netra-none")

    said = project.compose("version", deadline_s=1)

    assert said.code
    assert said.why == "docker compose took longer than 1 s"
    asyncio.run(eventually(lambda: ended(programs / "pid"), seconds=5))


@pytest.mark.parametrize("service", ["postgres", "redis"])
def test_a_port_that_is_open_is_no_sign_of_a_server(service: str) -> None:
    """An engine keeps the port open for a moment when the server behind it is dead, and the death must be known."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(service, silent.getsockname())


def test_a_run_that_is_killed_as_containers_are_made_lets_the_engine_finish_first(
    run: Run, programs: Path
) -> None:
    """A container that the engine was already asked for would come after everybody who could remove it has gone."""
    kill_while(
        "create",
        run,
        programs,
        f"""
            *" create "*) echo $$ > {programs}/part && mv {programs}/part {programs}/create
                sleep 1; touch {programs}/made;;
            *" down "*) test -e {programs}/made && touch {programs}/down;;
        """,
    )

    assert (programs / "made").exists()


def test_a_run_that_is_killed_while_containers_start_takes_them_down_at_once(
    run: Run, programs: Path
) -> None:
    """Whoever loses patience with a slow start must not wait for it to finish first."""
    kill_while(
        "up",
        run,
        programs,
        f"""
            *" up "*) echo $$ > {programs}/part && mv {programs}/part {programs}/up; exec sleep 60;;
            *" down "*) touch {programs}/down;;
        """,
    )


def kill_while(step: str, run: Run, programs: Path, cases: str) -> None:
    """Kill pytest in a step of a start, and wait until that has ended and the containers were taken down."""
    described = json.dumps({"services": {name: {"image": "any"} for name in ("postgres", "redis")}})
    write_program(programs, f"""case "$*" in *" config "*) echo '{described}';; {cases} esac""")
    folder = run("def test_unit():\n    pass\n").folder  # lays it out
    (folder / "test_shop.py").write_text(USE_BOTH)

    def begun() -> None:
        assert (programs / step).exists()

    def over() -> None:
        ended(programs / step)
        assert (programs / "down").exists()

    with subprocess.Popen([sys.executable, "-m", "pytest", "--services=compose"], cwd=folder) as killed:
        asyncio.run(eventually(begun, seconds=60))
        killed.kill()

    asyncio.run(eventually(over, seconds=5))


def ended(pid: Path) -> None:
    """Fail while the process whose number stands in the file runs."""
    state = Path("/proc", pid.read_text().strip(), "stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"
