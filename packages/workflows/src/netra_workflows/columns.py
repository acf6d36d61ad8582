"""Which format a header is, and which of its columns is which: the mapping tables, read once."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from netra_workflows.errors import UnknownColumns
from netra_workflows.model import Format

_TOLD_TWICE = re.compile(r"\(([A-Za-z0-9_]+)\)\s*$")
_NO_LETTER = re.compile(r"[^a-z0-9]")


class Column(NamedTuple):
    """A column of a format: the names it goes by, plain, and whether the format is known by it."""

    name: str
    needed: bool
    since: str
    names: tuple[str, ...]


class Recognised(NamedTuple):
    """A header that was understood: each column of the format with its place in the file, or None."""

    format: Format
    places: Mapping[str, int | None]
    ignored: tuple[str, ...]
    version: str | None


def table(name: str) -> Iterator[dict[str, str]]:
    """Read one of the package's reference tables."""
    text = files("netra_workflows").joinpath("tables", f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def plain(header: str) -> str:
    """Strip a column's name of case, marks and the translation around it: `Dienst (ConsumedService)`."""
    told = _TOLD_TWICE.search(header)
    return _NO_LETTER.sub("", (told[1] if told else header).lower())


@cache
def columns(format: Format) -> tuple[Column, ...]:
    """Give the columns of a format."""
    return tuple(
        Column(row["column"], bool(row["needed"]), row["since"], tuple(map(plain, row["names"].split("|"))))
        for row in table("headers")
        if row["format"] == format.value
    )


def recognise(bill: str, header: Sequence[str]) -> Recognised:
    """Find the format of a header.

    Raises:
        UnknownColumns: it is none; or one column that counts occurs twice.
    """
    found: dict[str, int] = {}
    twice = set()
    for place, name in enumerate(map(plain, header)):
        if found.setdefault(name, place) != place:
            twice.add(name)
    lacks = []
    for format in Format:
        known = columns(format)
        places = {c.name: next((found[n] for n in c.names if n in found), None) for c in known}
        missing = [c.name for c in known if c.needed and places[c.name] is None]
        if not missing:
            taken = {place for place in places.values() if place is not None}
            if again := sorted(twice & {plain(header[place]) for place in taken}):
                raise UnknownColumns(bill, [f"{again[0]} occurs twice"])
            ignored = tuple(name for place, name in enumerate(header) if place not in taken)
            has = [c.since for c in known if places[c.name] is not None and c.since[:2] == "1."]
            version = max((v for v in has if len(v) == 3), default="1.0") if has else None
            return Recognised(format, places, ignored, version)
        lacks.append(f"{format.value} lacks {missing[0]}")
    raise UnknownColumns(bill, lacks)
