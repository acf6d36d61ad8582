"""A tool that asks FOCUS bills, files of CSV or Parquet, with DuckDB; the extra `netra-tools[bills]`."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from netra_tools.errors import ToolError
from netra_tools.tool import Context, Tool

_READERS: Final = {".csv": "read_csv", ".gz": "read_csv", ".parquet": "read_parquet"}
_AGAIN_S: Final = 0.05


class BillQuestion(BaseModel):
    """One SELECT over the tables that the tool names, each a bill with FOCUS's columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: str = Field(min_length=1, max_length=20_000, description="one SELECT in DuckDB's SQL")


class BillAnswer(BaseModel):
    """Rows as JSON; amounts are texts, so that none is rounded. `more` tells that there were more rows."""

    model_config = ConfigDict(frozen=True)

    columns: tuple[str, ...]
    rows: tuple[tuple[JsonValue, ...], ...]
    more: bool


def bills_tool(
    bills: Mapping[str, Path], *, name: str = "query_bills", rows: int = 1000, memory_mb: int = 512,
    timeout: timedelta = timedelta(seconds=5), **rules: Any,
) -> Tool[BillQuestion, BillAnswer]:  # fmt: skip
    """Make a tool that asks the *bills*, files by the name of their table, and can reach no other file.

    Args:
        rows: how many are returned at most.
        memory_mb: what a question may take; nothing is spilled to disk.

    Raises:
        ValueError: a file is neither CSV nor Parquet, or a name can't be a table's.
    """
    for table, file in bills.items():
        if not table.isidentifier() or file.suffix not in _READERS:
            raise ValueError("bills are .csv, .csv.gz or .parquet files, by names that are identifiers")

    async def ask(question: BillQuestion, _: Context) -> BillAnswer:
        connection = duckdb.connect(
            ":memory:", config={"memory_limit": f"{memory_mb}MB", "temp_directory": ""}
        )
        asking = asyncio.create_task(asyncio.to_thread(_asked, connection, bills, question, rows))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.shield(_stopped(connection, asking))
            raise

    settings = {"description": f"Ask FOCUS bills: {', '.join(sorted(bills))}.", **rules}
    return Tool.typed(name, ask, BillQuestion, BillAnswer, timeout=timeout, **settings)


async def _stopped(connection: duckdb.DuckDBPyConnection, asking: "asyncio.Task[BillAnswer]") -> None:
    """Interrupt until the thread is done: an interrupt that comes between two statements is lost."""
    while not asking.done():
        with contextlib.suppress(duckdb.ConnectionException):  # it is closed already
            connection.interrupt()
        await asyncio.wait({asking}, timeout=_AGAIN_S)
    if not asking.cancelled():
        asking.exception()


def _asked(
    connection: duckdb.DuckDBPyConnection, bills: Mapping[str, Path], question: BillQuestion, limit: int
) -> BillAnswer:
    try:
        for table, file in bills.items():
            getattr(connection, _READERS[file.suffix])(str(file)).create_view(table)
        connection.execute("set enable_progress_bar = false")
        connection.execute("set allowed_paths = $1", [[str(file) for file in bills.values()]])
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        if len(statements := connection.extract_statements(question.sql)) != 1:
            raise ToolError("one question is one SELECT")
        if statements[0].type != duckdb.StatementType.SELECT:
            raise ToolError("this tool reads only; write a SELECT")
        cursor = connection.execute(statements[0])
        found = cursor.fetchmany(limit + 1)
        columns = tuple(column[0] for column in cursor.description)
    except duckdb.Error as error:
        raise ToolError(f"DuckDB refuses the question ({type(error).__name__})") from error
    finally:
        connection.close()
    rows = tuple(tuple(_plain(value) for value in row) for row in found[:limit])
    return BillAnswer(columns=columns, rows=rows, more=len(found) > limit)


def _plain(value: Any) -> JsonValue:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
