"""What the tests of config share: installations on the test's own services, straight or over spoiled links."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_config import ConfigPolicy, ConfigService, Environment, Key
from netra_fixtures import (
    PostgresEndpoint,
    PrivatePostgres,
    Program,
    RedisEndpoint,
    StartProgram,
)

from .shop import Shop

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a slow example on a busy machine is no failure

OpenConfig = Callable[..., Awaitable[ConfigService[Any]]]
# a busy machine is no outage, and what arrives arrived by announcement: no poll comes during a test
PATIENT = ConfigPolicy(deadline=timedelta(seconds=30), poll_every=timedelta(minutes=10))


def key(environment: Environment, name: str = "1") -> Key:
    """Make a key whose bytes follow from its name."""
    id = f"{environment.value}/{name}"
    return Key(id, hashlib.sha256(id.encode()).digest())


@pytest.fixture
async def open_config(engine: AsyncEngine, redis_client: Redis, namespace: str) -> AsyncIterator[OpenConfig]:
    """Open the settings as one process of the platform does; each call is another process's."""
    async with AsyncExitStack() as opened:

        async def open_one(
            *, schema: type = Shop, environment: Environment = Environment.TEST, engine: AsyncEngine = engine,
            redis: Redis = redis_client, namespace: str = namespace, policy: ConfigPolicy = PATIENT,
            keys: tuple[Key, ...] | None = None, values: Mapping[str, Any] = {}, **more: Any,
        ) -> ConfigService[Any]:  # fmt: skip
            service = ConfigService(
                schema, environment=environment, engine=engine, redis=redis, namespace=namespace, policy=policy,
                keys=(key(environment),) if keys is None else keys, values=values, **more,
            )  # fmt: skip
            return await opened.enter_async_context(service)

        yield open_one


@pytest.fixture
async def config(open_config: OpenConfig) -> ConfigService[Shop]:
    """The settings of one process in the environment test."""
    return await open_config()


@dataclass(frozen=True)
class Installation:
    """One environment of the platform: who may change settings, and who only reads them."""

    environment: Environment
    administrator: AsyncEngine
    editor: AsyncEngine
    reader: AsyncEngine


GRANTS = """
create role config_reader login password 'reads a little';
create role config_editor login password 'writes a little';
grant usage on schema config to config_reader, config_editor;
grant select on config.revision to config_reader, config_editor;
grant insert on config.revision to config_editor;
grant insert on config.exposure to config_reader, config_editor;
grant select on config.exposure to config_editor
"""
HBA = "local all {owner} trust\nlocal all all scram-sha-256\n"


async def ask_for_passwords(administrator: AsyncEngine, owner: str) -> None:
    """Let the server of the test's own take nobody but its owner without a password."""
    async with administrator.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        place = await connection.scalar(text("show hba_file"))
        lines = (
            HBA.format(owner=owner).replace("\n", "' union all select '").removesuffix(" union all select '")
        )
        await connection.execute(text(f"copy (select '{lines}) to '{place}'"))
        await connection.execute(text("select pg_reload_conf()"))


@pytest.fixture(params=list(Environment), ids=[one.value for one in Environment])
def environment_of_installation(request: pytest.FixtureRequest) -> Environment:
    """Run the test in every environment."""
    return Environment(request.param)


@pytest.fixture
def server(request: pytest.FixtureRequest, environment_of_installation: Environment) -> PostgresEndpoint:
    """Production has a PostgreSQL of its own, on which roles can be made."""
    if environment_of_installation is Environment.PRODUCTION:
        private: PrivatePostgres = request.getfixturevalue("private_postgres")
        return private.endpoint
    endpoint: PostgresEndpoint = request.getfixturevalue("postgres_endpoint")
    return endpoint


@pytest.fixture
async def installation(
    server: PostgresEndpoint, environment_of_installation: Environment
) -> AsyncIterator[Installation]:
    """An environment; in production editor and reader are roles with passwords and the fewest rights."""
    async with AsyncExitStack() as opened:

        def engine(endpoint: PostgresEndpoint) -> AsyncEngine:
            made = create_async_engine(endpoint.url())
            opened.push_async_callback(made.dispose)
            return made

        administrator = engine(server)
        if environment_of_installation is not Environment.PRODUCTION:
            yield Installation(environment_of_installation, administrator, administrator, administrator)
            return
        async with administrator.begin() as connection:
            for statement in GRANTS.split(";"):
                await connection.execute(text(statement))
        await ask_for_passwords(administrator, server.user)
        roles = {"config_editor": "writes a little", "config_reader": "reads a little"}
        editor, reader = (
            engine(PostgresEndpoint(**{**server.told(), "user": role, "password": password}))
            for role, password in roles.items()
        )
        yield Installation(environment_of_installation, administrator, editor, reader)


@pytest.fixture
def another_process(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, start_program: StartProgram
) -> Callable[..., Awaitable[Program]]:  # fmt: skip
    """Start another process of the platform, which says what it reads, a line each."""

    async def start(*arguments: str) -> Program:
        where = (postgres_endpoint.url(), redis_endpoint.url, namespace)
        return await start_program(Path(__file__).with_name("another_process.py"), *where, *arguments)

    return start
