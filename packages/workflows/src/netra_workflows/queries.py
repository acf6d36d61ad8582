"""The package's SQL by name, and rows for it by the million."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import duckdb


@cache
def sql(name: str) -> str:
    """Read a file of the folder `sql`."""
    return files("netra_workflows").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def fill(
    connection: duckdb.DuckDBPyConnection, name: str, types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Append rows to a table, a list a column: a million takes a second."""
    if rows:
        columns = ", ".join(f"unnest(cast(? as {kind}[]))" for kind in types)
        connection.execute(f"insert into {name} select {columns}", [list(c) for c in zip(*rows, strict=True)])
