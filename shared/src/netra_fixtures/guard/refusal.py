"""What an integration test may not use, what to use instead, and the error that says so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netra_fixtures.errors import NetraFixturesError

USE_REAL = (
    "take the object in the constructor, and use a private server or faults.Link for what must go wrong"
)
USE_POSTGRES = "use the engine fixture, which is a real PostgreSQL"
USE_REDIS = "use the redis_client fixture, which is a real Redis"
USE_HTTP = "start a small HTTP server in a fixture and give its address to the constructor"
REMEDIES = {
    "aioresponses": USE_HTTP,
    "alchemy_mock": USE_POSTGRES,
    "asyncmock": USE_REAL,
    "asynctest": USE_REAL,
    "birdisle": USE_REDIS,
    "doublex": USE_REAL,
    "fakeredis": USE_REDIS,
    "flexmock": USE_REAL,
    "httpretty": USE_HTTP,
    "mock": USE_REAL,
    "mock_alchemy": USE_POSTGRES,
    "mockito": USE_REAL,
    "mockredis": USE_REDIS,
    "mongomock": "start a real server in a fixture",
    "moto": "start a real server in a fixture",
    "pytest_httpx": USE_HTTP,
    "pytest_mock": USE_REAL,
    "requests_mock": USE_HTTP,
    "respx": USE_HTTP,
    "responses": USE_HTTP,
    "unittest.mock": USE_REAL,
}
CLIENTS = frozenset(["asyncpg", "psycopg", "redis", "sqlalchemy", "valkey", "websockets"])
CLIENT_FIXTURES = frozenset(["engine", "redis_client"])


@dataclass(frozen=True, slots=True)
class Finding:
    """One use of a mock: where, what, and what to do instead.

    Found in a test, `test` is its qualified name; found in a fixture, `fixture` is what tests ask for.
    """

    path: Path
    line: int
    what: str
    remedy: str
    test: str = ""
    fixture: str = ""

    def __str__(self) -> str:
        return f"{_short(self.path)}:{self.line}: {self.what}; {self.remedy}"


class MockRefused(NetraFixturesError):
    """An integration test uses a mock where the real thing belongs."""

    def __init__(self, test: str, findings: Sequence[Finding]) -> None:
        super().__init__(
            "\n".join([f"{test} is an integration test and takes no mocks", *map(str, findings)])
        )
        self.test = test
        self.findings = tuple(findings)


def refused_module(name: str) -> str | None:
    """Give the entry of `REMEDIES` that the module *name* is or belongs to."""
    root = ".".join(name.split(".")[: 2 if name.startswith("unittest.") else 1])
    return root if root in REMEDIES else None


def makes_mocks(fixture: str) -> bool:
    """Tell from its name whether a fixture is pytest-mock's, for one scope or another."""
    return fixture == "mocker" or fixture.endswith("_mocker")


def is_memory_sqlite(database: str) -> bool:
    """Tell whether a URL of SQLAlchemy or a name for sqlite3 means a database in memory."""
    head, found, rest = database.partition("://")
    if found:
        return head.partition("+")[0] == "sqlite" and (rest in ("", "/") or _in_memory(rest.lstrip("/")))
    return _in_memory(database)


def _in_memory(name: str) -> bool:
    return name.startswith((":memory:", "file::memory:")) or (
        name.startswith("file:") and "mode=memory" in name
    )


def _short(path: Path) -> str:
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") else here
