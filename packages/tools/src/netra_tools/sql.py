"""A tool that asks PostgreSQL: it reads only, a limited number of rows, for a limited time."""

import asyncio
import math
from datetime import timedelta
from typing import Any, Final

import asyncpg
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from netra_tools.errors import ToolError, TransientError
from netra_tools.retry import RetryPolicy
from netra_tools.tool import Context, Tool

_READ_ONLY: Final = "begin transaction isolation level repeatable read, read only"


class SqlQuestion(BaseModel):
    """One SELECT, and the values for its $1, $2, …"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: str = Field(min_length=1, max_length=20_000, description="one SELECT; values are written $1, $2, …")
    values: tuple[str | int | float | bool | None, ...] = Field(default=(), max_length=100)


class SqlAnswer(BaseModel):
    """Rows as JSON; `more` tells that there were more than the limit."""

    model_config = ConfigDict(frozen=True)

    columns: tuple[str, ...]
    rows: tuple[tuple[JsonValue, ...], ...]
    more: bool


def sql_tool(
    dsn: str,
    *,
    name: str = "query_sql",
    rows: int = 1000,
    timeout: timedelta = timedelta(seconds=5),
    **rules: Any,
) -> Tool[SqlQuestion, SqlAnswer]:
    """Make a tool that asks the database at *dsn*; give that user no more rights than agents should have.

    Args:
        dsn: what asyncpg connects to, ``postgresql://user:password@host:port/database``.
        rows: how many are returned at most.
        timeout: after which PostgreSQL itself ends the statement.
    """

    async def ask(question: SqlQuestion, _: Context) -> SqlAnswer:
        try:
            connection = await asyncpg.connect(dsn, timeout=timeout.total_seconds())
        except (OSError, asyncpg.PostgresError) as error:
            raise TransientError("the database can't be reached") from error
        try:
            return await _asked(connection, question, rows, timeout)
        except asyncpg.QueryCanceledError as error:
            raise ToolError("the query took too long; ask for less") from error
        except asyncpg.ReadOnlySQLTransactionError as error:
            raise ToolError("this tool reads only") from error
        except (asyncpg.PostgresConnectionError, OSError) as error:
            raise TransientError("the connection to the database was lost") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ToolError(f"PostgreSQL refuses the query ({type(error).__name__})") from error
        finally:
            connection.terminate()  # nothing is left to say goodbye for

    settings = {"retry": RetryPolicy(), "description": "Ask PostgreSQL; reads only.", **rules}
    return Tool.typed(name, ask, SqlQuestion, SqlAnswer, timeout=timeout + timedelta(seconds=1), **settings)


async def _asked(
    connection: asyncpg.Connection, question: SqlQuestion, limit: int, longest: timedelta
) -> SqlAnswer:
    """Ask in a transaction that can't be left: a prepared statement is one statement."""
    await connection.execute(f"set statement_timeout = {longest // timedelta(milliseconds=1)}")
    await connection.execute(_READ_ONLY)
    prepared = await connection.prepare(question.sql)
    columns = tuple(attribute.name for attribute in prepared.get_attributes())
    if not columns:
        raise ToolError("this tool asks for rows; write a SELECT")
    async with asyncio.timeout(longest.total_seconds() + 0.5):
        cursor = await prepared.cursor(*question.values)
        found = await cursor.fetch(limit + 1)
    rows = tuple(tuple(_plain(value) for value in row) for row in found[:limit])
    return SqlAnswer(columns=columns, rows=rows, more=len(found) > limit)


def _plain(value: Any) -> JsonValue:
    """Give what JSON has a form for; infinities, numbers that floats would round, dates and the like as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value)
