"""The kit's own tests run the plugin as its users do: pytest in a folder of its own, in a process of its own.

A process that has imported all that a run does forks most of them; some are started as from a command line, among
them what depends on when something is imported.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy.dialects.postgresql.asyncpg
import sqlalchemy.ext.asyncio  # noqa: F401
from hypothesis import HealthCheck, settings

# A run of pytester in this process drops what it was first to import, and SQLAlchemy can't be imported twice.
from .forked import ForkedRuns
from .held import held  # noqa: F401
from .indexes import index  # noqa: F401
from .lines import connect, link, near, server  # noqa: F401
from .reported import add, collector, finish, full, nasty  # noqa: F401
from .runs import PLUGINS_LEFT_OUT, Outcome, Run
from .workspaces import workspace  # noqa: F401

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a slow example on a busy machine is no failure

pytest_plugins = ["pytester"]

SHOP = """
from sqlalchemy import text


async def migrate(engine):
    async with engine.begin() as connection:
        for statement in (
            "create schema if not exists shop",
            "create table shop.kinds (name text primary key)",
            "create table shop.orders (id bigserial primary key, kind text references shop.kinds, what text)",
            "insert into shop.kinds values ('book'), ('pen')",
        ):
            await connection.execute(text(statement))
"""


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a container engine from the runs inside tests: `auto` means the same on every machine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest.fixture(scope="session")
def kept_clusters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs inside the tests of this worker keep clusters."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def forked_runs() -> Iterator[ForkedRuns]:
    """What forks the runs inside the tests of this worker."""
    runs = ForkedRuns(PLUGINS_LEFT_OUT)
    yield runs
    runs.close()


@pytest.fixture
def run(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    kept_clusters: Path,
    forked_runs: ForkedRuns,
    request: pytest.FixtureRequest,
) -> Run:
    """Run pytest on a test module of the text given, with a migrated shop in PostgreSQL."""
    for variable in ("CI", "NETRA_POSTGRES_URL", "NETRA_REDIS_URL", "NETRA_SERVICES", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept_clusters))
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    (pytester.path / "shop.py").write_text(SHOP)
    (pytester.path / "pytest.toml").write_text(
        f'[pytest]\naddopts = {PLUGINS_LEFT_OUT}\nanyio_mode = "auto"\n'
        'filterwarnings = ["error"]\ntimeout = "60"\nnetra_migrations = ["shop:migrate"]\n'
    )
    engine = request.config.getoption("redis")

    def run(source: str, *arguments: str, started: bool = False) -> Outcome:
        pytester.makepyfile(test_shop=source)
        options = [f"--redis={engine}"] if engine else []
        if started:
            result = pytester.runpytest_subprocess(*options, *arguments, timeout=120)
        else:
            result = forked_runs.pytest(pytester.path, *options, *arguments)
        return Outcome(result, pytester.path)

    return run
