"""Teams that write tests as classes get the same services, by typed attributes, and the same rules."""

from collections.abc import Callable

import pytest

from .runs import Outcome, Run

DATABASE = """
import random

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import BaseIntegrationTest, CacheIntegrationTest, DatabaseIntegrationTest
from netra_fixtures import Goal, InsightsDelivered, ServiceOrchestrationIntegrationTest, Tier, business_value

VALUE = business_value(tier=Tier.MID, goals={Goal.RETENTION}, impact="no order gets lost")


class Ordering(DatabaseIntegrationTest):
    async def order(self, *wanted):
        async with self.engine.begin() as connection:
            for what in wanted:
                await connection.execute(text("insert into shop.orders (what) values (:what)"), {"what": what})
"""

Attempt = Callable[..., dict[str, str]]


@pytest.fixture
def attempt(run: Run) -> Attempt:
    """Run each line as the one test of a class, after the lines that prepare it; give what failed by the line."""

    def attempt(base: str, before: str, *lines: str) -> dict[str, str]:
        methods = [
            f"    async def test_{n}(self):\n        {before}\n        {line}\n"
            for n, line in enumerate(lines)
        ]
        outcome = run(
            f"{DATABASE}\nfrom datetime import timedelta\nclass TestIt({base}):\n{''.join(methods)}"
        )
        ended = [outcome.test(f"test_{n}[") for n in range(len(lines))]
        assert not any("cases.py" in failure["text"] for test in ended for failure in test["failures"])
        messages = ["".join(failure["message"] for failure in test["failures"]) for test in ended]
        return dict(zip(lines, messages, strict=True))

    return attempt


def test_a_class_finds_its_fixtures_as_attributes_whatever_it_overrides(run: Run) -> None:
    """A team's own setup comes after the kit's, under any name, and takes nothing away."""
    outcome = run(
        f"""{DATABASE}
import pytest

class TestOrders(ServiceOrchestrationIntegrationTest):
    pytestmark = VALUE

    def setup_method(self):
        self.buyer = self.users(tier=Tier.MID)
        assert isinstance(self.engine, AsyncEngine) and isinstance(self.redis_client, Redis)

    @pytest.fixture(autouse=True)
    async def _a_first_order(self):
        async with self.engine.begin() as connection:
            await connection.execute(text("insert into shop.orders (what) values ('a book')"))

    @pytest.mark.parametrize("turn", range(2))
    async def test_own(self, turn):
        await self.redis_client.set(f"{{self.namespace}}:buyer", self.buyer.id)
        await self.assert_row_count("shop.orders", 1)
        assert self.buyer.tier is Tier.MID and self.tenants().tier is Tier.FREE
        assert isinstance(self.rng, random.Random)
        self.environment.set("SHOP_CLOSES", "1h")
        self.clock.advance(self.environment.duration("SHOP_CLOSES"))


class TestDeeper(TestOrders):
    def setup_method(self):
        self.buyer = self.users(tier=Tier.MID)
        self.engine.sync_engine
"""
    )

    outcome.result.assert_outcomes(passed=4)
    assert outcome.test("TestDeeper::test_own[asyncio-1]")["value"]["tier"] == "mid"
    assert outcome.test("TestDeeper::test_own[asyncio-1]")["evidence"]["postgres"]["rows_written"] == 1


def test_a_class_alone_asks_for_no_service(run: Run) -> None:
    """Whoever tests a pure rule in a class pays for no server."""
    outcome = run(
        f"{DATABASE}\n"
        "class TestRule(BaseIntegrationTest):\n"
        "    def test_it(self):\n"
        "        assert self.users() != self.users()\n",
        "--report-dir=reports/latest",
    )

    outcome.result.assert_outcomes(passed=1)
    assert (outcome.report["totals"]["unit"], outcome.report["run"]["services"]) == (1, [])


def test_the_tests_of_a_class_say_for_whom_they_matter(run: Run) -> None:
    """What a class brings counts as asked for, so the rule of value holds."""
    source = f"{DATABASE}\nclass TestIt(Ordering):\n    async def test_it(self):\n        await self.order('a pen')\n"

    refused = run(source, "-o", "netra_require_value=true")

    refused.result.assert_outcomes(errors=1)
    assert "says for whom it matters" in refused.text
    valued = run(source.replace("class TestIt", "@VALUE\nclass TestIt"), "-o", "netra_require_value=true")
    valued.result.assert_outcomes(passed=1)


