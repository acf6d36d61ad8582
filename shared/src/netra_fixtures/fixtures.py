"""The fixtures that a test can ask for; each builds one object from a module below and yields it.

What they need is imported when the first test asks: a run that needs no service pays for none.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine

    from netra_fixtures.budgets import Measured
    from netra_fixtures.chance import Chance
    from netra_fixtures.clock import ManualClock
    from netra_fixtures.context import TenantFactory, UserFactory
    from netra_fixtures.data import ThirdPartyData
    from netra_fixtures.environment import IsolatedEnvironment
    from netra_fixtures.evidence import Tap
    from netra_fixtures.isolation.postgres import WorkerDatabase
    from netra_fixtures.isolation.redis import WorkerRedis
    from netra_fixtures.lease import Lease
    from netra_fixtures.lending import Lending
    from netra_fixtures.links import ServiceLink, WebSocketLinkFactory
    from netra_fixtures.outcomes import Delivered
    from netra_fixtures.private import PrivatePostgres, PrivateRedis
    from netra_fixtures.programs import Programs, StartProgram
    from netra_fixtures.services.endpoint import PostgresEndpoint, RedisEndpoint
    from netra_fixtures.worker import Worker


# What tests ask for.


@pytest.fixture
def postgres_endpoint(
    request: pytest.FixtureRequest,
    netra_worker: Worker,
    netra_lent: Lending,
    netra_database: WorkerDatabase,
    netra_tap: Tap,
) -> PostgresEndpoint:
    """A migrated database that holds nothing of other tests; `fresh_database` gives one of the test's own."""
    fresh = request.node.get_closest_marker("fresh_database") is not None
    left = netra_worker.snapshots.database
    lent = netra_lent.enter(netra_database.lent(netra_lent.watch, fresh=fresh, left=left))
    return lent.over(netra_tap.path("postgres"))


@pytest.fixture
def redis_endpoint(
    netra_worker: Worker, netra_lent: Lending, netra_redis: WorkerRedis, netra_tap: Tap
) -> RedisEndpoint:
    """A Redis without keys of other tests."""
    return netra_lent.enter(netra_redis.lent(netra_worker.snapshots.redis)).over(netra_tap.path("redis"))


@pytest.fixture
async def engine(
    netra_worker: Worker, netra_lent: Lending, postgres_endpoint: PostgresEndpoint
) -> AsyncIterator[AsyncEngine]:
    """An async SQLAlchemy engine on the test's database; commits are real."""
    from netra_fixtures.clients.engine import lent_engine

    netra_worker.observe_engines()
    async with lent_engine(postgres_endpoint, netra_lent.watch) as engine:
        yield engine


@pytest.fixture
async def redis_client(
    netra_worker: Worker, netra_lent: Lending, redis_endpoint: RedisEndpoint
) -> AsyncIterator[Redis]:
    """An async Redis client that gives bytes."""
    from netra_fixtures.clients.redis import lent_client

    async with lent_client(redis_endpoint, netra_lent.watch, netra_worker.client_class()) as client:
        yield client


@pytest.fixture
def namespace(netra_worker: Worker) -> str:
    """What the names of this worker's keys, channels and streams start with; a colon follows it."""
    return netra_worker.namespace


@pytest.fixture
async def postgres_link(
    postgres_endpoint: PostgresEndpoint, netra_chance: Chance
) -> AsyncIterator[ServiceLink[PostgresEndpoint]]:
    """A way to the test's database that faults can be laid on."""
    from netra_fixtures.links import link_to

    async with link_to(postgres_endpoint, netra_chance, "postgres_link") as link:
        yield link


@pytest.fixture
async def redis_link(
    redis_endpoint: RedisEndpoint, netra_chance: Chance
) -> AsyncIterator[ServiceLink[RedisEndpoint]]:
    """A way to the test's Redis that faults can be laid on."""
    from netra_fixtures.links import link_to

    async with link_to(redis_endpoint, netra_chance, "redis_link") as link:
        yield link


@pytest.fixture
async def linked_engine(postgres_link: ServiceLink[PostgresEndpoint]) -> AsyncIterator[AsyncEngine]:
    """An engine that reaches the test's database over `postgres_link`."""
    engine = postgres_link.endpoint.engine()
    yield engine
    await engine.dispose()


@pytest.fixture
async def linked_redis(redis_link: ServiceLink[RedisEndpoint]) -> AsyncIterator[Redis]:
    """A client that reaches the test's Redis over `redis_link`."""
    async with redis_link.endpoint.client() as client:
        yield client


@pytest.fixture
def websocket_link(netra_lent: Lending, netra_tap: Tap, netra_chance: Chance) -> WebSocketLinkFactory:
    """Opens ways to a WebSocket server of the test's own that faults can be laid on."""
    from netra_fixtures.links import WebSocketLinkFactory

    return WebSocketLinkFactory(netra_tap, netra_chance)


