"""The fixtures that a test can ask for; each builds one object from a module below and yields it.

What they need is imported when the first test asks: a run that needs no service pays for none.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine

    from netra_fixtures.clock import ManualClock
    from netra_fixtures.context import TenantFactory, UserFactory
    from netra_fixtures.data import ThirdPartyData
    from netra_fixtures.environment import IsolatedEnvironment
    from netra_fixtures.evidence import Tap
    from netra_fixtures.isolation.postgres import WorkerDatabase
    from netra_fixtures.isolation.redis import WorkerRedis
    from netra_fixtures.lease import Lease
    from netra_fixtures.links import ServiceLink
    from netra_fixtures.private import PrivatePostgres, PrivateRedis
    from netra_fixtures.services.endpoint import PostgresEndpoint, RedisEndpoint
    from netra_fixtures.worker import Worker


# What tests ask for.


@pytest.fixture
def postgres_endpoint(
    request: pytest.FixtureRequest, netra_database: WorkerDatabase, netra_tap: Tap
) -> Iterator[PostgresEndpoint]:
    """A migrated database that holds nothing of other tests; `fresh_database` gives one of the test's own."""
    with netra_database.lent(fresh=request.node.get_closest_marker("fresh_database") is not None) as endpoint:
        yield endpoint.over(netra_tap.path("postgres"))


@pytest.fixture
def redis_endpoint(netra_redis: WorkerRedis, netra_tap: Tap) -> Iterator[RedisEndpoint]:
    """A Redis without keys of other tests."""
    yield netra_redis.endpoint.over(netra_tap.path("redis"))
    netra_redis.empty()


@pytest.fixture
async def engine(netra_worker: Worker, postgres_endpoint: PostgresEndpoint) -> AsyncIterator[AsyncEngine]:
    """An async SQLAlchemy engine on the test's database; commits are real."""
    from sqlalchemy.ext.asyncio import create_async_engine

    netra_worker.observe_engines()
    engine = create_async_engine(postgres_endpoint.url())
    yield engine
    await engine.dispose()


@pytest.fixture
async def redis_client(netra_worker: Worker, redis_endpoint: RedisEndpoint) -> AsyncIterator[Redis]:
    """An async Redis client that gives bytes."""
    client = netra_worker.client_class().from_url(redis_endpoint.url)
    yield client
    await client.aclose()


@pytest.fixture
def namespace(netra_worker: Worker) -> str:
    """What the names of this worker's keys, channels and streams start with; a colon follows it."""
    return netra_worker.namespace


@pytest.fixture
async def postgres_link(
    postgres_endpoint: PostgresEndpoint, rng: random.Random
) -> AsyncIterator[ServiceLink[PostgresEndpoint]]:
    """A way to the test's database that faults can be laid on."""
    from netra_fixtures.links import link_to

    async with link_to(postgres_endpoint, seed=rng.getrandbits(32)) as link:
        yield link


@pytest.fixture
async def redis_link(
    redis_endpoint: RedisEndpoint, rng: random.Random
) -> AsyncIterator[ServiceLink[RedisEndpoint]]:
    """A way to the test's Redis that faults can be laid on."""
    from netra_fixtures.links import link_to

    async with link_to(redis_endpoint, seed=rng.getrandbits(32)) as link:
        yield link


@pytest.fixture
def private_postgres(netra_worker: Worker, netra_lease: Lease, netra_tap: Tap) -> Iterator[PrivatePostgres]:
    """A cluster of the test's own, with one migrated database, to restart and kill."""
    from netra_fixtures import private

    with private.private_postgres(netra_worker, netra_lease, netra_tap) as server:
        yield server


@pytest.fixture
def private_redis(netra_worker: Worker, netra_lease: Lease, netra_tap: Tap) -> Iterator[PrivateRedis]:
    """A Redis of the test's own, to restart, kill and flush."""
    from netra_fixtures import private

    with private.private_redis(netra_worker, netra_lease, netra_tap) as server:
        yield server


@pytest.fixture
def rng(request: pytest.FixtureRequest, netra_worker: Worker) -> random.Random:
    """Chance that follows from the run's seed and the test's name: the same again with the same `--seed`."""
    return random.Random(f"{netra_worker.seed}:{request.node.nodeid}")


@pytest.fixture
def tenants(request: pytest.FixtureRequest, netra_worker: Worker) -> TenantFactory:
    """Makes tenants that no other test has."""
    from netra_fixtures.context import TenantFactory

    return TenantFactory(netra_worker.seed, _scope(request))


@pytest.fixture
def users(request: pytest.FixtureRequest, netra_worker: Worker) -> UserFactory:
    """Makes users that no other test has."""
    from netra_fixtures.context import UserFactory

    return UserFactory(netra_worker.seed, _scope(request))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    from netra_fixtures.clock import ManualClock

    return ManualClock()


@pytest.fixture
def environment() -> Iterator[IsolatedEnvironment]:
    """A private copy of the process's environment; what the test changes in it is gone after."""
    from netra_fixtures.environment import IsolatedEnvironment

    with IsolatedEnvironment(os.environ) as private:
        yield private


@pytest.fixture
def third_party_data(environment: IsolatedEnvironment, netra_worker: Worker) -> ThirdPartyData:
    """The folder that NETRA_TEST_DATA names; without it the test is skipped."""
    from netra_fixtures.data import VARIABLE, ThirdPartyData

    folder = environment.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} is not set; point it at a folder of third-party data to run this test")
    return ThirdPartyData(Path(folder), netra_worker.data.append)


def _scope(request: pytest.FixtureRequest) -> str:
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]


# The worker's parts of the services; one of each a session.


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def netra_worker(request: pytest.FixtureRequest) -> Worker:
    """What the plugin keeps for this process."""
    from netra_fixtures.worker import Worker

    return request.config.stash[Worker.KEY]


@pytest.fixture(scope="session")
def netra_lease(netra_worker: Worker) -> Iterator[Lease]:
    """The worker's hold on the services of the run."""
    from netra_fixtures.lease import Lease

    lease = Lease(netra_worker.directory, netra_worker.name, netra_worker.settings)
    yield lease
    lease.close()


@pytest.fixture(scope="session")
def netra_tap(netra_worker: Worker, netra_lease: Lease) -> Iterator[Tap]:
    """The process that counts what this worker's tests say to servers."""
    from netra_fixtures.evidence import Tap

    tap = Tap(netra_lease.directory / f"{netra_worker.name}-tap")
    netra_worker.ledger.open(tap)
    yield tap
    netra_worker.ledger.close()
    tap.close()


@pytest.fixture(scope="session")
def netra_database(
    request: pytest.FixtureRequest, netra_worker: Worker, netra_lease: Lease, netra_tap: Tap
) -> Iterator[WorkerDatabase]:
    """The worker's database, on a server that the first worker started and migrated."""
    from netra_fixtures.isolation import postgres

    redis_next = "netra_redis" in request.fixturenames
    with postgres.acquired(netra_worker, netra_lease, netra_tap, redis_next=redis_next) as database:
        yield database


@pytest.fixture(scope="session")
def netra_redis(netra_worker: Worker, netra_lease: Lease, netra_tap: Tap) -> Iterator[WorkerRedis]:
    """The worker's own Redis, or its part of one that is shared."""
    from netra_fixtures.isolation import redis

    with redis.acquired(netra_worker, netra_lease, netra_tap) as own:
        yield own
