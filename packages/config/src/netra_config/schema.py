"""A team's model as the single source of truth: what it allows, what is secret in it, what is wrong with values."""

import hashlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    Generic,
    NewType,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass, is_pydantic_dataclass
from pydantic.fields import FieldInfo

from netra_config.layers import Path, Values, canonical, pointer
from netra_config.revision import Fault, FaultKind

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

# A mapping that no reader can change: `limits: FrozenMapping[str, int] = Field(default_factory=dict)`.
FrozenMapping = Annotated[
    Mapping[K, V], AfterValidator(MappingProxyType), PlainSerializer(dict), Field(validate_default=True)
]

_ANY = "*"
_IMMUTABLE = (tuple, frozenset)
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def settings(model: type[T]) -> type[T]:
    """Declare a model of settings: pydantic's own dataclass, frozen, slotted, refusing unknown names.

    A frozen pydantic `BaseModel` serves as well; reading an attribute of one costs about three times as much, since
    `BaseModel.__getattr__` keeps the interpreter from caching where an attribute is.
    """
    config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    made: Any = dataclass(frozen=True, slots=True, kw_only=True, config=config)(model)
    return cast(type[T], made)


class Schema(Generic[T]):
    """A model, checked once for what a shared snapshot needs.

    Raises:
        TypeError: it, or a model inside it, is not frozen, allows unknown names, or holds what readers could change.
    """

    def __init__(self, model: type[T]) -> None:
        if not _is_model(model):
            raise TypeError(f"{model!r} is no model; declare it with netra_config.settings")
        self.model = model
        self._adapter = TypeAdapter(model)
        patterns = tuple(_fields(model, (), ()))
        self._secret = tuple(path for path, secret in patterns if secret)
        self._known = tuple(path for path, _ in patterns)
        text = canonical(self._adapter.json_schema())
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:12]

    def is_secret(self, path: Path) -> bool:
        """Tell whether a `SecretStr` stands at *path*, in it or around it."""
        return any(_touches(pattern, path) for pattern in self._secret)

    def is_secret_field(self, path: Path) -> bool:
        """Tell whether exactly a `SecretStr` stands at *path*."""
        return any(len(pattern) == len(path) and _touches(pattern, path) for pattern in self._secret)

    def visible(self, path: Path) -> bool:
        """Tell whether people may see the value at *path* of a document: it is known, and no secret."""
        if path[0] == "flags":
            return True
        inner = path[1:] if path[0] == "values" else path[2:]
        return not self.is_secret(inner) and any(_touches(pattern, inner) for pattern in self._known)

    def dump(self, value: T) -> dict[str, Any]:
        """Return what a snapshot holds as JSON values; secrets stay hidden."""
        dumped: dict[str, Any] = self._adapter.dump_python(value, mode="json")
        return dumped

    def validate(self, values: Values, at: Path) -> tuple[T | None, list[Fault]]:
        """Make the model of *values*, or list all that is wrong with them.

        Args:
            at: where in the document they stand, for the faults' paths.
        """
        try:
            return self._adapter.validate_json(canonical(values)), []
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False, include_context=False)
            return None, [
                self._fault(one["type"], tuple(map(str, one["loc"])), one["msg"], at) for one in found
            ]

    def _fault(self, type: str, inner: Path, message: str, at: Path) -> Fault:
        if type in _UNKNOWN:
            kind, problem = FaultKind.UNKNOWN, "the schema has no such field"
        elif type.startswith("missing"):
            kind, problem = FaultKind.MISSING, "no layer sets it, and it has no default"
        elif self.is_secret_field(inner):
            kind, problem = FaultKind.INVALID, "the secret is not of the form that the schema asks for"
        elif self.is_secret(inner):  # a check of the team's own may quote what it was given
            kind, problem = (
                FaultKind.INVALID,
                "a check of the schema refused it; its words could hold a secret",
            )
        else:
            kind, problem = FaultKind.INVALID, message
        return Fault(kind=kind, path=pointer((*at, *inner)), problem=problem)


def _touches(pattern: Path, path: Path) -> bool:
    """Tell whether one is the other, or leads to it."""
    return all(one in (_ANY, other) for one, other in zip(pattern, path, strict=False))


def _is_model(annotation: object) -> bool:
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, BaseModel) or (
        is_dataclass(annotation) and is_pydantic_dataclass(annotation)
    )


def _fields(model: Any, at: Path, within: tuple[type, ...]) -> Iterator[tuple[Path, bool]]:
    """List where values stand in *model*, and whether they are secret."""
    config = model.model_config if issubclass(model, BaseModel) else getattr(model, "__pydantic_config__", {})
    frozen = config.get("frozen") or getattr(getattr(model, "__dataclass_params__", None), "frozen", False)
    if model in within:
        raise TypeError(f"{model.__name__} holds itself; settings have a fixed depth")
    if not frozen or config.get("extra") != "forbid":
        raise TypeError(
            f"{model.__name__} is not frozen or allows unknown names; declare it with netra_config.settings"
        )
    fields: Mapping[str, FieldInfo] = model.__pydantic_fields__
    for name, field in fields.items():
        if field.alias or field.validation_alias:
            raise TypeError(f"{model.__name__}.{name} has an alias; settings have one name")
        yield from _places(field.rebuild_annotation(), (*at, name), (*within, model))


def _places(annotation: Any, at: Path, within: tuple[type, ...]) -> Iterator[tuple[Path, bool]]:
    annotation = _unnamed(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if arguments[0] != Mapping and get_origin(arguments[0]) is Mapping and _is_frozen(arguments[1:]):
            key, value = get_args(arguments[0])
            if any(secret for _, secret in _places(key, at, within)):
                raise TypeError(f"a key of {pointer(at)} can't be sealed; put the secret into a value")
            yield from _places(value, (*at, _ANY), within)
        else:
            yield from _places(arguments[0], at, within)
    elif origin in (Union, types.UnionType):
        for one in arguments:
            yield from _places(one, at, within)
    elif origin in _IMMUTABLE:
        for one in arguments:
            if one is not Ellipsis:
                yield from _places(one, (*at, _ANY), within)
    elif _is_model(annotation):
        yield from _fields(annotation, at, within)
    else:
        yield at, _is_secret(origin or annotation, at)


def _unnamed(annotation: Any) -> Any:
    """Return what stands behind a `NewType`, or a name for a type."""
    while isinstance(annotation, NewType) or hasattr(annotation, "__value__"):
        annotation = getattr(annotation, "__supertype__", None) or annotation.__value__
    return annotation


def _is_frozen(metadata: tuple[Any, ...]) -> bool:
    return any(isinstance(one, AfterValidator) and one.func is MappingProxyType for one in metadata)


def _is_secret(kind: Any, at: Path) -> bool:
    if kind in (Any, object) or (
        isinstance(kind, type) and issubclass(kind, (list, set, dict, bytearray, Mapping))
    ):
        remedy = "use tuple, frozenset, netra_config.FrozenMapping or a model"
        raise TypeError(f"a reader could change what stands at {pointer(at)}; {remedy}")
    if isinstance(kind, type) and issubclass(kind, (SecretBytes, Secret)):
        raise TypeError(f"what stands at {pointer(at)} can't be sealed; use SecretStr")
    if is_dataclass(kind) or hasattr(kind, "_fields") or isinstance(kind, TypeVar):
        remedy = "declare it with netra_config.settings"
        raise TypeError(f"a secret in what stands at {pointer(at)} would not be found; {remedy}")
    return isinstance(kind, type) and issubclass(kind, SecretStr)
