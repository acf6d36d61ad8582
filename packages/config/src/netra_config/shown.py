"""What the command line prints: a table for people, the same as JSON for programs; secrets come masked."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netra_config.drift import Drift
from netra_config.layered import Layered
from netra_config.revision import Difference, Fault, Revision

_ABSENT = "—"


@dataclass(frozen=True, slots=True)
class Shown:
    """A table, or a sentence where it has no rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    data: JsonValue
    empty: str = "nothing"

    def text(self, *, as_json: bool) -> str:
        """Write it, for programs or for people."""
        if as_json:
            return json.dumps(self.data, ensure_ascii=False, indent=2)
        if not self.rows:
            return self.empty
        table = Table(*self.columns, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*(Text(_ABSENT if cell is None else _printable(cell)) for cell in row))
        console = Console(highlight=False)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip("\n")


def values(layered: Sequence[Layered], version: int) -> Shown:
    """Show the settings in force."""
    rows = [(one.path, one.value, one.layer) for one in layered]
    data: JsonValue = {"version": version, "values": [one.model_dump() for one in layered]}
    return Shown(f"version {version}", ("path", "value", "layer"), rows, data)


def changes(differences: Iterable[Difference], title: str) -> Shown:
    """Show what is different."""
    found = list(differences)
    rows = [(one.path, one.before, one.after) for one in found]
    return Shown(
        title, ("path", "before", "after"), rows, [one.model_dump() for one in found], "no difference"
    )


def faults(found: Sequence[Fault]) -> Shown:
    """Show why a change would not load."""
    rows = [(one.path, one.kind.value, one.problem) for one in found]
    data: JsonValue = [one.model_dump(mode="json") for one in found]
    return Shown("this would not load", ("path", "kind", "problem"), rows, data)


def drifts(found: Sequence[Drift]) -> Shown:
    """Show where things disagree."""
    rows = [(one.kind.value, one.where, one.here, one.there) for one in found]
    data: JsonValue = [one.model_dump(mode="json") for one in found]
    return Shown("drift", ("kind", "where", "here", "there"), rows, data, "no drift")


def revisions(made: Sequence[Revision]) -> Shown:
    """Show who changed what, when and why."""
    rows = [
        (str(one.version), one.made_at.isoformat(" ", "seconds"), one.author, one.reason, _what(one))
        for one in made
    ]
    data: JsonValue = [one.model_dump(mode="json", exclude={"document"}) for one in made]
    return Shown("history", ("version", "at", "who", "why", "what"), rows, data, "no revision yet")


def _what(revision: Revision) -> str:
    restored = [] if revision.restores is None else [f"restores version {revision.restores}"]
    return "\n".join(
        [
            *restored,
            *(
                f"{one.path}: {one.before or _ABSENT} → {one.after or _ABSENT}"
                for one in revision.differences
            ),
        ]
    )


def _printable(text: str) -> str:
    """Keep out what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
