"""Why a server at an address can't be used, in words that name the remedy and no password."""

import socket
from typing import TYPE_CHECKING

from netra_fixtures.errors import AddressUnusable, ServicesUnavailable
from netra_fixtures.services.endpoint import Endpoint, PostgresEndpoint, RedisEndpoint

if TYPE_CHECKING:
    from redis import RedisError


def of_postgres(error: Exception, endpoint: PostgresEndpoint, seconds: float) -> ServicesUnavailable:
    """Say why no connection came about.

    Args:
        error: what asyncpg raised.
        seconds: how long was waited for it.
    """
    import asyncpg

    place = _place(endpoint)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        found = f"{place} has no database {endpoint.database!r}", "create it, or name another"
    elif isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        found = (
            f"{place} refuses the user {endpoint.user!r}: {_sentence(error)}",
            "check the user and password",
        )
    elif isinstance(error, asyncpg.ConnectionDoesNotExistError | asyncpg.ProtocolViolationError):
        found = f"{place} doesn't answer as PostgreSQL does", "check the host and port"
    elif isinstance(error, asyncpg.PostgresError):
        found = f"{place} says {_sentence(error)}", "see what its administrator allows"
    elif isinstance(error, OSError):
        found = _of_network(error, place, "PostgreSQL", seconds)
    else:  # asyncpg's own, of bytes that make no sense to it
        found = f"{place} doesn't answer as PostgreSQL does", "check the host and port"
    return _unusable("PostgreSQL", "NETRA_POSTGRES_URL", endpoint, *found)


def of_redis(error: "RedisError", endpoint: RedisEndpoint, seconds: float) -> ServicesUnavailable:
    """Say why the server gave no answer, or a refusal.

    Args:
        error: what redis-py raised.
        seconds: how long was waited for it.
    """
    import redis

    place = _place(endpoint)
    if isinstance(error, redis.AuthenticationError):
        who = f"the user {endpoint.username!r}" if endpoint.username else "the password, or its absence"
        found = f"{place} refuses {who}: {_sentence(error)}", "check the user and password"
    elif isinstance(error, redis.exceptions.NoPermissionError):
        found = (
            f"{place} says {_sentence(error)}",
            "allow the user INFO, SCAN and UNLINK, and keys of netra-*",
        )
    elif isinstance(error, redis.exceptions.ReadOnlyError):
        found = f"{place} is a replica that can't be written to", "name its primary"
    elif isinstance(error, redis.ResponseError):
        found = f"{place} says {_sentence(error)}", "see what its administrator allows"
    elif isinstance(error.__cause__ or error.__context__, OSError) or isinstance(error, redis.TimeoutError):
        cause = error.__cause__ or error.__context__
        found = _of_network(cause if isinstance(cause, OSError) else TimeoutError(), place, "Redis", seconds)
    else:  # it closed the connection, or sent what is no answer
        found = f"{place} doesn't answer as Redis does", "check the host and port"
    return _unusable("Redis", "NETRA_REDIS_URL", endpoint, *found)


def _of_network(error: OSError, place: str, server: str, seconds: float) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return f"{place} doesn't answer as {server} does within {seconds:g} s", "check the host and port"
    if isinstance(error, socket.gaierror):
        return f"the host of {place} isn't known", "check its spelling"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {place}", "start the server"
    if isinstance(error, ConnectionError):
        return f"{place} doesn't answer as {server} does", "check the host and port"
    return f"{place} can't be reached: {error.strerror or error}", "check the host and port"


def _place(endpoint: Endpoint) -> str:
    return str(endpoint.socket or f"{endpoint.host}:{endpoint.port}")


def _sentence(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _unusable(
    server: str, variable: str, endpoint: Endpoint, reason: str, remedy: str
) -> ServicesUnavailable:
    """Blame the address where one was given; a socket is of a server that the kit started."""
    if endpoint.socket:
        return ServicesUnavailable(server, reason, "run the tests again")
    return AddressUnusable(server, reason, f"{remedy}, or correct {variable}")
