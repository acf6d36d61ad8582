"""Names in SQL: they can't be parameters, so they are quoted, and what a test names is checked first."""

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"[^\W\d]\w{0,62}", re.ASCII)  # PostgreSQL cuts off what is longer than 63


def quoted(name: str) -> str:
    """Quote a name that the server gave or we made, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def quoted_column(name: str) -> str:
    """Quote a column that a test names.

    Raises:
        ValueError: it is no plain identifier.
    """
    __tracebackhide__ = True
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no column: write letters, digits and _, at most 63")
    return quoted(name)


def quoted_table(name: str) -> str:
    """Quote a table that a test names, with its schema where it is named.

    Raises:
        ValueError: it is neither `table` nor `schema.table`.
    """
    __tracebackhide__ = True
    parts = name.split(".")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise ValueError(f"{name!r} is no table: write schema.table, of letters, digits and _")
    return ".".join(quoted(part) for part in parts)


def _checked_column(name: str) -> str:
    quoted_column(name)
    return name


def _checked_table(name: str) -> str:
    quoted_table(name)
    return name


Column = Annotated[str, AfterValidator(_checked_column)]
Table = Annotated[str, AfterValidator(_checked_table)]
