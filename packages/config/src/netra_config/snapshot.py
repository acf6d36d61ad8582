"""One revision as readers see it: resolved whole, tenant by tenant, or refused with every fault; pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import JsonValue

from netra_config.errors import InputRefused, SecretRefused
from netra_config.flags import Decide, read_flags
from netra_config.layers import Path, Values, is_sealed, merge, pointer, problem, without
from netra_config.revision import Document, Fault, FaultKind
from netra_config.schema import Schema
from netra_config.secrets import Keyring

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[T]):
    """A revision under a schema; nothing in it changes.

    Args:
        unknown: what the document holds and the schema does not; it is left out.
    """

    version: int
    document: Document
    values: T
    tenants: Mapping[str, T]
    flags: Mapping[str, Decide]
    unknown: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolver(Generic[T]):
    """Lays a document over the settings of the environment, opens its secrets and validates the whole."""

    schema: Schema[T]
    settings: Values = field(repr=False)
    keyring: Keyring

    def read(self, version: int, text: str) -> tuple[Snapshot[T] | None, list[Fault]]:
        """Resolve a revision's text; None where it can't be used, with all that is wrong."""
        document, faults = self.parse(text)
        try:
            return (None, faults) if document is None else self.resolve(version, document)
        except RecursionError:
            return None, [Fault(kind=FaultKind.INVALID, path="", problem="it is nested too deep")]

    def parse(self, text: str) -> tuple[Document | None, list[Fault]]:
        """Read a revision's text; None where it is none."""
        try:
            document = Document.read(text)
            parts = (document.values, document.tenants, document.flags, *document.tenants.values())
            if not all(isinstance(part, dict) for part in parts):
                raise TypeError
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None, [Fault(kind=FaultKind.INVALID, path="", problem="it is no document of settings")]
        return document, []

    def resolve(self, version: int, document: Document) -> tuple[Snapshot[T] | None, list[Fault]]:
        """Resolve a document, every tenant too, so that no reader meets a fault later.

        Returns:
            The snapshot, or None, and the faults; unknown names alone keep no snapshot from being made.
        """
        faults = list[Fault]()
        beneath = self.opened(self.settings, ("values",), faults)
        common = merge(beneath, self.opened(document.values, ("values",), faults))
        values = self._model(common, ("values",), faults)
        tenants = dict[str, T]()
        for tenant, overlay in document.tenants.items():
            at, own = ("tenants", tenant), list[Fault]()
            resolved = self._model(merge(common, self.opened(overlay, at, own)), at, own)
            faults += _beyond(faults, own, at)
            if resolved is not None:
                tenants[tenant] = resolved
        flags, wrong = read_flags(document.flags)
        faults += wrong
        unknown = tuple(fault for fault in faults if fault.kind is FaultKind.UNKNOWN)
        if values is None or len(unknown) < len(faults):
            return None, faults
        return Snapshot(version, document, values, tenants, flags, unknown), faults

    def _model(self, values: Values, at: Path, faults: list[Fault]) -> T | None:
        model, found = self.schema.validate(values, at)
        unknown = [fault for fault in found if fault.kind is FaultKind.UNKNOWN]
        if unknown:
            known = dict(values)
            for fault in unknown:
                known = without(known, _inner(fault.path, len(at)))
            model, found = self.schema.validate(known, at)
        faults += [*unknown, *found]
        return model

    def opened(self, layer: Values, at: Path, faults: list[Fault]) -> Values:
        """Open the secrets of *layer*; those that do not open become faults."""

        def plain(value: JsonValue, path: Path) -> JsonValue:
            if not is_sealed(value):
                return value
            if self.schema.visible(path):
                problem = "it is sealed, and the schema would show it; use SecretStr there"
                faults.append(Fault(kind=FaultKind.INVALID, path=pointer(path), problem=problem))
                return ""
            try:
                return self.keyring.open(value, path)
            except SecretRefused as refused:
                faults.append(Fault(kind=FaultKind.UNREADABLE, path=pointer(path), problem=str(refused)))
                return ""

        return mapped(layer, at, plain)

    def seal(self, path: Path, plain: str) -> dict[str, JsonValue]:
        """Seal a secret for its place among everybody's values.

        Raises:
            InputRefused: no `SecretStr` stands there, or the text can't be kept as it is.
        """
        if not self.schema.is_secret_field(path):
            raise InputRefused("a secret where the schema has none", "name the path of a SecretStr")
        if problem(plain) is not None or problem("".join(path)) is not None:
            raise InputRefused("a secret or its path", "leave out half characters")
        return self.keyring.seal(plain, ("values", *path))

    def sealed(self, layer: Values, at: Path, before: Values) -> tuple[Values, list[Fault]]:
        """Seal the secrets of *layer* that are not; one that says what it said before keeps its text."""
        faults, known = list[Fault](), dict(_leaves(before, at))

        def seal(value: JsonValue, path: Path) -> JsonValue:
            inner = path[len(at) :]
            if not isinstance(value, str) or not self.schema.is_secret_field(inner):
                return value
            try:
                old = known.get(path)
                if is_sealed(old) and self.keyring.is_current(old) and self.keyring.open(old, path) == value:
                    return old
                return self.keyring.seal(value, path)
            except SecretRefused as refused:
                faults.append(Fault(kind=FaultKind.UNREADABLE, path=pointer(path), problem=str(refused)))
                return ""

        return mapped(layer, at, seal), faults

    def resealed(self, layer: Values, at: Path) -> Values:
        """Seal anew what is sealed with another key than the one that seals now.

        Raises:
            SecretRefused: something does not open.
        """

        def renew(value: JsonValue, path: Path) -> JsonValue:
            if not is_sealed(value) or self.keyring.is_current(value):
                return value
            return self.keyring.seal(self.keyring.open(value, path), path)

        return mapped(layer, at, renew)


def mapped(values: Values, at: Path, change: Callable[[JsonValue, Path], JsonValue]) -> dict[str, JsonValue]:
    """Give what *change* makes of each value, items of lists too; a sealed secret is one value."""

    def one(value: JsonValue, path: Path) -> JsonValue:
        if isinstance(value, dict) and not is_sealed(value):
            return mapped(value, path, change)
        if isinstance(value, list):
            return [one(item, (*path, str(number))) for number, item in enumerate(value)]
        return change(value, path)

    return {key: one(value, (*at, key)) for key, value in values.items()}


def _leaves(values: Values, at: Path) -> Iterator[tuple[Path, JsonValue]]:
    found = list[tuple[Path, JsonValue]]()

    def note(value: JsonValue, path: Path) -> JsonValue:
        found.append((path, value))
        return value

    mapped(values, at, note)
    yield from found


def _inner(path: str, depth: int) -> Path:
    parts = path[1:].split("/")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts[depth:])


def _beyond(common: list[Fault], own: list[Fault], at: Path) -> list[Fault]:
    """Leave out of a tenant's faults what is wrong without it."""
    known = {(fault.path.removeprefix("/values"), fault.problem) for fault in common}
    return [fault for fault in own if (fault.path.removeprefix(pointer(at)), fault.problem) not in known]
