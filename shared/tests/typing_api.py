"""Calls that must type-check, and calls that must not; never executed.

Where a call is refused, the comment names mypy's reason: once it is allowed, the comment is unused, and mypy fails.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, assert_type
from urllib.parse import SplitResult

import pytest
from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

import netra_fixtures
from netra_fixtures import (
    BaseIntegrationTest,
    Budget,
    BusinessValue,
    CacheIntegrationTest,
    Cut,
    DatabaseIntegrationTest,
    Delivered,
    Goal,
    HalfOpen,
    InsightsDelivered,
    IsolatedEnvironment,
    Latency,
    Link,
    ManualClock,
    Measured,
    NetraFixturesError,
    Outcome,
    PostgresEndpoint,
    PrivatePostgres,
    PrivateRedis,
    Program,
    RedisEndpoint,
    Reset,
    SavingsFound,
    ServiceLink,
    ServiceOrchestrationIntegrationTest,
    StartProgram,
    Tenant,
    TenantFactory,
    ThirdPartyData,
    Tier,
    UserContext,
    UserFactory,
    WebSocketIntegrationTest,
    WebSocketLink,
    WorkAutomated,
    business_value,
    eventually,
    within,
)
from netra_fixtures.context import TenantId, UserId

netra_fixtures.no_such_name  # type: ignore[attr-defined]
value = business_value(tier=Tier.FREE, goals={Goal.RETENTION}, impact="no order gets lost")
assert_type(value, pytest.MarkDecorator)
business_value(tier="mid", goals=["revenue generation"], impact="no order gets lost")
business_value(tier="gold", goals={Goal.RETENTION}, impact="no order gets lost")  # type: ignore[arg-type]
business_value(tier=Tier.FREE, goals={"fame"}, impact="no order gets lost")  # type: ignore[arg-type]
business_value(tier=Tier.FREE, goals={Goal.RETENTION})  # type: ignore[call-arg]
business_value(Tier.FREE, {Goal.RETENTION}, "no order gets lost")  # type: ignore[call-arg]


def values(marked: BusinessValue, budget: Budget) -> None:
    assert_type(marked.tier, Tier)
    assert_type(marked.goals, frozenset[Goal])
    assert_type(marked.impact, str)
    assert_type(Tier.FREE < Tier.MID, bool)
    assert_type(budget.limit_ms, float)
    marked.tier = Tier.MID  # type: ignore[misc]  # frozen
    budget.limit_ms = 1  # type: ignore[misc]  # frozen


def people(users: UserFactory, tenants: TenantFactory) -> None:
    assert_type(users(), UserContext)
    assert_type(tenants(tier=Tier.MID), Tenant)
    user = users(tenant=tenants(), roles={"admin"})
    assert_type(user.id, UserId)
    assert_type(user.tenant.id, TenantId)
    assert_type(user.roles, frozenset[str])
    user.email = "a@example.com"  # type: ignore[misc]  # frozen
    users(Tier.MID)  # type: ignore[call-arg]  # by keyword only
    users(tier="mid")  # type: ignore[arg-type]
    tenants(tier=None)  # type: ignore[arg-type]
    tenant: TenantId = user.id  # type: ignore[assignment]
    del tenant


def time_and_chance(clock: ManualClock, rng: random.Random) -> None:
    assert_type(clock(), datetime)
    assert_type(clock.now(), datetime)
    clock.advance(timedelta(hours=1))
    clock.advance(3600)  # type: ignore[arg-type]
    clock.set(timedelta(hours=1))  # type: ignore[arg-type]
    assert_type(rng.random(), float)


def durations(measured: Measured) -> None:
    assert_type(measured("event delivery", timedelta(milliseconds=3)), None)
    measured("event delivery", 3)  # type: ignore[arg-type]
    measured.figure("recall", 0.97)


def variables(environment: IsolatedEnvironment) -> None:
    assert_type(environment.get("A"), str | None)
    assert_type(environment.require("A"), str)
    assert_type(environment.int("A", 3), int)
    assert_type(environment.float("A"), float)
    assert_type(environment.bool("A"), bool)
    assert_type(environment.duration("A", timedelta(1)), timedelta)
    assert_type(environment.url("A", schemes={"https"}), SplitResult)
    assert_type(environment.json("A"), JsonValue)
    assert_type(environment.as_mapping(), Mapping[str, str])
    assert_type(environment.for_process(), dict[str, str])
    environment.set("A", 3)  # type: ignore[arg-type]
    environment.int("A", "3")  # type: ignore[arg-type]
    environment.duration("A", 5)  # type: ignore[arg-type]
    environment.as_mapping()["A"] = "3"  # type: ignore[index]
    with environment.override({"A": None, "B": "1"}):
        pass


async def waiting(check: Callable[[], Awaitable[int]], plain: Callable[[], str]) -> None:
    assert_type(await eventually(check, seconds=1), int)
    assert_type(await eventually(plain, seconds=1), str)
    async with within(seconds=1):
        pass
    await eventually(check)  # type: ignore[call-overload]
    await eventually(check, 1)  # type: ignore[call-overload]
    await eventually(plain(), seconds=1)  # type: ignore[call-overload]
    within(timedelta(seconds=1))  # type: ignore[arg-type]
    with within(seconds=1):  # type: ignore[attr-defined]
        pass


async def services(
    postgres: PostgresEndpoint, redis: RedisEndpoint, own_postgres: PrivatePostgres, own_redis: PrivateRedis
) -> None:
    assert_type(postgres.url(), str)
    assert_type(postgres.dsn, str)
    assert_type(postgres.target, Path | tuple[str, int])
    assert_type(postgres.named("other"), PostgresEndpoint)
    assert_type(redis.url, str)
    assert_type(redis.client(socket_timeout=None), Redis)
    redis.port = 1  # type: ignore[misc]  # frozen
    redis.dsn  # type: ignore[attr-defined]
    assert_type(own_postgres.endpoint, PostgresEndpoint)
    assert_type(own_redis.endpoint, RedisEndpoint)
    assert_type(own_postgres.endpoint.engine(pool_size=1), AsyncEngine)
    for server in (own_postgres, own_redis):
        await server.kill()
        await server.start()
        await server.restart()
    await own_redis.restart(keep=True)
    await own_redis.flush()
    await own_redis.restart(True)  # type: ignore[call-arg]  # by keyword only
    await own_postgres.flush()  # type: ignore[attr-defined]


async def programs(start: StartProgram, script: Path) -> None:
    program = await start(script, "--seed", "7", folder=script.parent, imports=["dbos"])
    assert_type(program, Program)
    assert_type(await program.wait(), int)
    assert_type(program.returncode, int | None)
    assert_type(await program.communicate(), bytes)
    await start(script, 7)  # type: ignore[arg-type]
    await start(script, env={})  # type: ignore[call-arg]  # it has the test's environment


async def faults(
    postgres: ServiceLink[PostgresEndpoint], redis: ServiceLink[RedisEndpoint], link: Link, late: timedelta
) -> None:
    assert_type(postgres.endpoint, PostgresEndpoint)
    assert_type(redis.endpoint.client(), Redis)
    assert_type(link.endpoint, tuple[str, int])
    for spoiled in (postgres, redis, link):
        async with spoiled.fault(Latency(late)), spoiled.fault(Cut()), spoiled.fault(Reset()):
            pass
    async with link.fault(HalfOpen()):
        pass
    Latency(0.5)  # type: ignore[arg-type]
    Latency()  # type: ignore[call-arg]
    link.fault(Cut)  # type: ignore[arg-type]  # an object, not its class
    with link.fault(Cut()):  # type: ignore[attr-defined]
        pass
    wrong: ServiceLink[RedisEndpoint] = postgres  # type: ignore[assignment]
    del wrong


async def data(files: ThirdPartyData) -> None:
    assert_type(files.files("focus", "*.csv"), list[Path])
    files.read(Path("focus/a.csv"), cases=3)
    files.read("focus/a.csv", cases=3)  # type: ignore[arg-type]


async def outcomes(delivered: Delivered) -> None:
    dollars = SavingsFound(
        amount=Decimal("1.50"), currency="USD", table="shop.orders", rows=[1, 2], column="saves"
    )
    assert_type(await delivered(dollars), None)
    assert_type(dollars.claimed, Decimal)
    kinds: list[Outcome] = [
        dollars,
        InsightsDelivered(count=2, table="shop.orders", rows=("a", "b"), column="what", id_column="name"),
        WorkAutomated(duration=timedelta(hours=1), table="shop.orders", rows=[1], column="took"),
    ]
    await delivered(kinds)  # type: ignore[arg-type]
    dollars.amount = Decimal(2)  # type: ignore[misc]  # frozen
    Outcome(table="shop.orders", rows=[1])  # type: ignore[abstract]
    SavingsFound(amount=1.5, currency="USD", table="t", rows=[1], column="c")  # type: ignore[arg-type]
    SavingsFound(amount=Decimal(1), table="t", rows=[1], column="c")  # type: ignore[call-arg]
    SavingsFound(amount=Decimal(1), currency="USD", table="t", column="c")  # type: ignore[call-arg]
    SavingsFound(amount=Decimal(1), currency="USD", table="t", rows=[1.5], column="c")  # type: ignore[list-item]
    InsightsDelivered(count="2", table="t", rows=[1], column="c")  # type: ignore[arg-type]
    WorkAutomated(duration=60, table="t", rows=[1], column="c")  # type: ignore[arg-type]


class Base(BaseIntegrationTest):
    pytestmark = value

    async def test(self, outcome: SavingsFound) -> None:
        assert_type(self.users, UserFactory)
        assert_type(self.tenants, TenantFactory)
        assert_type(self.clock, ManualClock)
        assert_type(self.environment, IsolatedEnvironment)
        assert_type(self.rng, random.Random)
        await self.assert_business_value_delivered(outcome)
        await self.assert_business_value_delivered(Decimal(1))  # type: ignore[arg-type]
        self.engine  # type: ignore[attr-defined]


class Database(DatabaseIntegrationTest):
    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [value, pytest.mark.soak]

    async def test(self) -> None:
        assert_type(self.engine, AsyncEngine)
        await self.assert_row_exists("shop.orders", what="a book", table=None)
        await self.assert_row_count("shop.orders", 2, what="a book")
        await self.assert_row_count("shop.orders", "2")  # type: ignore[arg-type]
        self.redis_client  # type: ignore[attr-defined]


class Cache(CacheIntegrationTest):
    async def test(self) -> None:
        assert_type(self.redis_client, Redis)
        assert_type(self.namespace, str)
        await self.assert_cached("a", b"1")
        await self.assert_not_cached("a", "b")
        await self.assert_expires_within("a", timedelta(hours=1))
        await self.assert_cached("a", 1)  # type: ignore[arg-type]
        await self.assert_expires_within("a", 3600)  # type: ignore[arg-type]
        self.engine  # type: ignore[attr-defined]


class Orchestration(ServiceOrchestrationIntegrationTest):
    async def test(self) -> None:
        assert_type(self.engine, AsyncEngine)
        assert_type(self.redis_client, Redis)
        await self.assert_cache_agrees("last", "shop.orders", "what", id=1)
        await self.assert_cache_agrees("last", "shop.orders", id=1)  # type: ignore[call-arg]


class WebSocket(WebSocketIntegrationTest):
    async def test(self, connection: Any) -> None:
        async with self.websocket_link("ws://127.0.0.1:1/shop") as link:
            assert_type(link, WebSocketLink)
            assert_type(link.uri, str)
            faulty: AbstractAsyncContextManager[None] = link.fault(Cut())
            async with faulty:
                pass
        await self.assert_messages_in_order(connection, "a", b"b", seconds=1)
        await self.assert_closed(connection, 4001)
        await self.assert_closed(connection)  # type: ignore[call-arg]
        await self.assert_messages_in_order("a", "b")  # type: ignore[arg-type]


def failures(error: NetraFixturesError) -> None:
    assert_type(str(error), str)
    raise error
