"""Sessions against the bare clients they are built on, on the same servers and past the tap."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from figures import Figure, Limit, LimitOn
from kit import Kit, standing
from netra_sessions import Sessions, SessionToken, UserId
from turns import Contender, Subject

VALIDATION = Limit(on=LimitOn.RATIO_AT_MOST, bound=1.2)
CROWD = Limit(on=LimitOn.RATIO_AT_LEAST, bound=0.9)
RECOVERY = Limit(on=LimitOn.RATIO_AT_LEAST, bound=0.7)
TASKS = 100
EACH = 30  # operations a task, in one turn
ALONE = 50  # operations of the one task, in one turn
RECOVERED = 100_000
PIPELINED = 1000
WEEK_S = 7 * 24 * 3600
DEVICE, ADDRESS = "Firefox 150 on Linux", "203.0.113.7"

COPIES = """
insert into sessions.session
select copy.*
  from (select s from sessions.session as s where namespace = $1 limit 1) as picked (one),
       generate_series(1, $2::int) as n,
       jsonb_populate_record(picked.one, jsonb_build_object(
           'id', gen_random_uuid(), 'user_id', 'copy-' || n, 'token_digest', sha256(n::text::bytea))) as copy
"""
SELECT = "select token_digest, row_to_json(session)::text from sessions.session where ended_at is null"

Act = Callable[[int], Awaitable[object]]


async def p50(act: Act) -> float:
    """Let one task act again and again; return the median in milliseconds."""
    taken = []
    for turn in range(ALONE):
        began = time.perf_counter()
        await act(turn % TASKS)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[ALONE // 2] * 1000


async def rate(act: Act) -> float:
    """Let many tasks act at once; return how many acts a second they reach together."""

    async def one(number: int) -> None:
        for _ in range(EACH):
            await act(number)

    began = time.perf_counter()
    await asyncio.gather(*map(one, range(TASKS)))
    return TASKS * EACH / (time.perf_counter() - began)


@asynccontextmanager
async def opened(kit: Kit, namespace: str) -> AsyncIterator[tuple[Sessions, Redis]]:
    """Open sessions straight to the servers, and a bare client beside them."""
    engine = create_async_engine(kit.database.endpoint.url())
    client, bare = kit.redis.endpoint.client(), kit.redis.endpoint.client()
    try:
        async with Sessions(engine=engine, redis=client, namespace=namespace) as sessions:
            yield sessions, bare
    finally:
        await client.aclose()
        await bare.aclose()
        await engine.dispose()


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure validation and recovery."""
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            sessions, bare = runner.run(stack.enter_async_context(opened(kit, "bench")))
            yield from _validation(subject, runner, sessions, bare)
            rows = runner.run(stack.enter_async_context(filled(kit, "bench", RECOVERED)))
            yield from _recovery(subject, runner, sessions, bare, rows)
        finally:
            runner.run(stack.aclose())


def _validation(
    subject: Subject, runner: asyncio.Runner, sessions: Sessions, bare: Redis
) -> Iterator[Figure]:
    tokens, value = runner.run(_signed_in(sessions))
    keys = [f"bare:{number}" for number in range(TASKS)]

    async def put() -> None:
        await bare.mset(dict.fromkeys(keys, value))

    runner.run(put())

    def validate(number: int) -> Awaitable[object]:
        return sessions.validate(tokens[number])

    def told(number: int) -> Awaitable[object]:
        return sessions.validate(tokens[number], device=DEVICE, address=ADDRESS)

    def getex(number: int) -> Awaitable[object]:
        return bare.getex(keys[number], ex=WEEK_S)

    def alone(act: Act) -> Contender:
        return lambda: runner.run(p50(act))

    def crowded(act: Act) -> Contender:
        return lambda: runner.run(rate(act))

    ours, named, plain = subject.in_turns(
        alone(validate), alone(told), alone(getex), turns=60, seconds=6, warmup=3
    )
    yield subject.figure(
        "session validation, p50 of one task", ours, [("a bare GETEX", plain)], limit=VALIDATION
    )
    yield subject.figure(
        "validation told device and address, p50 of one task",
        named,
        [("a bare GETEX", plain)],
        limit=VALIDATION,
    )
    ours, named, plain = subject.in_turns(
        crowded(validate), crowded(told), crowded(getex), turns=11, seconds=10
    )
    many = [(f"bare GETEX by {TASKS} tasks", plain)]
    yield subject.figure(f"session validation by {TASKS} tasks", ours, many, limit=CROWD, unit="/s")
    yield subject.figure(
        f"validation told device and address by {TASKS} tasks", named, many, limit=CROWD, unit="/s"
    )


async def _signed_in(sessions: Sessions) -> tuple[list[SessionToken], bytes]:
    """Sign users in; return their tokens, and what one session is as JSON."""
    issued = [
        await sessions.create(
            UserId(f"user-{number}"), device=DEVICE, address=ADDRESS, data={"theme": "dark"}
        )
        for number in range(TASKS)
    ]
    return [one.token for one in issued], issued[0].session.model_dump_json().encode()


@dataclass(frozen=True)
class Rows:
    """The sessions to recover, and a bare connection to where they are."""

    connection: asyncpg.Connection
    count: int


@asynccontextmanager
async def filled(kit: Kit, namespace: str, count: int) -> AsyncIterator[Rows]:
    """Copy the signed-in sessions until there are *count*, each with an id, a user and a token of its own."""
    connection = await asyncpg.connect(kit.database.endpoint.dsn)
    try:
        await connection.execute(COPIES, namespace, count - TASKS)
        await connection.execute("analyze sessions.session")  # autovacuum would have, and is off in tests
        yield Rows(connection, count)
    finally:
        await connection.close()


def _recovery(
    subject: Subject, runner: asyncio.Runner, sessions: Sessions, bare: Redis, rows: Rows
) -> Iterator[Figure]:
    async def recover() -> float:
        await bare.execute_command("FLUSHALL", "SYNC")
        began = time.perf_counter()
        recovered = await sessions.recover()
        taken = time.perf_counter() - began
        if recovered != rows.count:
            raise RuntimeError(f"{recovered} of {rows.count} sessions were recovered")
        return rows.count / taken

    async def pipelined() -> float:
        await bare.execute_command("FLUSHALL", "SYNC")
        began = time.perf_counter()
        found = await rows.connection.fetch(SELECT)
        for start in range(0, len(found), PIPELINED):
            pipe = bare.pipeline(transaction=False)
            for digest, session in found[start : start + PIPELINED]:
                pipe.set(f"bench:session:{digest.hex()}", session, ex=WEEK_S)
            await pipe.execute()
        return len(found) / (time.perf_counter() - began)

    ours, plain = subject.in_turns(
        lambda: runner.run(recover()), lambda: runner.run(pipelined()), turns=5, seconds=25
    )
    yield subject.figure(
        f"recovery of {rows.count:,} sessions", ours, [("a bare SELECT and pipeline", plain)],
        limit=RECOVERY, unit="/s",
    )  # fmt: skip
