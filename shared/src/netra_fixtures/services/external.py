"""Servers that somebody else runs, at the addresses in NETRA_POSTGRES_URL and NETRA_REDIS_URL."""

from typing import Any

from netra_fixtures.errors import ServicesUnavailable, SettingInvalid
from netra_fixtures.services.endpoint import PostgresEndpoint, RedisEndpoint
from netra_fixtures.settings import Settings


def postgres(settings: Settings) -> PostgresEndpoint:
    """Read the address of PostgreSQL.

    Raises:
        SettingInvalid: it can't be read.
    """
    try:
        return PostgresEndpoint.from_url(settings.postgres_url or "")
    except ValueError:
        raise SettingInvalid(
            "NETRA_POSTGRES_URL", "it can't be read", "write postgresql://user:password@host:port/database"
        ) from None


def redis(settings: Settings) -> tuple[RedisEndpoint, dict[str, Any]]:
    """Read the address of Redis and ask who is there; return it with what the report says of the server.

    Raises:
        SettingInvalid: it can't be read.
        ServicesUnavailable: nobody answers there.
    """
    from redis import Redis, RedisError

    try:
        endpoint = RedisEndpoint.from_url(settings.redis_url or "")
    except ValueError:
        raise SettingInvalid(
            "NETRA_REDIS_URL", "it can't be read", "write redis://user:password@host:port/0"
        ) from None
    client = Redis.from_url(endpoint.url, socket_timeout=5, socket_connect_timeout=5)
    try:
        about = client.info("server")
    except RedisError as error:
        raise ServicesUnavailable(
            "Redis",
            f"{endpoint.host}:{endpoint.port} says {error}",
            "check NETRA_REDIS_URL and start the server",
        ) from error
    finally:
        client.close()
    name, version = ("Valkey", "valkey_version") if "valkey_version" in about else ("Redis", "redis_version")
    return endpoint, {"server": name, "version": str(about[version]), "start_s": 0.0}
