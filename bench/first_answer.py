"""Print how long a process of its own waits for its first answers, in ms, without and with what tests import anyway.

``python bench/first_answer.py CACHE``
"""

import asyncio
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()

import asyncpg  # noqa: E402
import pydantic  # noqa: E402
import pytest  # noqa: E402
import redis.asyncio  # noqa: E402
from sqlalchemy import text  # noqa: E402
from sqlalchemy.ext.asyncio import create_async_engine  # noqa: E402

# a test module and pytest have imported these when the first test asks for a service
assert all((asyncpg, pydantic, pytest, redis.asyncio))
ASKED = time.perf_counter()

from kit import Kit, standing  # noqa: E402


async def answers(kit: Kit) -> None:
    """Ask both servers the way a test does."""
    engine = create_async_engine(kit.database.endpoint.over(kit.tap.path("postgres")).url())
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))
    client = kit.redis.endpoint.over(kit.tap.path("redis")).client()
    await client.ping()
    await client.aclose()
    await engine.dispose()


def main() -> None:
    """Start, ask, say how long it took, and end what was started."""
    with standing(migrations=(), cache=Path(sys.argv[1])) as kit:
        asyncio.run(answers(kit))
        now = time.perf_counter()
        print((now - ASKED) * 1000, (now - STARTED) * 1000, flush=True)


if __name__ == "__main__":
    main()
