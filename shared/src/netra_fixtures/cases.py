"""Base classes for teams that write tests as classes: typed attributes for fixtures, and a few assertions.

A class names fixtures and sets nothing up itself: `netra_case` hands them over before anything of the test's own runs,
so `setup_method` and the class's own fixtures find them, and none can be lost by overriding.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest

from netra_fixtures.errors import NetraFixturesError
from netra_fixtures.identifiers import quoted_column, quoted_table

if TYPE_CHECKING:
    import random

    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine

    from netra_fixtures.clock import ManualClock
    from netra_fixtures.context import TenantFactory, UserFactory
    from netra_fixtures.environment import IsolatedEnvironment
    from netra_fixtures.links import WebSocketLinkFactory
    from netra_fixtures.outcomes import Delivered, Outcome

Marks = pytest.MarkDecorator | list[pytest.MarkDecorator]
_MILLISECOND = timedelta(milliseconds=1)


class EngineMissing(NetraFixturesError):
    """A test claims an outcome and asks for no database that could prove it."""

    def __init__(self) -> None:
        super().__init__(
            "an outcome is recomputed from PostgreSQL; derive the class from DatabaseIntegrationTest,"
            " or let the test ask for engine"
        )


class BaseIntegrationTest:
    """A class of tests; ask for services as functions do, or derive from one of the classes below."""

    # a subclass may set its own marks, one or many; pytest adds them to these
    pytestmark: ClassVar[Marks] = pytest.mark.usefixtures("users", "tenants", "clock", "environment", "rng")
    users: UserFactory
    tenants: TenantFactory
    clock: ManualClock
    environment: IsolatedEnvironment
    rng: random.Random
    _delivered: Delivered | None = None

    def _netra_bring(self, request: pytest.FixtureRequest) -> None:
        """Set the attributes that the classes of this module name."""
        for case in type(self).__mro__:
            if case.__module__ == __name__:
                for name in case.__dict__["pytestmark"].args:
                    setattr(self, name, request.getfixturevalue(name))
        if "engine" in request.fixturenames:
            self._delivered = request.getfixturevalue("delivered")

    async def assert_business_value_delivered(self, outcome: Outcome) -> None:
        """Recompute *outcome* from the rows that prove it; the report has it if the test passes.

        Raises:
            OutcomeNotProved: the rows say otherwise, or prove an outcome of this test already.
            RowsUnreadable: there are no such tables or columns, or they are of another type.
            EngineMissing: the test asks for no database.
        """
        __tracebackhide__ = True
        if self._delivered is None:
            raise EngineMissing
        await self._delivered(outcome)


class DatabaseIntegrationTest(BaseIntegrationTest):
    """Tests of what is in PostgreSQL; each has to send it something.

    The assertions read over a connection of their own, so what they find was committed.
    """

    pytestmark: ClassVar[Marks] = pytest.mark.usefixtures("engine")
    engine: AsyncEngine

    async def assert_row_exists(self, table: str, /, **columns: object) -> None:
        """Fail unless at least one row of *table* (`schema.table`) has these values; None is null."""
        __tracebackhide__ = True
        if not await self._count(table, columns):
            there = await self._count(table, {})
            raise AssertionError(f"none of the {there} rows of {table} has {_said(columns)}")

    async def assert_row_count(self, table: str, expected: int, /, **columns: object) -> None:
        """Fail unless exactly so many rows of *table* (`schema.table`) have these values; None is null."""
        __tracebackhide__ = True
        found = await self._count(table, columns)
        _demand(found == expected, f"{table} has {found} rows with {_said(columns)}, not {expected}")

    async def _count(self, table: str, columns: dict[str, object]) -> int:
        from netra_fixtures.outcomes import rows

        __tracebackhide__ = True
        condition, parameters = _condition(columns)
        sql = f"select count(*) from {quoted_table(table)} where {condition}"
        [row] = await rows(self.engine, table, sql, **parameters)
        return int(row[0])


class CacheIntegrationTest(BaseIntegrationTest):
    """Tests of what is in Redis; each has to send it something. Keys are given whole, namespace included."""

    pytestmark: ClassVar[Marks] = pytest.mark.usefixtures("redis_client", "namespace")
    redis_client: Redis
    namespace: str

    async def assert_cached(self, key: str, value: str | bytes) -> None:
        """Fail unless *key* holds this string."""
        __tracebackhide__ = True
        found = await self._cached(key)
        _demand(found is not None, f"Redis has no key {key}")
        expected = value.encode() if isinstance(value, str) else value
        _demand(found == expected, f"{key} holds {found!r}, not {expected!r}")

    async def assert_not_cached(self, *keys: str) -> None:
        """Fail where any of *keys* is there."""
        __tracebackhide__ = True
        there = [key for key in keys if await self.redis_client.exists(key)]
        _demand(not there, f"Redis still has {', '.join(there)}")

    async def assert_expires_within(self, key: str, limit: timedelta) -> None:
        """Fail unless *key* is there and will be gone when *limit* is over, as Redis itself says."""
        __tracebackhide__ = True
        left_ms = await self.redis_client.pttl(key)
        _demand(left_ms != -2, f"Redis has no key {key}")
        _demand(left_ms != -1, f"{key} never expires")
        left = left_ms * _MILLISECOND
        _demand(left <= limit, f"{key} expires in {left}, later than {limit}")

    async def _cached(self, key: str) -> bytes | None:
        from redis.exceptions import ResponseError

        __tracebackhide__ = True
        try:
            found = await self.redis_client.get(key)
        except ResponseError:
            raise AssertionError(f"{key} holds no string") from None
        return found.encode() if isinstance(found, str) else found


class ServiceOrchestrationIntegrationTest(DatabaseIntegrationTest, CacheIntegrationTest):
    """Tests of what several services do together; each has to send something to PostgreSQL and to Redis."""

    pytestmark: ClassVar[Marks] = pytest.mark.usefixtures("engine", "redis_client", "namespace")

    async def assert_cache_agrees(self, key: str, table: str, column: str, /, **columns: object) -> None:
        """Fail unless *key* holds what *column* says, as text, in the one row of *table* with these values."""
        from netra_fixtures.outcomes import rows

        __tracebackhide__ = True
        condition, parameters = _condition(columns)
        sql = f"select {quoted_column(column)}::text from {quoted_table(table)} where {condition}"
        found = await rows(self.engine, table, sql, **parameters)
        _demand(len(found) == 1, f"{table} has {len(found)} rows with {_said(columns)}, not 1")
        cached = await self._cached(key)
        held, kept = None if cached is None else cached.decode(), found[0][0]
        _demand(held == kept, f"{key} holds {held!r}, and {table}.{column} says {kept!r}")


class WebSocketConnection(Protocol):
    """What the assertions need of a client's connection; those of the library `websockets` have it."""

    @property
    def close_code(self) -> int | None:
        """The code it was closed with; None while it is open."""

    async def recv(self) -> str | bytes:
        """Wait for the next message."""

    async def wait_closed(self) -> None:
        """Wait until it is closed."""