def test_a_test_of_a_class_touches_each_service_that_the_class_is_about(run: Run) -> None:
    """A test of services working together that never reaches one of them would pass without it."""
    outcome = run(
        DATABASE
        + "".join(
            f"""
class Test{base}({base}):
    async def test_rows(self, engine):
        async with engine.connect() as connection:
            await connection.execute(text("select 1"))

    async def test_keys(self, redis_client):
        await redis_client.ping()

    async def test_both(self, engine, redis_client):
        await self.test_rows(engine)
        await self.test_keys(redis_client)

    async def test_neither(self, engine, redis_client):
        pass
"""
            for base in (
                "BaseIntegrationTest", "DatabaseIntegrationTest", "CacheIntegrationTest",
                "ServiceOrchestrationIntegrationTest",
            )
        )
    )  # fmt: skip

    assert untouched(outcome) == {
        ("BaseIntegrationTest", "test_neither"): "postgres and redis",
        ("DatabaseIntegrationTest", "test_keys"): "postgres",
        ("DatabaseIntegrationTest", "test_neither"): "postgres",
        ("CacheIntegrationTest", "test_rows"): "redis",
        ("CacheIntegrationTest", "test_neither"): "redis",
        ("ServiceOrchestrationIntegrationTest", "test_rows"): "redis",
        ("ServiceOrchestrationIntegrationTest", "test_keys"): "postgres",
        ("ServiceOrchestrationIntegrationTest", "test_neither"): "postgres and redis",
    }


def untouched(outcome: Outcome) -> dict[tuple[str, str], str]:
    """Read which tests failed for what they didn't touch, by class and name."""
    said = {}
    for test in outcome.report["tests"]:
        _, case, name = test["nodeid"].partition("[")[0].split("::")
        for failure in test["failures"]:
            asked = (
                failure["message"]
                .removeprefix("Failed: the test asks for ")
                .partition(" and sends it nothing")[0]
            )
            said[case.removeprefix("Test"), name] = asked
    return said


def test_rows_are_looked_for_and_counted_as_committed(attempt: Attempt) -> None:
    """An order that only its own connection sees is not taken."""
    found = attempt(
        "Ordering",
        "await self.order('a book', \"a 'pen'\", 'a book')",
        "await self.assert_row_exists('shop.orders', what=\"a 'pen'\", kind=None)",
        "await self.assert_row_count('shop.orders', 2, what='a book')",
        "await self.assert_row_exists('shop.orders', what='a lamp', kind=None)",
        "await self.assert_row_count('shop.orders', 2)",
        "await self.assert_row_exists('shop.orders; select 1')",
        "await self.assert_row_exists('shop.orders', **{'id\" is not null or \"id': 0})",
        "await self.assert_row_exists('shop.orders', id='one')",
    )

    assert [*found.values()][:2] == ["", ""]
    assert [*found.values()][2:] == [
        "AssertionError: none of the 3 rows of shop.orders has what='a lamp', kind=None",
        "AssertionError: shop.orders has 3 rows with anything in them, not 2",
        "ValueError: 'shop.orders; select 1' is no table: write schema.table, of letters, digits and _",
        "ValueError: 'id\" is not null or \"id' is no column: write letters, digits and _, at most 63",
        "netra_fixtures.outcomes.RowsUnreadable: shop.orders can't be read: invalid input for query argument $1: 'one' "
        "('str' object cannot be interpreted as an integer); name a table and columns that are there",
    ]


def test_keys_are_held_against_value_and_lifetime(attempt: Attempt) -> None:
    """A cache that never forgets is as wrong as one that forgets at once."""
    found = attempt(
        "CacheIntegrationTest",
        "await self.redis_client.mset({'a': 'x', 'b': b'y'}); await self.redis_client.expire('a', 60);"
        " await self.redis_client.rpush('c', 1)",
        "await self.assert_cached('a', 'x'); await self.assert_cached('b', b'y');"
        " await self.assert_not_cached('d', 'e')",
        "await self.assert_expires_within('a', timedelta(seconds=60))",
        "await self.assert_cached('a', 'y')",
        "await self.assert_cached('d', 'y')",
        "await self.assert_cached('c', 'y')",
        "await self.assert_not_cached('d', 'c', 'a')",
        "await self.assert_expires_within('b', timedelta(days=9))",
        "await self.assert_expires_within('d', timedelta(days=9))",
        "await self.redis_client.persist('a'); await self.redis_client.expireat('a', 32503680000)\n"
        "        await self.assert_expires_within('a', timedelta(days=9))",
    )

    assert [*found.values()][:2] == ["", ""]
    assert [*found.values()][2:-1] == [
        "AssertionError: a holds b'x', not b'y'",
        "AssertionError: Redis has no key d",
        "AssertionError: c holds no string",
        "AssertionError: Redis still has c, a",
        "AssertionError: b never expires",
        "AssertionError: Redis has no key d",
    ]
    assert "later than 9 days, 0:00:00" in [*found.values()][-1]


