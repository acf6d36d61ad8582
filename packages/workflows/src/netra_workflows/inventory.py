"""What cloud providers' APIs say of resources: idle, orphaned, of an old kind; and what they recommend themselves.

An inventory has no prices: a finding of it saves what the provider itself estimates, or is priced by a bill that holds
the same resource (`analyse(bills, inventory=…)`). Answers are JSON lines as Cloud Custodian's tests record them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from pydantic import Field

from netra_workflows.answers import Doubt, Record, doubts
from netra_workflows.errors import BillUnreadable
from netra_workflows.files import lines
from netra_workflows.model import Certainty, Frozen, Rows

LONGEST_ANSWER: Final = 16 << 20
MOST_RESOURCES: Final = 100_000


class InventoryFinding(Frozen):
    """A resource that a published rule, or its provider, says could cost less. Amounts are for a month."""

    rule: str
    published: str
    provider: str
    resource: str
    idle: bool = Field(description="whether the resource could go altogether")
    certainty: Certainty
    rows: tuple[Rows, ...]
    currency: str | None = None
    cost: Decimal | None = Field(
        default=None, description="what it costs now, by the provider's own estimate"
    )
    saving: Decimal | None = Field(default=None, description="the provider's own estimate")


def read_inventory(
    paths: Iterable[Path] | Mapping[str, Path], *, as_of: datetime, most: int = MOST_RESOURCES
) -> tuple[InventoryFinding, ...]:
    """Find what recorded answers show; one finding a resource, that of the strongest rule.

    Args:
        paths: files, or files by the names that findings and errors call them.
        as_of: the day from which ages are counted.
        most: so many resources may be shown.

    Raises:
        BillUnreadable: a file is no JSON lines, its gzip stream is broken, or it shows too many resources.
    """
    named = paths if isinstance(paths, Mapping) else {path.name: path for path in paths}
    found: dict[tuple[str, str], tuple[Doubt, dict[str, list[int]]]] = {}
    for name, path in named.items():
        for number, record in enumerate(_records(path, name), start=1):
            provider, shown = doubts(record, as_of)
            for doubt in shown:
                key = (provider, doubt.resource.lower())
                found[key] = _stronger(doubt, found.get(key, (doubt, {})), name, number)
            if len(found) > most:
                raise BillUnreadable(name, f"with it, more than {most:,} resources could cost less")
    made = (_finding(provider, doubt, rows) for (provider, _), (doubt, rows) in sorted(found.items()))
    return tuple(sorted(made, key=lambda f: (-(f.saving or 0), f.rule, f.provider, f.resource)))


def _stronger(
    doubt: Doubt, known: tuple[Doubt, dict[str, list[int]]], name: str, number: int
) -> tuple[Doubt, dict[str, list[int]]]:
    """Let the stronger of two doubts about a resource stand, with the answers that say so."""
    before, rows = known
    if _strength(doubt) > _strength(before):
        before, rows = doubt, {}
    if _strength(doubt) == _strength(before):
        rows.setdefault(name, []).append(number)
    return before, rows


def _strength(doubt: Doubt) -> tuple[int, Decimal]:
    """Rank doubts about one resource; of offers that exclude each other the one that saves most counts."""
    return (-doubt.rank, doubt.saving or Decimal(0))


def _finding(provider: str, doubt: Doubt, rows: Mapping[str, Sequence[int]]) -> InventoryFinding:
    return InventoryFinding(
        rule=doubt.rule,
        published=doubt.published,
        provider=provider,
        resource=doubt.resource,
        idle=doubt.idle,
        certainty=Certainty.HIGH if doubt.idle or doubt.saving else Certainty.MEDIUM,
        rows=tuple(
            Rows(source=name, records=tuple(sorted(set(own))), part=doubt.resource)
            for name, own in sorted(rows.items())
        ),
        currency=doubt.currency,
        cost=doubt.cost,
        saving=doubt.saving,
    )


def _records(path: Path, name: str) -> Iterator[Record]:
    for line in lines(path, name, longest=LONGEST_ANSWER):
        try:
            record = json.loads(line, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise BillUnreadable(name, "it is no file of JSON lines") from error
        yield record if isinstance(record, dict) else {}
