"""The tools that come along answer exactly, and can do no harm."""

import asyncio
import csv
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netra_fixtures import Goal, PostgresEndpoint, Tier, business_value, within
from netra_tools import Call, Caller, ToolError, ToolExecutor, ToolFailed
from netra_tools.bills import bills_tool
from netra_tools.prices import TokenPrice, TokenUse, token_cost, token_cost_tool
from netra_tools.sql import sql_tool

pytestmark = business_value(
    tier=Tier.EARLY,
    goals={Goal.REVENUE, Goal.SECURITY},
    impact="agents find savings in bills and tables that they can't change",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
counts = st.integers(0, 10**12)
prices = st.decimals(0, 1000, places=6)


@given(counts, counts, counts, prices, prices, prices)
def test_token_costs_are_exact(
    fresh: int, cached: int, output: int, in_price: Decimal, cached_price: Decimal, out_price: Decimal
) -> None:
    """A cent that is lost in each of a million calls is ten thousand dollars."""
    price = TokenPrice(input=in_price, output=out_price, cached_input=cached_price)
    use = TokenUse(model="m", input=fresh + cached, cached_input=cached, output=output)

    cost = token_cost(use, price)

    millionths = [int(one * 10**6) for one in (in_price, cached_price, out_price)]
    expected = fresh * millionths[0] + cached * millionths[1] + output * millionths[2]
    assert cost.total * 10**12 == expected


def test_more_tokens_from_the_cache_than_there_were_are_refused() -> None:
    """A slip in the figures is told, rather than paid out as a saving."""
    with pytest.raises(ToolError, match="can't exceed"):
        token_cost(TokenUse(model="m", input=1, cached_input=2), TokenPrice(input="1", output="1"))


async def test_token_costs_are_a_tool(open_tools: OpenTools, alice: Caller) -> None:
    """An agent asks what a model would have cost."""
    tools = await open_tools(token_cost_tool({"small": TokenPrice(input="0.15", output="0.6")}))

    found = await tools.run(
        Call("token_cost", {"model": "small", "input": 2_000_000, "output": 500_000}), caller=alice
    )

    assert found.result.total == Decimal("0.6")
    with pytest.raises(ToolFailed, match="no price"):
        await tools.run(Call("token_cost", {"model": "large"}), caller=alice)


async def test_sql_answers_in_limits(
    open_tools: OpenTools, postgres_endpoint: PostgresEndpoint, alice: Caller
) -> None:
    """An agent that asks for too much gets a part, and is told that it is one."""
    tools = await open_tools(sql_tool(postgres_endpoint.dsn, rows=3))
    sql = "select n, n / 4.0 as quarter, now() > 'epoch' as ok from generate_series(1, $1) as n"

    part = (await tools.run(Call("query_sql", {"sql": sql, "values": [5]}), caller=alice)).result
    whole = (await tools.run(Call("query_sql", {"sql": sql, "values": [3]}), caller=alice)).result

    assert (part.columns, len(part.rows), part.more) == (("n", "quarter", "ok"), 3, True)
    assert (whole.rows[1][0], Decimal(str(whole.rows[1][1])), whole.more) == (2, Decimal("0.5"), False)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("delete from tools.run", "reads only|write a SELECT|refuses"),
        ("with gone as (delete from tools.run returning 1) select * from gone", "reads only|refuses"),
        ("commit; delete from tools.run", "refuses"),
        ("commit", "write a SELECT"),
        ("select nextval('pg_catalog.nothing')", "refuses"),
        ("select pg_sleep(60)", "too long"),
        ("select * from generate_series(1, 10000000000) as a order by 1 desc", "too long"),
        ("select", "write a SELECT"),
        ("selec", "refuses"),
        ("select set_config('transaction_read_only', 'off', true)", "refuses"),
    ],
)
async def test_sql_that_writes_or_takes_too_long_is_refused(
    open_tools: OpenTools, postgres_endpoint: PostgresEndpoint, alice: Caller, sql: str, told: str
) -> None:
    """Whatever a model writes, the data stays as it is, and the database stays free for others."""
    tools = await open_tools(sql_tool(postgres_endpoint.dsn, timeout=timedelta(seconds=0.5)))

    with pytest.raises(ToolFailed, match=told) as failed:
        await tools.run(Call("query_sql", {"sql": sql}), caller=alice)

    assert (await tools.find(failed.value.run, caller=alice)).error == "ToolError"


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    """A small bill in FOCUS's columns."""
    file = tmp_path / "bill.csv"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["ServiceName", "BilledCost", "ChargeCategory"])
        writer.writerows([["S3", "1.10", "Usage"], ["S3", "2.20", "Usage"], ["EC2", "-0.30", "Credit"]])
    return file


