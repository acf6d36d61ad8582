"""The words for the state that a failed test left, for the terminal, the page and the Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from netra_fixtures.report.left import KeyLeft, Snapshot, TableLeft
from netra_fixtures.report.model import RunReport
from netra_fixtures.report.wording import amount

MOST_NAMED = 4  # tables, and keys, in the one line that the terminal gives them
MOST_TESTS = 5
MEMBERS = {"hash": "fields", "list": "items", "set": "members", "zset": "members", "stream": "entries"}
_RUN = re.compile(r"^netra-[^:]+(?=:)")


def terminal(report: RunReport) -> list[str]:
    """Say in a few lines what each failed test left, and how to see it."""
    left = [(test.nodeid, test.snapshot) for test in report.tests if test.snapshot]
    lines: list[str] = []
    for nodeid, snapshot in left[:MOST_TESTS]:
        lines += [f"state of {nodeid}: {in_short(snapshot)}", *(f"  {note}" for note in notes(snapshot))]
        lines.append(f"  {'open it' if snapshot.kept else 'keep it'}: {snapshot.command}")
    if len(left) > MOST_TESTS:
        lines.append(f"… and the state of {len(left) - MOST_TESTS} more in the report")
    return lines


def in_short(snapshot: Snapshot) -> str:
    """Give tables and keys in one line."""
    parts = []
    if snapshot.postgres:
        named = [f"{table.name} {rows(table)}" for table in snapshot.postgres.tables]
        parts.append(_some(named, len(named) + snapshot.postgres.more_tables) or "no rows")
    if snapshot.redis:
        named = [f"{_RUN.sub('netra-…', key.name)} ({kind(key)})" for key in snapshot.redis.keys]
        keys = _some(named, snapshot.redis.count)
        parts.append(f"keys {keys}" if keys else "no keys")
    return ", ".join(parts) or "not read"


def _some(names: Sequence[str], count: int) -> str:
    more = count - min(len(names), MOST_NAMED)
    return ", ".join([*names[:MOST_NAMED], *([f"{more:,} more"] if more else [])])


def rows(table: TableLeft) -> str:
    """Count what a test left in a table: 3 rows, 1 row of the migrations changed."""
    if table.note:
        return "not read"
    written = amount(table.written, "rows")
    if not table.seeds_lost:
        return written
    lost = f"{amount(table.seeds_lost, 'rows')} of the migrations changed or gone"
    return f"{written}, {lost}" if table.written else lost


def kind(key: KeyLeft) -> str:
    """Name a key's type and size: hash, 2 fields."""
    if key.type in MEMBERS:
        return f"{key.type}, {amount(key.size, MEMBERS[key.type])}"
    return f"{key.type}, {amount(key.size, 'bytes')}" if key.type == "string" else key.type


def expires(key: KeyLeft) -> str:
    """Say how long a key had still to live."""
    return "never" if key.ttl_s is None else f"{key.ttl_s:,.0f} s"


def notes(snapshot: Snapshot) -> list[str]:
    """Give what a reader must know beside the tables."""
    tables = snapshot.postgres.tables if snapshot.postgres else ()
    return [
        *snapshot.notes,
        *(snapshot.postgres.notes if snapshot.postgres else ()),
        *(f"{table.name}: {table.note}" for table in tables if table.note),
        *(snapshot.redis.notes if snapshot.redis else ()),
    ]
