"""What evidence costs: the same statement and the same command through the tap and past it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import asyncpg

from figures import Figure
from kit import Kit
from turns import Contender, Subject

BATCH = 20  # operations a turn: one alone is no longer than what a scheduler takes


def measure(subject: Subject, kit: Kit) -> Iterator[Figure]:
    """Measure one SELECT and one GET both ways."""
    loop = asyncio.new_event_loop()
    wait = loop.run_until_complete
    tapped, direct = (
        wait(asyncpg.connect(endpoint.dsn))
        for endpoint in (kit.database.endpoint.over(kit.tap.path("postgres")), kit.database.endpoint)
    )
    keys_tapped = kit.redis.endpoint.over(kit.tap.path("redis")).client()
    keys = kit.redis.endpoint.client()

    def each(act: Callable[[], Awaitable[object]]) -> Contender:
        async def batch() -> float:
            began = time.perf_counter()
            for _ in range(BATCH):
                await act()
            return (time.perf_counter() - began) * 1000 / BATCH

        return lambda: wait(batch())

    try:
        for name, ours, bare in (
            (
                "one SELECT through the tap",
                lambda: tapped.fetchval("select 1"),
                lambda: direct.fetchval("select 1"),
            ),
            ("one GET through the tap", lambda: keys_tapped.get("bench"), lambda: keys.get("bench")),
        ):
            counted, past = subject.in_turns(each(ours), each(bare), turns=60, seconds=4, warmup=3)
            yield subject.figure(name, counted, [("the same past it", past)])
    finally:
        for close in (tapped.close, direct.close, keys_tapped.aclose, keys.aclose):
            wait(close())
        loop.close()
