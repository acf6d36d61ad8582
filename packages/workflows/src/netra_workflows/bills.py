"""Bills in DuckDB: each file streamed in whole or not at all, every row kept or refused with its reason."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

import duckdb

from netra_workflows.columns import Recognised, plain, recognise, table
from netra_workflows.errors import BillKnown, BillUnreadable, MixedCurrencies
from netra_workflows.files import MAX_LINE_BYTES, digest, is_parquet, peek, places
from netra_workflows.model import Format, Ingested, Refusal, Total

LISTED: Final = 1000
NULLS: Final = "'', 'NULL', 'null', 'None'"  # FOCUS allows an empty cell only; publishers write words too
_GLOB: Final = re.compile(r"([*?\[])")
_UNREADABLE: Final = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.OutOfMemoryException,
    duckdb.DataError,
)
_NESTED: Final = ("MAP", "STRUCT", "UNION")
_NOTES: Final = (
    "dates with slashes, read as month/day/year",
    "amounts with a dollar sign",
    "Tags that are no JSON, read as none",
)


@cache
def sql(name: str) -> str:
    """Read a file of the folder `sql`."""
    return files("netra_workflows").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """Make an identifier of *name*, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Make a text of *text*, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"


def fill(
    connection: duckdb.DuckDBPyConnection, name: str, types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Append rows to a table, a list a column: a million takes a second."""
    if rows:
        columns = ", ".join(f"unnest(cast(? as {kind}[]))" for kind in types)
        connection.execute(f"insert into {name} select {columns}", [list(c) for c in zip(*rows, strict=True)])


class Bills:
    """The bills of one analysis.

    Args:
        connection: a DuckDB of this object's own; it is set up here, and closed by who opened it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.read: list[Ingested] = []
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set autoinstall_known_extensions = false")
        connection.execute("set enable_progress_bar = false")  # it would print into the caller's output
        connection.execute(sql("read/macros"))
        connection.execute(sql("read/tables"))
        fill(connection, "mapped", ("varchar",) * 4, [tuple(row.values()) for row in table("values")])

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path | None = None, *, memory_mb: int = 1024, threads: int | None = None
    ) -> Iterator[Self]:
        """Open bills in memory, or in the file *path*, which may spill what *memory_mb* doesn't hold."""
        connection = duckdb.connect(str(path) if path else ":memory:")
        try:
            connection.execute(f"set memory_limit = '{int(memory_mb)}MB'")
            connection.execute(f"set threads = {int(threads or os.cpu_count() or 1)}")
            yield cls(connection)
        finally:
            connection.close()

    def ingest(self, path: Path, *, name: str | None = None) -> Ingested:
        """Read one bill, CSV (plain or gzip) or Parquet.

        Args:
            name: what findings and errors call it; the file's own name unless given.

        Raises:
            BillUnreadable: it can't be read to its end.
            UnknownColumns: it is no bill that is known here.
            MixedCurrencies: an account was billed in two currencies for one period.
            BillKnown: it was read before.
        """
        name = name or path.name
        columnar = _is_columnar(path, name)
        header, short, sha256 = (
            (self._parquet_header(path, name), False, digest(path)) if columnar else peek(path)
        )
        before = self.connection.execute("select name from source where sha256 = ?", [sha256]).fetchone()
        if before:
            raise BillKnown(name, before[0])
        known = recognise(name, header)
        [[source]] = self.connection.execute("select coalesce(max(source_id), 0) + 1 from source").fetchall()
        self.connection.execute("begin")
        try:
            self._stage(path, name, header, known, columnar=columnar, short=short)
            broken = {} if columnar else self._renumber(path)
            self._hold(source, name, path, known, sha256)
            refused = self._refuse(source, path, broken, columnar=columnar)
            report = self._report(source, name, known, sha256, refused)
            self.connection.execute("commit")
        except _UNREADABLE as error:
            self.connection.execute("rollback")
            raise BillUnreadable(name, _told(error)) from error
        except BaseException:
            self.connection.execute("rollback")
            raise
        self.read.append(report)
        return report

    def refusals(self, source: str) -> Iterator[Refusal]:
        """Give every refused row of a source, by line."""
        rows = self.connection.execute(
            "select line, record, reason from refusal join source using (source_id) where name = ? order by line",
            [source],
        ).fetchall()
        for line, record, reason in rows:
            yield Refusal(line=line, record=record, reason=reason)

    def totals(self, source: int | None = None) -> tuple[Total, ...]:
        """Add up what was billed, by provider and currency."""
        rows = self.connection.execute(sql("read/totals"), {"source": source}).fetchall()
        return tuple(Total(**dict(zip(Total.model_fields, row, strict=True))) for row in rows)

    def _parquet_header(self, path: Path, name: str) -> tuple[str, ...]:
        try:
            rows = self.connection.execute(f"describe select * from read_parquet({_file(path)})").fetchall()  # nosec B608
        except duckdb.Error as error:
            raise BillUnreadable(name, "its Parquet footer is truncated or corrupt") from error
        return tuple(row[0] for row in rows)

    def _stage(
        self, path: Path, name: str, header: Sequence[str], known: Recognised, *, columnar: bool, short: bool
    ) -> None:
        """Read the file into the table `staged`: typed values, each row with its fault or none."""
        if columnar:
            reading, cells = self._parquet(path)
        else:
            reading, cells = _csv(path, header, short=short)
        chosen = [
            f"{cells[place] if place is not None else 'cast(null as varchar)'} as {quoted(column)}"
            for column, place in known.places.items()
        ]
        tags = known.places.get("Tags")
        if known.format is Format.AWS:
            own = [
                cells[p] for p, column in enumerate(header) if plain(column).startswith("resourcetagsuser")
            ]
            chosen.append(_any_tag(own))
            tags = 0 if own else None
        raw = f"select row_number() over () as record, {', '.join(chosen)} from {reading}"  # nosec B608
        text = sql(f"read/{known.format}")
        if known.format is not Format.CONTRACTS:
            currency = known.places.get("BillingCurrency" if known.format is Format.FOCUS else "Currency")
            text = sql("read/typed").replace("{format}", text)
            text = text.replace("{currency_told}", str(currency is not None).lower())
            if tags is None:
                text = f"select * replace (cast(null as boolean) as tagged) from ({text})"  # nosec B608
        for leftover in ("staged", "rejected", "rejected_scans"):
            self.connection.execute(f"drop table if exists {leftover}")
        staged = f"create temp table staged as with raw as ({raw}) select * from ({text})"  # nosec B608
        self.connection.execute(staged)

    def _parquet(self, path: Path) -> tuple[str, list[str]]:
        rows = self.connection.execute(f"describe select * from read_parquet({_file(path)})").fetchall()  # nosec B608
        cells = [
            f"cast(to_json({quoted(column)}) as varchar)"
            if kind.startswith(_NESTED) or kind.endswith("]")
            else f"nullif_told(cast({quoted(column)} as varchar))"
            for column, kind, *_ in rows
        ]
        return f"read_parquet({_file(path)})", cells

    def _hold(self, source: int, name: str, path: Path, known: Recognised, sha256: str) -> None:
        present = [column for column, place in known.places.items() if place is not None]
        self.connection.execute(
            "insert into source values (?, ?, ?, ?, ?, ?)",
            [source, name, str(path), known.format.value, sha256, present],
        )
        if known.format is Format.CONTRACTS:
            self.connection.execute(
                "insert into contract select $source, * exclude (fault) from staged where fault is null",
                {"source": source},
            )
            return
        mixed = self.connection.execute(
            "select list(distinct currency) from staged where fault is null"
            " group by billing_account, provider, period_start having count(distinct currency) > 1"
        ).fetchone()
        if mixed:
            raise MixedCurrencies(name, mixed[0])
        self.connection.execute(sql("read/meters"))
        self.connection.execute(sql("read/charges"), {"source": source})

    def _renumber(self, path: Path) -> dict[int, str]:
        """Give the rows that are no CSV, by record, with why; the rows after them are counted anew."""
        found = self.connection.execute(
            "select line_byte_position, line - 1, arg_min(error_type, byte_position) from rejected group by all"
        ).fetchall()
        if not found:
            return {}
        starts = {byte for byte, _, _ in found}
        at = {place.byte: place.record for place in places(path) if place.byte in starts}
        rows = sorted((at.get(byte, line), kind) for byte, line, kind in found)
        gaps = [[record - rank, rank + 1] for rank, (record, _) in enumerate(rows)]
        self.connection.execute("create or replace temp table gap (record bigint, shift bigint)")
        fill(self.connection, "gap", ("bigint", "bigint"), gaps)
        self.connection.execute(
            "create or replace temp table staged as select staged.* replace"
            " (staged.record + coalesce(shift, 0) as record) from staged asof left join"
            " (select record, max(shift) as shift from gap group by record) as gap"
            " on staged.record >= gap.record"
        )
        return {record: _BROKEN.get(str(kind), "the row is no CSV") for record, kind in rows}

    def _refuse(self, source: int, path: Path, broken: Mapping[int, str], *, columnar: bool) -> int:
        """Note refused rows with the lines on which they begin."""
        faults = self.connection.execute(
            "select record, fault from staged where fault is not null"
        ).fetchall()
        faults = sorted([*faults, *broken.items()])
        if not faults:
            return 0
        wanted = {record for record, _ in faults}
        lines = {} if columnar else {p.record: p.line for p in places(path) if p.record in wanted}
        rows = [(source, record, lines.get(record, record + 1), fault) for record, fault in faults]
        fill(self.connection, "refusal", ("integer", "bigint", "bigint", "varchar"), rows)
        return len(faults)

    def _report(self, source: int, name: str, known: Recognised, sha256: str, refused: int) -> Ingested:
        kept = "contract" if known.format is Format.CONTRACTS else "charge"
        [[rows]] = self.connection.execute(
            f"select count(*) from {kept} where source_id = ?",  # nosec B608
            [source],
        ).fetchall()
        listed = self.connection.execute(
            "select line, record, reason from refusal where source_id = ? order by line limit ?",
            [source, LISTED],
        ).fetchall()
        return Ingested(
            source=name,
            format=known.format,
            version=known.version,
            sha256=sha256,
            rows=rows,
            refused=refused,
            refusals=tuple(Refusal(line=line, record=record, reason=why) for line, record, why in listed),
            totals=self.totals(source),
            absent=tuple(column for column, place in known.places.items() if place is None),
            ignored=known.ignored,
            notes=() if known.format is Format.CONTRACTS else self._notes(source),
        )

    def _notes(self, source: int) -> tuple[str, ...]:
        rows = self.connection.execute(sql("read/notes")).fetchall()
        counts = [sum(row[place] for row in rows) for place in range(1, len(_NOTES) + 1)]
        notes = [f"{count} rows have {what}" for count, what in zip(counts, _NOTES, strict=True) if count]
        for provider in sorted(row[0] for row in rows if row[-1]):
            self.connection.execute(
                "update charge set effective = billed where source_id = ? and category = 'Usage'"
                " and commitment_status is null and meter_id in (select meter_id from meter where provider = ?)",
                [source, provider],
            )
            notes.append(f"{provider} rounds EffectiveCost: BilledCost stands for it")
        return tuple(notes)