class WebSocketIntegrationTest(BaseIntegrationTest):
    """Tests of what users receive, over links that count it: ``async with self.websocket_link(uri) as link``."""

    pytestmark: ClassVar[Marks] = pytest.mark.usefixtures("websocket_link")
    websocket_link: WebSocketLinkFactory

    async def assert_messages_in_order(
        self, connection: WebSocketConnection, *expected: str | bytes, seconds: float = 5
    ) -> None:
        """Fail unless the next messages are *expected*, in this order and within *seconds* times the time factor."""
        from netra_fixtures.waiting import within

        __tracebackhide__ = True
        for number, message in enumerate(expected, start=1):
            async with within(seconds):
                received = await connection.recv()
            _demand(received == message, f"message {number} is {received!r}, not {message!r}")

    async def assert_closed(self, connection: WebSocketConnection, code: int, *, seconds: float = 5) -> None:
        """Fail unless *connection* is closed with *code* within *seconds* times the time factor."""
        from netra_fixtures.waiting import within

        __tracebackhide__ = True
        async with within(seconds):
            await connection.wait_closed()
        _demand(
            connection.close_code == code,
            f"the connection was closed with {connection.close_code}, not {code}",
        )


def _demand(holds: bool, said: str) -> None:
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(said)


def _condition(columns: dict[str, object]) -> tuple[str, dict[str, Any]]:
    """Write a condition whose values are parameters."""
    __tracebackhide__ = True
    terms, parameters = ["true"], {}
    for n, (column, value) in enumerate(columns.items()):
        terms.append(f"{quoted_column(column)} is not distinct from :p{n}")
        parameters[f"p{n}"] = value
    return " and ".join(terms), parameters


def _said(columns: dict[str, object]) -> str:
    return ", ".join(f"{column}={value!r}" for column, value in columns.items()) or "anything in them"
