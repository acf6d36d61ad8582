"""What a failed test left on its servers, as the report shows it."""

from __future__ import annotations

from netra_fixtures.report.parts import Part, Text


class TableLeft(Part):
    """Rows that a failed test left in a table: the last of those that the migrations didn't write.

    `written` counts all of these, `seeds_lost` the rows of the migrations that are changed or gone.
    """

    name: Text
    written: int
    seeds_lost: int
    columns: tuple[Text, ...]
    rows: tuple[tuple[Text | None, ...], ...]
    note: Text = ""


class DatabaseLeft(Part):
    """What a failed test left in its database; `more_tables` counts those not shown."""

    database: Text
    tables: tuple[TableLeft, ...]
    more_tables: int
    notes: tuple[Text, ...]


class KeyLeft(Part):
    """A key that a failed test left; `size` counts the bytes of a string, else what is in it."""

    name: Text
    type: str
    ttl_s: float | None
    size: int
    value: Text


class RedisLeft(Part):
    """What a failed test left in its Redis; `count` counts the keys not shown, too."""

    keys: tuple[KeyLeft, ...]
    count: int
    notes: tuple[Text, ...]


class Snapshot(Part):
    """The state of a failed test before the kit emptied it, cut to what can be read, secrets masked.

    `command` opens the state that is kept under the name `kept`; where none is, it runs the test again and keeps it.
    """

    postgres: DatabaseLeft | None
    redis: RedisLeft | None
    notes: tuple[Text, ...]
    kept: Text | None
    command: Text
