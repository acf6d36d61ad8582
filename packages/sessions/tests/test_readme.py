"""The first thing that somebody tries works."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from netra_fixtures import (
    Goal,
    IsolatedEnvironment,
    PostgresEndpoint,
    RedisEndpoint,
    Tier,
    business_value,
    within,
)

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="a developer has sessions after one copy and paste"
)
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.fresh_database
async def test_the_example_of_the_readme_runs(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, environment: IsolatedEnvironment
) -> None:
    """Documentation that does not run costs every reader an hour."""
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    environment.set("DATABASE_URL", postgres_endpoint.url())
    environment.set("REDIS_URL", redis_endpoint.url)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, stdout=PIPE, env=environment.for_process()
    )
    try:
        async with within(seconds=50):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert process.returncode == 0
    assert said.decode().splitlines()[0] == "signed out"
