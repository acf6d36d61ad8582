"""Where schema, store, files, processes and environments disagree, value by value; pure."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from netra_config.layers import Path, Values, canonical, found, has, is_sealed, leaves, pointer
from netra_config.revision import Document, Fault, FaultKind, Revision, told
from netra_config.running import Running
from netra_config.schema import Schema
from netra_config.snapshot import Resolver, mapped

T = TypeVar("T")


class DriftKind(StrEnum):
    """Between what the disagreement is."""

    UNKNOWN = "unknown"  # in the store, not in the schema
    MISSING = "missing"  # asked for by the schema, in no layer
    INVALID = "invalid"  # in the store, and no longer valid
    UNREADABLE = "unreadable"  # a secret that does not open here
    UNSEALED = "unsealed"  # a secret in the store as plain text
    OVERRIDDEN = "overridden"  # the files say one thing, the store another
    BEHIND = "behind"  # a process runs another version than the newest
    REFUSING = "refusing"  # a process could not take up a version
    OTHER_SCHEMA = "other schema"  # a process runs another schema
    DIFFERENT = "different"  # two environments have different values
    ONLY_HERE = "only here"
    ONLY_THERE = "only there"


class Drift(BaseModel):
    """One disagreement; *where* is a path in the document or the name of a process, and secrets are masked."""

    model_config = ConfigDict(frozen=True)

    kind: DriftKind
    where: str
    here: str | None = None
    there: str | None = None


_OF_FAULT = {
    FaultKind.UNKNOWN: DriftKind.UNKNOWN,
    FaultKind.MISSING: DriftKind.MISSING,
    FaultKind.INVALID: DriftKind.INVALID,
    FaultKind.UNREADABLE: DriftKind.UNREADABLE,
}


def between_all(
    resolver: Resolver[T], newest: Revision, running: Iterable[Running], there: str | None
) -> tuple[Drift, ...]:
    """List every disagreement of one environment, and, where the text of another is *there*, between the two."""
    schema = resolver.schema
    document, faults = resolver.parse(newest.document)
    if document is not None:
        faults = resolver.resolve(newest.version, document)[1]
    document = document or Document()
    opened = resolver.opened(document.values, ("values",), [])
    drift = between_schema_and_store(schema, document, faults)
    drift += between_files_and_store(schema, resolver.settings, opened)
    drift += between_processes_and_store(schema, newest.version, running)
    if there is not None:
        other, _ = resolver.parse(there)
        drift += between_environments(schema, document, other or Document())
    return tuple(drift)


def between_schema_and_store(schema: Schema[T], document: Document, faults: Iterable[Fault]) -> list[Drift]:
    """List what the store holds and the schema does not allow, and what it lacks."""
    drift = [Drift(kind=_OF_FAULT[fault.kind], where=fault.path, here=fault.problem) for fault in faults]
    for at, layer in _layers(document):
        for path, value in _items(layer, at):
            if isinstance(value, str) and schema.is_secret_field(path[len(at) :]):
                drift.append(Drift(kind=DriftKind.UNSEALED, where=pointer(path)))
    return drift


def between_files_and_store(schema: Schema[T], settings: Values, values: Values) -> list[Drift]:
    """List what files and variables say, and the store says otherwise for everybody; both opened."""
    return [
        Drift(
            kind=DriftKind.OVERRIDDEN,
            where=pointer(path),
            here=_told(schema, path, value),
            there=_told(schema, path, found(values, path[1:])),
        )
        for path, value in leaves(settings, ("values",))
        if has(values, path[1:]) and not _equal(value, found(values, path[1:]))
    ]


def between_processes_and_store(schema: Schema[T], newest: int, running: Iterable[Running]) -> list[Drift]:
    """List processes that run something else than the newest version under this schema."""
    drift = list[Drift]()
    for one in running:
        if one.schema_fingerprint != schema.fingerprint:
            said, ours = one.schema_fingerprint, schema.fingerprint
            drift.append(Drift(kind=DriftKind.OTHER_SCHEMA, where=one.process, here=ours, there=said))
        if one.refused is not None and one.refused > one.version:
            drift.append(
                Drift(
                    kind=DriftKind.REFUSING, where=one.process, here=str(one.refused), there=str(one.version)
                )
            )
        elif one.version != newest:
            drift.append(
                Drift(kind=DriftKind.BEHIND, where=one.process, here=str(newest), there=str(one.version))
            )
    return drift


def between_environments(schema: Schema[T], here: Document, there: Document) -> list[Drift]:
    """List the values that two environments have different, or one of them alone.

    Whether two sealed secrets are equal nobody can tell, and neither is listed; that one lacks it is.
    """
    ours, theirs = dict(leaves(here.whole())), dict(leaves(there.whole()))
    drift = list[Drift]()
    for path in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(path), theirs.get(path)
        if path in ours and path in theirs:
            if _equal(mine, other) or (is_sealed(mine) and is_sealed(other)):
                continue
            kind = DriftKind.DIFFERENT
        else:
            kind = DriftKind.ONLY_HERE if path in ours else DriftKind.ONLY_THERE
        sides = (
            _told(schema, path, mine) if path in ours else None,
            _told(schema, path, other) if path in theirs else None,
        )
        drift.append(Drift(kind=kind, where=pointer(path), here=sides[0], there=sides[1]))
    return [one for one in drift if one.where not in {"/values", "/tenants", "/flags"}]


def _layers(document: Document) -> Iterator[tuple[Path, Values]]:
    yield ("values",), document.values
    for tenant, overlay in document.tenants.items():
        yield ("tenants", tenant), overlay


def _items(layer: Values, at: Path) -> list[tuple[Path, object]]:
    items = list[tuple[Path, object]]()
    mapped(layer, at, lambda value, path: items.append((path, value)))
    return items


def _told(schema: Schema[T], path: Path, value: object) -> str:
    return told(value, masked=not schema.visible(path))  # type: ignore[arg-type]


def _equal(one: object, other: object) -> bool:
    return canonical(one) == canonical(other)  # type: ignore[arg-type]