_BROKEN: Final[Mapping[str, str]] = {
    "MISSING COLUMNS": "the row has fewer cells than the header",
    "TOO MANY COLUMNS": "the row has more cells than the header",
    "UNQUOTED VALUE": "a quote isn't closed, or stands inside a cell",
    "LINE SIZE OVER MAXIMUM": "the row is longer than a megabyte",
    "INVALID ENCODING": "the row is no UTF-8",
}


def _is_columnar(path: Path, name: str) -> bool:
    try:
        return is_parquet(path)
    except OSError as error:
        raise BillUnreadable(name, "it can't be opened") from error


def _file(path: Path) -> str:
    """Write a path so that no part of it is a pattern."""
    return literal(_GLOB.sub(r"[\1]", str(path.absolute())))


def _csv(path: Path, header: Sequence[str], *, short: bool) -> tuple[str, list[str]]:
    cells = [f"c{place}" for place in range(len(header))]
    names = ", ".join(f"{literal(cell)}: 'VARCHAR'" for cell in cells)
    pads = "null_padding = true, parallel = false" if short else "null_padding = false"
    reading = (
        f"read_csv({_file(path)}, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"',"
        f" columns = {{{names}}}, {pads}, max_line_size = {MAX_LINE_BYTES}, store_rejects = true,"
        " rejects_table = 'rejected', rejects_scan = 'rejected_scans', rejects_limit = 0,"
        f" nullstr = [{NULLS}], compression ="
        f" '{'gzip' if _is_gzip(path) else 'none'}')"
    )
    return reading, cells


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _any_tag(cells: Sequence[str]) -> str:
    if not cells:
        return "cast(null as varchar) as Tags"
    return f'case when coalesce({", ".join(cells)}) is not null then \'{{"tag": ""}}\' end as Tags'


def _told(error: duckdb.Error) -> str:
    """Say why DuckDB gave up, without what it read."""
    kind = type(error).__name__
    return "it needs more memory than it may have" if "Memory" in kind else f"DuckDB can't read it ({kind})"
