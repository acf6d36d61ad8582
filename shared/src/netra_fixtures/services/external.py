"""Servers that somebody else runs, at the addresses in NETRA_POSTGRES_URL and NETRA_REDIS_URL."""

from typing import TYPE_CHECKING, Any

from netra_fixtures.errors import AddressUnusable, SettingInvalid
from netra_fixtures.services import refusals
from netra_fixtures.services.endpoint import PostgresEndpoint, RedisEndpoint
from netra_fixtures.settings import Settings

if TYPE_CHECKING:
    import asyncpg

OLDEST_POSTGRES = 15  # the first whose CREATE DATABASE takes a strategy and whose parameters can be granted
OLDEST_REDIS = (6, 2)  # the first with GETEX; the client's greeting, HELLO, is of 6.0
ANSWER_S = 5
RIGHTS = """
select rolsuper or rolcreatedb as creates, pg_is_in_recovery() as follows,
       has_parameter_privilege('session_replication_role', 'set') as empties
  from pg_roles where rolname = current_user
"""


def check(settings: Settings) -> None:
    """Read the addresses that were given, before anything starts.

    Raises:
        SettingInvalid: one can't be read.
    """
    if settings.postgres_url:
        postgres(settings.postgres_url)
    if settings.redis_url:
        redis_address(settings.redis_url)


def postgres(url: str) -> PostgresEndpoint:
    """Read the address of PostgreSQL.

    Raises:
        SettingInvalid: it can't be read.
    """
    try:
        return PostgresEndpoint.from_url(url)
    except ValueError as error:
        raise SettingInvalid(
            "NETRA_POSTGRES_URL", str(error), "write postgresql://user:password@host:port/database"
        ) from None


def redis_address(url: str) -> RedisEndpoint:
    """Read the address of Redis.

    Raises:
        SettingInvalid: it can't be read.
    """
    try:
        return RedisEndpoint.from_url(url)
    except ValueError as error:
        raise SettingInvalid(
            "NETRA_REDIS_URL", str(error), "write redis://user:password@host:port/0"
        ) from None


async def check_postgres(connection: "asyncpg.Connection") -> None:
    """Make sure that the server is new enough and lets its user do what isolation needs.

    Raises:
        AddressUnusable: it isn't, or doesn't.
    """
    about = connection.get_server_version()
    if about.major < OLDEST_POSTGRES:
        found = connection.get_settings().server_version.split()[0]
        raise AddressUnusable(
            "PostgreSQL",
            f"the server is {found} and {OLDEST_POSTGRES} or newer is needed",
            "point NETRA_POSTGRES_URL at a newer one, or unset it",
        )
    may = await connection.fetchrow(RIGHTS)
    lacks = (
        ("it is a standby, which takes no writes", "name its primary in NETRA_POSTGRES_URL")
        if may["follows"]
        else ("its user may not create databases", "alter role … createdb")
        if not may["creates"]
        else (
            "its user may not empty tables whatever their foreign keys",
            "grant set on parameter session_replication_role to it",
        )
        if not may["empties"]
        else None
    )
    if lacks:
        raise AddressUnusable("PostgreSQL", *lacks)


def redis(url: str, namespace: str, *, time_factor: float) -> tuple[RedisEndpoint, dict[str, Any]]:
    """Ask who is there, and whether keys below *namespace* can be found and removed.

    Returns:
        the address, and the server's name and version for the report.

    Raises:
        SettingInvalid: the address can't be read.
        AddressUnusable: nobody answers there, or somebody that can't be used.
    """
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    endpoint = redis_address(url)
    seconds = ANSWER_S * time_factor
    client = Redis.from_url(
        endpoint.url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # what is too old for 3 can still say how old it is
    )
    try:
        about = client.info("server")
        _check_version(about)
        client.scan(match=f"{namespace}:*", count=1)
        client.unlink(f"{namespace}:")
    except RedisError as error:
        raise refusals.of_redis(error, endpoint, seconds) from error
    finally:
        client.close()
    name, version = ("Valkey", "valkey_version") if "valkey_version" in about else ("Redis", "redis_version")
    return endpoint, {"server": name, "version": str(about[version])}


def _check_version(about: dict[str, Any]) -> None:
    found = str(about.get("redis_version", "unknown"))  # Valkey says 7.2, for the clients' sake
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_REDIS:
        needed = ".".join(map(str, OLDEST_REDIS))
        raise AddressUnusable(
            "Redis",
            f"the server is {found} and {needed} or newer is needed",
            "point NETRA_REDIS_URL at a newer one, or unset it",
        )