def test_what_is_cached_is_held_against_the_row_it_is_of(attempt: Attempt) -> None:
    """Two services that tell a user two things are the failure that neither of their own tests sees."""
    found = attempt(
        "Ordering, ServiceOrchestrationIntegrationTest",
        "await self.order('a book', 'a pen', 'a pen'); await self.redis_client.set('last', 'a pen')",
        "await self.assert_cache_agrees('last', 'shop.orders', 'what', id=2)",
        "await self.assert_cache_agrees('last', 'shop.orders', 'what', id=1)",
        "await self.assert_cache_agrees('first', 'shop.orders', 'what', id=1)",
        "await self.assert_cache_agrees('last', 'shop.orders', 'what', what='a pen')",
    )

    assert [*found.values()] == [
        "",
        "AssertionError: last holds 'a pen', and shop.orders.what says 'a book'",
        "AssertionError: first holds None, and shop.orders.what says 'a book'",
        "AssertionError: shop.orders has 2 rows with what='a pen', not 1",
    ]


def test_a_class_establishes_outcomes_where_a_database_is_at_hand(attempt: Attempt) -> None:
    """One proof for functions and classes; without PostgreSQL there is none."""
    insight = "InsightsDelivered(count=1, table='shop.orders', rows=[1], column='what')"

    found = attempt(
        "Ordering",
        "await self.order('a book')",
        f"await self.assert_business_value_delivered({insight})",
        f"await self.assert_business_value_delivered({insight.replace('=1,', '=2,')})",
    )
    bare = attempt(
        "CacheIntegrationTest",
        "await self.redis_client.ping()",
        f"await self.assert_business_value_delivered({insight})",
    )

    proved, overstated = found.values()
    assert proved == ""
    assert "insights delivered: 2 insights claimed, 1 insights recomputed from shop.orders" in overstated
    assert "derive the class from DatabaseIntegrationTest, or let the test ask for engine" in "".join(
        bare.values()
    )


def test_a_class_without_a_database_of_its_own_uses_the_one_that_its_test_asks_for(run: Run) -> None:
    """A claim is proved wherever the test can reach the rows."""
    outcome = run(
        f"""{DATABASE}
class TestIt(BaseIntegrationTest):
    async def test_it(self, engine):
        async with engine.begin() as connection:
            await connection.execute(text("insert into shop.orders (what) values ('a book')"))
        await self.assert_business_value_delivered(
            InsightsDelivered(count=1, table="shop.orders", rows=[1], column="what")
        )
"""
    )

    outcome.result.assert_outcomes(passed=1)
    assert [one["name"] for one in outcome.report["value"]["outcomes"]] == ["insights delivered"]


SHOUTS = """
import asyncio
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from netra_fixtures import WebSocketIntegrationTest


class TestShouts(WebSocketIntegrationTest):
    @pytest.fixture(autouse=True)
    async def shouter(self):
        async def shout(connection):
            async for message in connection:
                if message == "bye":
                    await connection.close(4001)
                elif message != "hush":
                    await connection.send(message.upper())

        async with serve(shout, "127.0.0.1", 0) as server:
            self.uri = "ws://127.0.0.1:%d/shop" % server.sockets[0].getsockname()[1]
            yield

    async def say(self, *messages):
        async with self.websocket_link(self.uri) as link, connect(link.uri, proxy=None) as connection:
            for message in messages:
                await connection.send(message)
            yield connection

    async def test_in_order(self):
        async for connection in self.say("a", "b", "bye"):
            await self.assert_messages_in_order(connection, "A", "B")
            await self.assert_closed(connection, 4001)

    async def test_out_of_order(self):
        async for connection in self.say("a", "b"):
            await self.assert_messages_in_order(connection, "A", "A")

    async def test_silent(self):
        async for connection in self.say("hush"):
            await self.assert_messages_in_order(connection, "HUSH", seconds=0.1)

    async def test_other_code(self):
        async for connection in self.say("bye"):
            await self.assert_closed(connection, 4000)

    async def test_open(self):
        async for connection in self.say():
            await self.assert_closed(connection, 4001, seconds=0.1)
"""


def test_what_a_user_receives_is_held_in_order_and_to_its_end(run: Run) -> None:
    """Events that come late, out of order or after an end that says nothing are what users see first."""
    outcome = run(SHOUTS)

    outcome.result.assert_outcomes(passed=1, failed=4)
    said = {test["nodeid"].partition("::")[2]: test["failures"] for test in outcome.report["tests"]}
    messages = [failures[0]["message"] for failures in said.values() if failures]
    assert messages == [
        "AssertionError: message 2 is 'B', not 'A'",
        "TimeoutError: not within 0.1 s (time factor 1)",
        "AssertionError: the connection was closed with 4001, not 4000",
        "TimeoutError: not within 0.1 s (time factor 1)",
    ]
    assert outcome.test("test_in_order")["evidence"]["websocket"]["frames"] >= 5
