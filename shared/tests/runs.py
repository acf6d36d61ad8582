"""How a run of pytest inside a test ended."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Valkey's plugin brings fixtures of its own, and that of hypothesis imports it at every run's end, used or not.
PLUGINS_LEFT_OUT = ["-pno:valkey", "-pno:hypothesispytest", "-pno:cacheprovider"]

THREE_LOOKS = """
from sqlalchemy import text

async def look(engine):
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))

async def test_one(engine):
    await look(engine)

async def test_two(engine):
    await look(engine)

async def test_three(engine):
    await look(engine)
"""

USE_BOTH = """
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("turn", range(4))
async def test_both(engine, redis_client, namespace, netra_worker, turn):
    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.orders (what) values ('a')"))
        assert await connection.scalar(text("select count(*) from shop.orders")) == 1
    assert await redis_client.incr(f"{namespace}:visits") == 1
    print("directory", netra_worker.directory)
"""


@dataclass(frozen=True)
class Outcome:
    """How a run of pytest ended."""

    result: pytest.RunResult
    folder: Path

    @property
    def text(self) -> str:
        return self.result.stdout.str() + self.result.stderr.str()

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "reports" / "latest" / "report.json").read_text())

    @property
    def backends(self) -> dict[str, str]:
        """How each server came to be, by its name."""
        return {one["name"]: one["backend"] for one in self.report["run"]["services"]}

    def test(self, name: str) -> dict[str, Any]:
        """Give the report of the one test with *name* in its id."""
        (found,) = (test for test in self.report["tests"] if name in test["nodeid"])
        return found

    def assert_said_once(self, sentence: str) -> None:
        """Make sure that the run failed with *sentence*, and showed nobody the kit's insides."""
        assert self.result.ret != 0
        assert self.text.count(sentence) == 1, self.text
        assert "Traceback" not in self.text
        assert "netra_fixtures/" not in self.text


Run = Callable[..., Outcome]
