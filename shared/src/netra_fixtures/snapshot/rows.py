"""Reads the rows that a test left in its database, over a connection of the kit's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from netra_fixtures.identifiers import quoted
from netra_fixtures.isolation.connection import Database
from netra_fixtures.report.left import DatabaseLeft, TableLeft
from netra_fixtures.services.endpoint import PostgresEndpoint
from netra_fixtures.snapshot.masking import READ_CHARACTERS, shown

if TYPE_CHECKING:
    import asyncpg

MOST_TABLES = 20
MOST_ROWS = 10  # of a table
MOST_COLUMNS = 60
DEADLINE_S = 5
STATEMENT_MS, LOCK_MS = 2000, 500
TRANSACTIONS = 2  # that the server counts for one look: the start of the session, and the look

TABLES = """
select format('%I.%I', n.nspname, c.relname) as name, c.oid,
       (select array_agg(a.attname::text order by a.attnum) from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
       (select true from pg_attribute a
         where a.attrelid = to_regclass('netra_fixtures.watch') and a.attname = 't' || c.oid) as seeded
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema', 'netra_fixtures')
   and n.nspname not like 'pg\\_%' order by 1
"""
UNFINISHED = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid() and backend_xid is not null"
)


class Look:
    """One look at a database.

    Attributes:
        transactions: how many the server counts for it.
    """

    def __init__(self, database: Database, endpoint: PostgresEndpoint, *, time_factor: float) -> None:
        self._database = database
        self._endpoint = endpoint
        self._factor = time_factor
        self.transactions = 0

    def read(self, *, on_the_wire: int) -> DatabaseLeft:
        """Read what the migrations didn't write: the last rows of each table, with the true counts.

        Args:
            on_the_wire: how many rows the test was seen to write.

        Raises:
            ServicesUnavailable: the database takes no connection.
            TimeoutError: it took longer than the deadline.
        """
        tables, unfinished = self._database.wait(self._read())
        return DatabaseLeft(
            database=self._endpoint.database,
            tables=tuple(tables[:MOST_TABLES]),
            more_tables=max(0, len(tables) - MOST_TABLES),
            notes=tuple(_notes(sum(table.written for table in tables), on_the_wire, unfinished)),
        )

    async def _read(self) -> tuple[list[TableLeft], int]:
        async with asyncio.timeout(DEADLINE_S * self._factor):
            connection = await self._database.connect(
                self._endpoint,
                application_name="netra-fixtures",
                statement_timeout=str(int(STATEMENT_MS * self._factor)),
                lock_timeout=str(int(LOCK_MS * self._factor)),
                jit="off",
            )
            self.transactions = TRANSACTIONS
            try:
                async with connection.transaction(readonly=True):
                    found = [await _table(connection, table) for table in await connection.fetch(TABLES)]
                    unfinished: int = await connection.fetchval(UNFINISHED)
                await connection.close()
            finally:
                connection.terminate()
        return [table for table in found if table is not None], unfinished


def _notes(here: int, on_the_wire: int, unfinished: int) -> list[str]:
    notes = []
    if unfinished:
        many = f"{unfinished} transactions are" if unfinished > 1 else "1 transaction is"
        notes.append(f"{many} still open; what was written there was never committed and is not here.")
    elif on_the_wire > here:
        notes.append(
            f"Of {on_the_wire:,} rows that the test was seen to write {here:,} are here;"
            " what was rolled back, never committed, deleted or written again is not."
        )
    return notes


async def _table(connection: asyncpg.Connection, table: asyncpg.Record) -> TableLeft | None:
    """Read one table; None where it is as the migrations left it."""
    import asyncpg

    try:
        async with connection.transaction():  # a savepoint: one table that is locked spoils no other
            return await _left(connection, table)
    except asyncpg.PostgresError as error:
        return TableLeft(
            name=table["name"],
            written=0,
            seeds_lost=0,
            columns=(),
            rows=(),
            note=f"it could not be read: {error}",
        )


async def _left(connection: asyncpg.Connection, table: asyncpg.Record) -> TableLeft | None:
    name, oid, columns = table["name"], table["oid"], (table["columns"] or [])[:MOST_COLUMNS]
    written = f"xmin <> all ((select t{oid} from netra_fixtures.watch)::xid[])" if table["seeded"] else "true"
    seeds = f"(select count(*) from netra_fixtures.seed_{oid})" if table["seeded"] else "0"
    counted = await connection.fetchrow(
        f"select count(*) filter (where {written}) as written,"
        f" {seeds} - count(*) filter (where not ({written})) as lost from only {name}"
    )
    assert counted is not None
    if not counted["written"] and not counted["lost"]:
        return None
    cells = ", ".join(f"{quoted(column)}::text" for column in columns)
    rows = await connection.fetch(
        f"select array(select left(cell, {READ_CHARACTERS}) from unnest(cells) with ordinality c (cell, n) order by n)"
        " as cells, array(select length(cell) from unnest(cells) with ordinality c (cell, n) order by n) as lengths"
        f" from (select ctid as place, array[{cells}]::text[] as cells from only {name} where {written}"
        f" order by ctid desc limit {MOST_ROWS}) last order by place"
    )
    return TableLeft(
        name=name,
        written=counted["written"],
        seeds_lost=counted["lost"],
        columns=tuple(columns),
        rows=tuple(_cells(columns, row) for row in rows),
    )


def _cells(columns: list[str], row: Any) -> tuple[str | None, ...]:
    return tuple(
        None if text is None else shown(column, text, length)
        for column, text, length in zip(columns, row["cells"], row["lengths"], strict=True)
    )
