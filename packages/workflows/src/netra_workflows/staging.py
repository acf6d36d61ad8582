"""A file in DuckDB before it counts: the table `staged` of typed values, each row with its fault or none."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

from netra_workflows.columns import Recognised, plain
from netra_workflows.errors import BillUnreadable
from netra_workflows.files import MAX_LINE_BYTES, is_gzip, places
from netra_workflows.model import Format
from netra_workflows.queries import fill, sql

_PIECE_BYTES: Final = 8 << 20  # one thread reads at a time; of DuckDB's own 32 MB, one waits for the other
NULLS: Final = "'', 'NULL', 'null', 'None'"  # FOCUS allows an empty cell only; publishers write words too
_GLOB: Final = re.compile(r"([*?\[])")
# Read without a join, rows come into a table as they stand in the file: its own row ids, from 0 outside a transaction,
# number them on all threads; a window function would on one.
_IN_ORDER: Final = (Format.FOCUS, Format.CONTRACTS)
_NESTED: Final = ("MAP", "STRUCT", "UNION")
_BROKEN: Final[Mapping[str, str]] = {
    "MISSING COLUMNS": "the row has fewer cells than the header",
    "TOO MANY COLUMNS": "the row has more cells than the header",
    "UNQUOTED VALUE": "a quote isn't closed, or stands inside a cell",
    "LINE SIZE OVER MAXIMUM": "the row is longer than a megabyte",
    "INVALID ENCODING": "the row is no UTF-8",
}


def parquet_header(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> tuple[str, ...]:
    """Give the columns of a Parquet file.

    Raises:
        BillUnreadable: its footer is broken.
    """
    try:
        rows = connection.execute(f"describe select * from read_parquet({_file(path)})").fetchall()  # nosec B608
    except duckdb.Error as error:
        raise BillUnreadable(name, "its Parquet footer is truncated or corrupt") from error
    return tuple(row[0] for row in rows)


def stage(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    header: Sequence[str],
    known: Recognised,
    *,
    columnar: bool,
    short: bool,
) -> None:
    """Read the file into what is called `staged`: typed values, each row with its fault or none."""
    if columnar:
        reading, cells = _parquet(connection, path)
    else:
        reading, cells = _csv(path, header, short=short)
    chosen = [
        f"{cells[place] if place is not None else 'cast(null as varchar)'} as {quoted(column)}"
        for column, place in known.places.items()
    ]
    tags = known.places.get("Tags")
    if known.format is Format.AWS:
        own = [cells[p] for p, column in enumerate(header) if plain(column).startswith("resourcetagsuser")]
        chosen.append(_any_tag(own))
        tags = 0 if own else None
    in_order = known.format in _IN_ORDER
    number = "0" if in_order else "row_number() over ()"
    raw = f"select {number} as record, {', '.join(chosen)} from {reading}"  # nosec B608
    text = sql(f"read/{known.format}")
    if known.format is not Format.CONTRACTS:
        currency = known.places.get("BillingCurrency" if known.format is Format.FOCUS else "Currency")
        text = sql("read/typed").replace("{format}", text)
        text = text.replace("{currency_told}", str(currency is not None).lower())
        if tags is None:
            text = f"select * replace (cast(null as boolean) as tagged) from ({text})"  # nosec B608
    for leftover in ("rejected", "rejected_scans"):
        connection.execute(f"drop table if exists {leftover}")
    connection.execute(f"create temp table kept as with raw as ({raw}) select * from ({text})")  # nosec B608
    place = " replace (rowid + 1 as record)" if in_order else ""
    connection.execute(f"create or replace temp view staged as select *{place} from kept")  # nosec B608


def _parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[str, list[str]]:
    rows = connection.execute(f"describe select * from read_parquet({_file(path)})").fetchall()  # nosec B608
    cells = [
        f"cast(to_json({quoted(column)}) as varchar)"
        if kind.startswith(_NESTED) or kind.endswith("]")
        else f"nullif_told(cast({quoted(column)} as varchar))"
        for column, kind, *_ in rows
    ]
    return f"read_parquet({_file(path)})", cells


def _csv(path: Path, header: Sequence[str], *, short: bool) -> tuple[str, list[str]]:
    cells = [f"c{place}" for place in range(len(header))]
    names = ", ".join(f"{literal(cell)}: 'VARCHAR'" for cell in cells)
    pads = "null_padding = true, parallel = false" if short else "null_padding = false"
    reading = (
        f"read_csv({_file(path)}, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"',"
        f" columns = {{{names}}}, {pads}, max_line_size = {MAX_LINE_BYTES},"
        f" buffer_size = {_PIECE_BYTES}, store_rejects = true,"
        " rejects_table = 'rejected', rejects_scan = 'rejected_scans', rejects_limit = 0,"
        f" nullstr = [{NULLS}], compression ="
        f" '{'gzip' if is_gzip(path) else 'none'}')"
    )
    return reading, cells


def _any_tag(cells: Sequence[str]) -> str:
    if not cells:
        return "cast(null as varchar) as Tags"
    return f'case when coalesce({", ".join(cells)}) is not null then \'{{"tag": ""}}\' end as Tags'


def renumber(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[int, str]:
    """Give the rows that are no CSV, by record, with why; the rows after them are counted anew."""
    found = connection.execute(
        "select line_byte_position, line - 1, arg_min(error_type, byte_position) from rejected group by all"
    ).fetchall()
    if not found:
        return {}
    starts = {byte for byte, _, _ in found}
    at = {place.byte: place.record for place in places(path) if place.byte in starts}
    rows = sorted((at.get(byte, line), kind) for byte, line, kind in found)
    gaps = [[record - rank, rank + 1] for rank, (record, _) in enumerate(rows)]
    connection.execute("create or replace temp table gap (record bigint, shift bigint)")
    fill(connection, "gap", ("bigint", "bigint"), gaps)
    connection.execute(
        "create or replace temp table kept as select staged.* replace"
        " (staged.record + coalesce(shift, 0) as record) from staged asof left join"
        " (select record, max(shift) as shift from gap group by record) as gap"
        " on staged.record >= gap.record"
    )
    connection.execute("create or replace temp view staged as select * from kept")
    return {record: _BROKEN.get(str(kind), "the row is no CSV") for record, kind in rows}


def quoted(name: str) -> str:
    """Make an identifier of *name*, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Make a text of *text*, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"


def _file(path: Path) -> str:
    """Write a path so that no part of it is a pattern."""
    return literal(_GLOB.sub(r"[\1]", str(path.absolute())))
