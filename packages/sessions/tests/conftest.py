"""What the tests of sessions share: installations on the test's own services, straight or over spoiled links."""

import asyncio
import hashlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_fixtures import (
    IsolatedEnvironment,
    ManualClock,
    PostgresEndpoint,
    PrivatePostgres,
    PrivateRedis,
    RedisEndpoint,
    ServiceLink,
)
from netra_fixtures.data import ThirdPartyData
from netra_sessions import SessionPolicy, Sessions, SessionToken

OpenSessions = Callable[..., Sessions]
PATIENT = SessionPolicy(deadline=timedelta(seconds=30))  # a busy machine is no outage


@pytest.fixture
async def open_sessions(
    engine: AsyncEngine, redis_client: Redis, namespace: str, clock: ManualClock
) -> AsyncIterator[OpenSessions]:
    """Open sessions as one process of the platform does; each call is another process's."""
    async with AsyncExitStack() as opened:

        def open_one(
            *, engine: AsyncEngine = engine, redis: Redis = redis_client, namespace: str = namespace,
            policy: SessionPolicy = PATIENT, clock: Callable[[], datetime] = clock,
        ) -> Sessions:  # fmt: skip
            sessions = Sessions(engine=engine, redis=redis, namespace=namespace, policy=policy, clock=clock)
            opened.push_async_callback(sessions.close)
            return sessions

        yield open_one


@pytest.fixture
def sessions(open_sessions: OpenSessions) -> Sessions:
    """The sessions of one process, with the default lifetimes."""
    return open_sessions()


@pytest.fixture
async def linked_redis(redis_link: ServiceLink[RedisEndpoint]) -> AsyncIterator[Redis]:
    """A client that reaches Redis over the link."""
    client = redis_link.endpoint.client()
    yield client
    await client.aclose()


@pytest.fixture
async def linked_engine(postgres_link: ServiceLink[PostgresEndpoint]) -> AsyncIterator[AsyncEngine]:
    """An engine that reaches PostgreSQL over the link."""
    engine = create_async_engine(postgres_link.endpoint.url())
    yield engine
    await engine.dispose()


@pytest.fixture
async def own_redis(private_redis: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of the test's own Redis, which the test may restart."""
    client = private_redis.endpoint.client()
    yield client
    await client.aclose()


@pytest.fixture
async def own_engine(private_postgres: PrivatePostgres) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's own PostgreSQL, which the test may restart."""
    engine = create_async_engine(private_postgres.endpoint.url())
    yield engine
    await engine.dispose()


@pytest.fixture
def row_of(engine: AsyncEngine) -> Callable[[SessionToken], Awaitable[dict[str, object]]]:
    """Read the row of a token as an operator would, past the library."""

    async def read(token: SessionToken) -> dict[str, object]:
        digest = hashlib.sha256(token.get_secret_value().encode()).digest()
        async with engine.connect() as connection:
            statement = text("select * from sessions.session where token_digest = :digest")
            return dict((await connection.execute(statement, {"digest": digest})).mappings().one())

    return read


@pytest.fixture
async def another_process(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, clock: ManualClock,
    environment: IsolatedEnvironment,
) -> AsyncIterator[Callable[..., Awaitable[Process]]]:  # fmt: skip
    """Start another process of the platform, which does its acts and prints what it learns."""
    started: list[Process] = []

    async def start(token: SessionToken, *acts: str) -> Process:
        program = str(Path(__file__).with_name("another_process.py"))
        where = (postgres_endpoint.url(), redis_endpoint.url, namespace, clock.now().isoformat())
        does = (program, *where, token.get_secret_value(), *acts)
        started.append(
            await asyncio.create_subprocess_exec(
                sys.executable, *does, stdout=PIPE, env=environment.for_process()
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def naughty(third_party_data: ThirdPartyData) -> list[str]:
    """Read the published strings that break careless code."""
    texts: list[str] = []
    for file in third_party_data.files("bad-inputs", "payloads/*.txt"):
        lines = [line.decode("utf-8", "replace") for line in file.read_bytes().split(b"\n")]
        third_party_data.read(file, cases=len(lines))
        texts += lines
    for file in third_party_data.files("bad-inputs", "*.json"):
        strings = [text for text in json.loads(file.read_text(encoding="utf-8")) if isinstance(text, str)]
        third_party_data.read(file, cases=len(strings))
        texts += strings
    return list(dict.fromkeys(texts))
