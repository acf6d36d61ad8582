"""Bills in DuckDB: each file streamed in whole or not at all, every row kept or refused with its reason."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import duckdb

from netra_workflows.columns import Recognised, recognise, table
from netra_workflows.errors import BillKnown, BillUnreadable, MixedCurrencies
from netra_workflows.files import digest, is_parquet, peek, places
from netra_workflows.model import Format, Ingested, Refusal, Total
from netra_workflows.queries import fill, sql
from netra_workflows.staging import parquet_header, renumber, stage

LISTED: Final = 1000
_UNREADABLE: Final = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.OutOfMemoryException,
    duckdb.DataError,
)
_NOTES: Final = (
    "dates with slashes, read as month/day/year",
    "amounts with a dollar sign",
    "Tags that are no JSON, read as none",
)


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
            (parquet_header(self.connection, path, name), False, digest(path)) if columnar else peek(path)
        )
        before = self.connection.execute("select name from source where sha256 = ?", [sha256]).fetchone()
        if before:
            raise BillKnown(name, before[0])
        known = recognise(name, header)
        [[source]] = self.connection.execute("select coalesce(max(source_id), 0) + 1 from source").fetchall()
        try:
            stage(self.connection, path, header, known, columnar=columnar, short=short)
            with self._all_or_nothing():
                broken = {} if columnar else renumber(self.connection, path)
                self._hold(source, name, path, known, sha256)
                refused = self._refuse(source, path, broken, columnar=columnar)
                report = self._report(source, name, known, sha256, refused)
        except _UNREADABLE as error:
            raise BillUnreadable(name, _told(error)) from error
        finally:
            self.connection.execute("drop table if exists kept")  # what analyses it needs the room
        self.read.append(report)
        return report

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self.connection.execute("begin")
        try:
            yield
        except BaseException:
            self.connection.execute("rollback")
            raise
        self.connection.execute("commit")

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
            " group by billing_account, provider, period_start having min(currency) <> max(currency)"
        ).fetchone()
        if mixed:
            raise MixedCurrencies(name, mixed[0])
        self.connection.execute(sql("read/meters"))
        self.connection.execute(sql("read/charges"), {"source": source})
        if "ContractApplied" in present:
            self.connection.execute(sql("read/applied"), {"source": source})

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
        [counts] = self.connection.execute(sql("read/notes")).fetchall()
        notes = [f"{count} rows have {what}" for count, what in zip(counts, _NOTES, strict=True) if count]
        for (provider,) in self.connection.execute(sql("read/rounded")).fetchall():
            self.connection.execute(
                "update charge set effective = billed where source_id = ? and category = 'Usage'"
                " and commitment_status is null and meter_id in (select meter_id from meter where provider = ?)",
                [source, provider],
            )
            notes.append(f"{provider} rounds EffectiveCost: BilledCost stands for it")
        return tuple(notes)


def _is_columnar(path: Path, name: str) -> bool:
    try:
        return is_parquet(path)
    except OSError as error:
        raise BillUnreadable(name, "it can't be opened") from error


def _told(error: duckdb.Error) -> str:
    """Say why DuckDB gave up, without what it read."""
    kind = type(error).__name__
    return "it needs more memory than it may have" if "Memory" in kind else f"DuckDB can't read it ({kind})"
