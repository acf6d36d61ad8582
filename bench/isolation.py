"""What it costs to leave nothing behind: emptying PostgreSQL and Redis, cloning a database for one test."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import redis

from figures import Figure, Limit, LimitOn
from kit import Kit
from netra_fixtures.leaks import LeakWatch
from turns import Subject, timed
from twenty_tables import TABLES

DIRTY = 3
KEYS = 100
EMPTIED = Limit(on=LimitOn.MEDIAN, bound=0.5)
NOTHING_WRITTEN = Limit(on=LimitOn.MEDIAN, bound=0.15)
CLONED = Limit(on=LimitOn.MEDIAN, bound=25)
FLUSHED = Limit(on=LimitOn.MEDIAN, bound=0.4)


@dataclass(frozen=True)
class Plain:
    """PostgreSQL reached without the kit: one connection to the worker's database, one to clone from."""

    wait: Callable[[Any], Any]
    own: Any
    admin: Any

    def round_trip(self) -> None:
        """Ask for nothing."""
        self.wait(self.own.fetchval("select 1"))

    def execute(self, statement: str) -> None:
        """Run a statement that can't run inside the worker's database."""
        self.wait(self.admin.execute(statement))


@contextlib.contextmanager
def plain(kit: Kit) -> Iterator[Plain]:
    """Open what the references use."""
    loop = asyncio.new_event_loop()
    wait = loop.run_until_complete
    where = (kit.database.endpoint, kit.database.database.admin)
    own, admin = (wait(asyncpg.connect(endpoint.dsn)) for endpoint in where)
    try:
        yield Plain(wait, own, admin)
    finally:
        wait(own.close())
        wait(admin.close())
        loop.close()


def measure_emptying(subject: Subject, kit: Kit) -> Iterator[Figure]:
    """Measure what a test pays after it for an empty database."""
    with plain(kit) as bare:
        tables = itertools.cycle(TABLES)

        def write() -> None:
            for table in itertools.islice(tables, DIRTY):
                bare.wait(
                    bare.own.execute(f"insert into {table} (said) select 'x' from generate_series(1, 10)")
                )

        def clone_and_drop() -> None:
            bare.execute(f'create database bench_raw template "{kit.database.template}"')
            bare.execute("drop database bench_raw")

        emptied = timed(kit.database.empty, before=write)
        ours, trips = subject.in_turns(emptied, timed(bare.round_trip), turns=300, seconds=6, warmup=20)
        [clones] = subject.in_turns(timed(clone_and_drop), turns=10, seconds=6)
        yield subject.figure(
            f"empty PostgreSQL, {DIRTY} of {len(TABLES)} tables dirty", ours,
            [("a bare select 1", trips), ("raw CREATE DATABASE … TEMPLATE and DROP", clones)], limit=EMPTIED,
        )  # fmt: skip
        untouched = timed(kit.database.empty)
        ours, trips = subject.in_turns(untouched, timed(bare.round_trip), turns=300, seconds=6, warmup=20)
        yield subject.figure(
            "empty PostgreSQL, nothing written", ours, [("a bare select 1", trips)], limit=NOTHING_WRITTEN
        )


def measure_cloning(subject: Subject, kit: Kit) -> Iterator[Figure]:
    """Measure what a test pays that asks for a database of its own."""
    database, template = kit.database.database, kit.database.template
    with plain(kit) as bare:

        def whole() -> None:
            with kit.database.lent(LeakWatch(kit.tap, (__file__, 0)), fresh=True):
                pass

        # each is dropped before the next is made: DROP DATABASE also writes out what another clone left in memory
        cloned, dropped, raw, raw_dropped, both = subject.in_turns(
            timed(lambda: database.clone(template, "bench_ours")),
            timed(lambda: database.drop("bench_ours")),
            timed(lambda: bare.execute(f'create database bench_raw template "{template}"')),
            timed(lambda: bare.execute("drop database bench_raw")),
            timed(whole),
            turns=15,
            seconds=12,
        )
    clone = ("raw CREATE DATABASE … TEMPLATE", raw)
    yield subject.figure("a clone for fresh_database", cloned, [clone], limit=CLONED)
    yield subject.figure(
        "dropping the clone of fresh_database", dropped, [("raw DROP DATABASE", raw_dropped)]
    )
    together = [one + other for one, other in zip(raw, raw_dropped, strict=True)]
    yield subject.figure("fresh_database, all that a test pays", both, [("raw clone and drop", together)])


def measure_redis(subject: Subject, kit: Kit) -> Iterator[Figure]:
    """Measure what a test pays after it for an empty Redis."""
    with contextlib.closing(redis.Redis.from_url(kit.redis.endpoint.url)) as bare:

        def write() -> None:
            pipe = bare.pipeline(transaction=False)
            for number in range(KEYS):
                pipe.set(f"bench:{number}", b"x" * 200)
            pipe.execute()

        ours, flushes = subject.in_turns(
            timed(kit.redis.empty, before=write), timed(bare.flushall, before=write),
            turns=300, seconds=6, warmup=20,
        )  # fmt: skip
    yield subject.figure(
        f"Redis between tests, {KEYS} keys", ours, [("a bare FLUSHALL", flushes)], limit=FLUSHED
    )