@pytest.fixture
def private_postgres(
    netra_lent: Lending, netra_worker: Worker, netra_lease: Lease, netra_tap: Tap
) -> PrivatePostgres:
    """A cluster of the test's own, with one migrated database, to restart and kill."""
    from netra_fixtures import private

    return netra_lent.enter(private.private_postgres(netra_worker, netra_lease, netra_tap))


@pytest.fixture
def private_redis(
    netra_lent: Lending, netra_worker: Worker, netra_lease: Lease, netra_tap: Tap
) -> PrivateRedis:
    """A Redis of the test's own, to restart, kill and flush."""
    from netra_fixtures import private

    return netra_lent.enter(private.private_redis(netra_worker, netra_lease, netra_tap))


@pytest.fixture
async def own_engine(private_postgres: PrivatePostgres) -> AsyncIterator[AsyncEngine]:
    """An engine on `private_postgres`."""
    engine = private_postgres.endpoint.engine()
    yield engine
    await engine.dispose()


@pytest.fixture
async def own_redis(private_redis: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of `private_redis`."""
    async with private_redis.endpoint.client() as client:
        yield client


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
def delivered(netra_worker: Worker, engine: AsyncEngine) -> Delivered:
    """Recomputes outcomes from the rows that prove them; the report has them if the test passes."""
    from netra_fixtures.outcomes import Delivered

    return Delivered(engine, netra_worker.outcomes.append)


@pytest.fixture
def measured(request: pytest.FixtureRequest, netra_worker: Worker) -> Measured:
    """Counts what an operation took that is not measured without asking, for the report to hold against its budget."""
    from netra_fixtures.budgets import Measured

    return Measured(netra_worker.recorder, request.node.user_properties)


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
async def start_program(
    netra_programs: Programs, environment: IsolatedEnvironment
) -> AsyncIterator[StartProgram]:
    """Starts Python programs as processes of their own, with the test's `environment`; they end with the test."""
    async with netra_programs.starting(environment) as start:
        yield start


@pytest.fixture
def third_party_data(environment: IsolatedEnvironment, netra_worker: Worker) -> ThirdPartyData:
    """The folder that NETRA_TEST_DATA names; without it the test is skipped."""
    from netra_fixtures.data import VARIABLE, ThirdPartyData

    folder = environment.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} is not set; point it at a folder of third-party data to run this test")
    return ThirdPartyData(Path(folder), netra_worker.data.append)


@pytest.fixture(autouse=True)
def netra_case(request: pytest.FixtureRequest) -> None:
    """Hands a test of one of the base classes what its class names, before anything of the test's own runs."""
    bring = getattr(request.instance, "_netra_bring", None)
    if bring is not None:
        bring(request)


def _scope(request: pytest.FixtureRequest) -> str:
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]


@pytest.fixture
def netra_chance(request: pytest.FixtureRequest, netra_worker: Worker) -> Chance:
    """What the faults of the test's links draw from."""
    from netra_fixtures.chance import Chance

    return Chance(request.node, netra_worker.seed)


# What this test is lent, and takes back from it.


@pytest.fixture
def netra_lending(request: pytest.FixtureRequest, netra_tap: Tap) -> Iterator[Lending]:
    """What the test is lent of the services; given back, and looked over, once its other fixtures are done."""
    from netra_fixtures.lending import lending

    with lending(netra_tap, (str(request.path), (request.node.location[1] or 0) + 1)) as lent:
        yield lent


@pytest.fixture
async def netra_tasks(netra_lending: Lending) -> AsyncIterator[None]:
    """Watches the tasks that the test starts; torn down while its event loop still runs."""
    async with netra_lending.watch.of_loop():
        yield


@pytest.fixture
def netra_lent(request: pytest.FixtureRequest, netra_lending: Lending) -> Lending:
    """The same, with the tasks of a test that has an event loop watched too."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("netra_tasks")
    return netra_lending


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
def netra_programs() -> Iterator[Programs]:
    """What forks the programs that this worker's tests start."""
    from netra_fixtures.programs import Programs

    programs = Programs()
    yield programs
    programs.close()


@pytest.fixture(scope="session")
def netra_lease(netra_worker: Worker) -> Iterator[Lease]:
    """The worker's hold on the services of the run."""
    from netra_fixtures.lease import Lease

    lease = Lease(netra_worker.place, netra_worker.name, netra_worker.settings)
    netra_worker.deaths.watch(lease.died, confirm=lease.look)
    yield lease
    netra_worker.deaths.rest()
    lease.close()


@pytest.fixture(scope="session")
def netra_tap(netra_worker: Worker, netra_lease: Lease) -> Iterator[Tap]:
    """The process that counts what this worker's tests say to servers."""
    from netra_fixtures.evidence import ANSWER_DEADLINE_S, Tap

    deadline_s = ANSWER_DEADLINE_S * netra_worker.settings.time_factor
    tap = Tap(netra_lease.directory / f"{netra_worker.name}-tap", deadline_s=deadline_s)
    netra_worker.ledger.open(tap)
    netra_worker.deaths.watch(tap.died)
    yield tap
    netra_worker.deaths.rest()
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
