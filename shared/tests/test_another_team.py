"""A team that installs nothing but the wheel has real servers, a report and types from the first test on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .environments import Environment

SHARED = Path(__file__).parents[1]
README = (SHARED / "README.md").read_text()
PROGRAMS = Path(sys.executable).parent
LINES = 10


def block(language: str) -> str:
    """Give the README's first block of a language: what a team copies."""
    found = re.search(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit as it is published."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"import uv_build; uv_build.build_wheel({str(folder)!r})"
    variables = {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
    }  # where the backend looks for itself
    subprocess.run([sys.executable, "-c", build], cwd=SHARED, env=variables, check=True, timeout=60)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def team(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that holds the wheel and what it declares."""
    environment = Environment(tmp_path_factory.mktemp("team") / "venv", pip=True)
    install = ("-m", "pip", "install", "--no-index", "--disable-pip-version-check", wheel)
    done = environment.run(*install, cwd=wheel.parent)
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder with the README's settings and its test."""
    (tmp_path / "pytest.toml").write_text(block("toml"))
    (tmp_path / "test_visits.py").write_text(block("python"))
    return tmp_path


@pytest.mark.timeout(180)  # makes an environment first
def test_the_readmes_test_passes_with_the_wheel_alone(team: Environment, project: Path) -> None:
    """What the kit needs and doesn't declare would be missing in every repository but this one."""
    done = team.run("-m", "pytest", cwd=project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "report: reports/latest/index.html" in done.stdout
    assert "PostgreSQL 18." in done.stdout
    assert (project / "reports" / "latest" / "index.html").exists()
    here = team.run("-c", "import netra_fixtures; print(netra_fixtures.__file__)", cwd=project)
    assert Path(here.stdout.strip()).is_relative_to(team.site)


def test_the_readmes_test_is_a_handful_of_lines() -> None:
    """Whoever has to write more than that before anything runs will not begin."""
    lines = [line for line in block("python").splitlines() if line.strip()]

    assert len(lines) <= LINES


@pytest.mark.timeout(180)  # reads the types of everything below
def test_the_readmes_test_passes_strict_mypy_against_the_wheel(
    team: Environment, project: Path, tmp_path: Path
) -> None:
    """A team that checks its types must not have to leave its tests out."""
    typed = project / "test_typed.py"
    typed.write_text(
        "from netra_fixtures import IsolatedEnvironment, PostgresEndpoint, RedisEndpoint, UserFactory\n\n\n"
        "def test_typed(\n    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint,\n"
        "    users: UserFactory, environment: IsolatedEnvironment,\n) -> None:\n"
        "    dsn: str = postgres_endpoint.dsn\n    url: str = redis_endpoint.url\n"
        "    reveal_type(postgres_endpoint.url())\n"
    )

    done = subprocess.run(
        [PROGRAMS / "mypy", "--strict", "--python-executable", team.python, "--cache-dir", os.devnull, "."],
        cwd=project, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Revealed type is "str"' in done.stdout
    assert "no issues found in 2 source files" in done.stdout
