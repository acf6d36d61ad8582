"""Servers that somebody holds with the command for it, as a person does for a session."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis


def standing(
    *arguments: str, cache: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command that holds servers for a person's own session; *cache* is where it keeps them."""
    home = {} if cache is None else {"XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        [sys.executable, "-m", "netra_fixtures.standing", *arguments],
        env={**os.environ, **home, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def holding(cache: Path) -> Iterator[dict[str, str]]:
    """Hold servers with passwords; give the variables that name them."""
    said = standing("up", cache=cache)
    assert said.returncode == 0, said.stderr
    try:
        yield dict(line.removeprefix("export ").split("=", 1) for line in said.stdout.splitlines())
    finally:
        standing("down", cache=cache)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Servers that somebody started by hand, as the variables that name them."""
    with holding(tmp_path) as servers:
        yield servers


def left_on(servers: dict[str, str]) -> tuple[list[str], list[bytes]]:
    """List the databases and keys of ours that stand on the servers."""

    async def databases() -> list[str]:
        connection = await asyncpg.connect(servers["NETRA_POSTGRES_URL"])
        rows = await connection.fetch("select datname from pg_database where datname like 'netra%'")
        await connection.close()
        return [row["datname"] for row in rows]

    with redis.Redis.from_url(servers["NETRA_REDIS_URL"]) as client:
        return asyncio.run(databases()), list(client.keys("*"))
