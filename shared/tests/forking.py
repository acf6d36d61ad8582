"""Forks runs of pytest, after a run of its own that collects nothing has imported what the others need."""

import importlib
import socket
import sys
import tempfile
from pathlib import Path

import pytest

NEEDED = (
    "anyio._backends._asyncio",
    "asyncpg",
    "redis.asyncio",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "netra_fixtures.cases",
    "netra_fixtures.clients.engine",
    "netra_fixtures.clients.redis",
    "netra_fixtures.isolation.emptying",
    "netra_fixtures.isolation.migrations",
    "netra_fixtures.isolation.postgres",
    "netra_fixtures.isolation.redis",
    "netra_fixtures.leaks",
    "netra_fixtures.report.collector",
    "netra_fixtures.report.folder",
    "netra_fixtures.report.page",
    "netra_fixtures.report.terminal",
    "netra_fixtures.services.external",
    "netra_fixtures.services.postgres",
    "netra_fixtures.snapshot.taking",
)


class Needed:
    """Imports what plugins import late, where pytest rewrites the asserts of a plugin."""

    def pytest_configure(self) -> None:
        for name in NEEDED:
            importlib.import_module(name)


def prepare(options: list[str]) -> None:
    """Have pytest import its plugins as it does in every run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "pytest.toml")
        settings.write_text("[pytest]\n")
        pytest.main([*options, "-c", str(settings), folder], plugins=[Needed()])


def main() -> None:
    """Serve on the socket whose descriptor is the first argument; the others are options of the first run."""
    prepare(sys.argv[2:])
    from netra_fixtures import forkserver  # no earlier: as a plugin's, it is pytest's to import

    request = forkserver.ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        forkserver.run(request)


if __name__ == "__main__":
    main()
