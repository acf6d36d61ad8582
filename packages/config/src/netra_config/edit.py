"""Apply an edit to a document, and tell what speaks against it; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pydantic import JsonValue

from netra_config.errors import brief
from netra_config.layers import Path, Values, parse, plain, pointer, problem, put, without
from netra_config.revision import (
    Difference,
    Document,
    Edit,
    Fault,
    FaultKind,
    check_text,
    differences,
)
from netra_config.snapshot import Resolver, Snapshot

T = TypeVar("T")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Draft(Generic[T]):
    """What would become a revision.

    Args:
        snapshot: what readers would have; None where it would not load.
    """

    text: str
    snapshot: Snapshot[T] | None
    differences: tuple[Difference, ...]
    faults: tuple[Fault, ...]


def draft(resolver: Resolver[T], base: int, before: Document, edit: Edit, *, limit_bytes: int) -> Draft[T]:
    """Apply *edit* to the document of version *base*.

    Raises:
        InputRefused: a path, the tenant or a flag's name can't be kept.
    """
    faults = list[Fault]()
    values = _layer(resolver, before.values, edit if edit.tenant is None else Edit(), ("values",), faults)
    tenants = dict(before.tenants)
    if edit.tenant is not None:
        check_text(edit.tenant, "the tenant", most=_LONGEST_NAME)
        at = ("tenants", edit.tenant)
        tenants[edit.tenant] = _layer(resolver, tenants.get(edit.tenant, {}), edit, at, faults)
        tenants = {tenant: overlay for tenant, overlay in tenants.items() if overlay}
    document = Document(values, tenants, _flags(before.flags, edit, faults))
    if faults:
        return Draft("", None, (), tuple(faults))
    return drafted(resolver, base, before, document, document.text(), limit_bytes=limit_bytes)


def drafted(
    resolver: Resolver[T], base: int, before: Document, after: Document, text: str, *, limit_bytes: int
) -> Draft[T]:
    """Resolve *after*, whose text is *text*; unknown names are a fault where *before* lacked them."""
    if len(text.encode()) > limit_bytes:
        too_long = f"the document is longer than {limit_bytes:,} bytes"
        return Draft(text, None, (), (Fault(kind=FaultKind.INVALID, path="", problem=too_long),))
    known = {fault.path for fault in resolver.resolve(base, before)[1] if fault.kind is FaultKind.UNKNOWN}
    snapshot, found = resolver.resolve(base + 1, after)
    faults = tuple(fault for fault in found if fault.kind is not FaultKind.UNKNOWN or fault.path not in known)
    changed = differences(before.whole(), after.whole(), visible=resolver.schema.visible)
    return Draft(text, snapshot, changed, faults)


def resealed(resolver: Resolver[T], document: Document) -> Document:
    """Seal every secret anew that is sealed with another key than the one that seals now.

    Raises:
        SecretRefused: one does not open.
    """
    tenants = {
        name: resolver.resealed(overlay, ("tenants", name)) for name, overlay in document.tenants.items()
    }
    return replace(document, values=resolver.resealed(document.values, ("values",)), tenants=tenants)


def _layer(resolver: Resolver[T], before: Values, edit: Edit, at: Path, faults: list[Fault]) -> Values:
    layer = dict(before)
    for path in map(parse, edit.unset):
        layer = without(layer, path)
    for name, value in edit.set.items():
        path, typed = parse(name), plain(value)
        if _is_kept(path, typed, at, faults):
            layer = put(layer, path, typed)
    sealed, wrong = resolver.sealed(layer, at, before)
    faults += wrong
    return sealed


def _flags(before: Values, edit: Edit, faults: list[Fault]) -> Values:
    flags = dict(before)
    for name, flag in edit.flags.items():
        check_text(name, "the name of a flag", most=_LONGEST_NAME)
        flags.pop(name, None)
        if flag is not None and _is_kept((name,), typed := plain(flag), ("flags",), faults):
            flags[name] = typed
    return flags


def _is_kept(path: Path, value: JsonValue, at: Path, faults: list[Fault]) -> bool:
    nested: JsonValue = value
    for key in reversed(path):
        nested = {key: nested}
    wrong = problem(nested)
    if wrong is not None:
        faults.append(Fault(kind=FaultKind.INVALID, path=brief(pointer((*at, *path))), problem=wrong))
    return wrong is None


def blocking(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Leave out what keeps no revision from loading: names that the schema no longer knows."""
    return tuple(fault for fault in faults if fault.kind is not FaultKind.UNKNOWN)