async def test_bills_are_asked_in_sql(open_tools: OpenTools, alice: Caller, bill: Path) -> None:
    """An agent sums up what was billed, without a database to load it into."""
    tools = await open_tools(bills_tool({"bill": bill}))
    sql = "select ServiceName, sum(BilledCost::decimal(18, 2)) as cost from bill group by 1 order by 1"

    found = (await tools.run(Call("query_bills", {"sql": sql}), caller=alice)).result

    assert found.rows == (("EC2", "-0.30"), ("S3", "3.30"))
    assert found.columns == ("ServiceName", "cost")


async def test_bills_in_parquet_are_asked_alike(open_tools: OpenTools, alice: Caller, tmp_path: Path) -> None:
    """What a cloud exports is asked as it is."""
    file = tmp_path / "bill.parquet"
    with duckdb.connect() as connection:
        connection.sql("select 'S3' as ServiceName, 1.1::decimal(18, 2) as BilledCost").write_parquet(
            str(file)
        )
    tools = await open_tools(bills_tool({"bill": file}))

    found = (await tools.run(Call("query_bills", {"sql": "select * from bill"}), caller=alice)).result

    assert found.rows == (("S3", "1.10"),)


async def test_a_question_about_bills_fills_no_disk(open_tools: OpenTools, alice: Caller, bill: Path) -> None:
    """A question that needs more memory than it may take is refused, and not put on the disk of the machine."""
    tools = await open_tools(bills_tool({"bill": bill}, memory_mb=20, timeout=timedelta(minutes=1)))
    sql = "select range, md5(range::varchar) from range(3000000) order by 2"

    with pytest.raises(ToolFailed, match="OutOfMemory"):
        await tools.run(Call("query_bills", {"sql": sql}), caller=alice)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select * from read_text('/etc/passwd')", "refuses"),
        ("select * from glob('/etc/*')", "refuses"),
        ("select * from read_csv('/etc/passwd')", "refuses"),
        ("select * from '/etc/passwd'", "refuses"),
        ("copy bill to '/tmp/stolen.csv'", "SELECT"),
        ("drop view bill", "SELECT"),
        ("select 1; select 2", "one SELECT"),
        ("set memory_limit = '100GB'", "SELECT"),
    ],
)
async def test_bills_show_nothing_else(
    open_tools: OpenTools, alice: Caller, bill: Path, sql: str, told: str
) -> None:
    """A question about a bill is no way to the machine's files."""
    tools = await open_tools(bills_tool({"bill": bill}))

    with pytest.raises(ToolFailed, match=told):
        await tools.run(Call("query_bills", {"sql": sql}), caller=alice)


@pytest.mark.parametrize("milliseconds", [1, 5, 20, 300])
async def test_a_question_that_never_ends_is_interrupted(
    open_tools: OpenTools, alice: Caller, bill: Path, milliseconds: int
) -> None:
    """DuckDB itself stops, so that no thread goes on for an answer that nobody waits for."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    tools = await open_tools(bills_tool({"bill": bill}, timeout=timedelta(milliseconds=milliseconds)))
    sql = "select sum(a.range * b.range) from range(10000000) a, range(10000000) b"

    with pytest.raises(Exception, match="not done in time"):
        await tools.run(Call[Any]("query_bills", {"sql": sql}), caller=alice)

    async with within(seconds=20):
        await asyncio.to_thread(lambda: None)  # the only thread there is has nothing else to do any more


async def test_sql_tells_infinities_in_words(
    open_tools: OpenTools, postgres_endpoint: PostgresEndpoint, alice: Caller
) -> None:
    """One odd value in a table takes no answer along."""
    tools = await open_tools(sql_tool(postgres_endpoint.dsn))
    sql = "select 'infinity'::float8, 'NaN'::float8, 0.5::float8"

    found = (await tools.run(Call("query_sql", {"sql": sql}), caller=alice)).result

    assert found.rows == (("inf", "nan", 0.5),)


def test_a_price_of_many_digits_is_not_rounded() -> None:
    """Exact means exact, however a price is written."""
    price = TokenPrice(input="0.1234567890123456789012345", output="0")

    cost = token_cost(TokenUse(model="m", input=987_654_321_987_653), price)

    assert Fraction(cost.total) == Fraction(price.input) * 987_654_321_987_653 / 1_000_000
