"""Arguments and results as JSON that every store keeps unchanged; pure."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import jsonschema_rs
from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_LONGEST_PLACE: Final = 100
_MOST_PROBLEMS: Final = 5
DEEPEST: Final = 100  # levels of arrays and objects: every reader of JSON takes that many
_NUL: Final = b"\\u0000"
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class NotStorable(ValueError):
    """A value has no JSON that every store keeps unchanged; the text names the rule."""


class Misfit(ValueError):
    """A value does not fit its type or schema; `problems` names places and rules, never values."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Codec(Protocol[T_co]):
    """Reads a value from JSON, checking it, and writes it as JSON."""

    @property
    def schema(self) -> Mapping[str, JsonValue]:
        """The JSON Schema of what `read` accepts."""

    def read(self, data: bytes) -> T_co:
        """Read a value.

        Raises:
            Misfit: it is not of this kind.
        """

    def write(self, value: object, *, limit_bytes: int) -> bytes:
        """Write a value as canonical JSON.

        Raises:
            Misfit: it is not of this kind.
            NotStorable: no JSON says the same, or not one that every store keeps.
        """

    def rewrite(self, data: bytes, *, limit_bytes: int) -> bytes:
        """Read a value and write it as canonical JSON; raises what both do."""


class Typed(Generic[T]):
    """Values of a pydantic model, or of any type that pydantic knows."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self.schema: Mapping[str, JsonValue] = self._adapter.json_schema()

    def read(self, data: bytes) -> T:
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise Misfit(_problems(error)) from None

    def write(self, value: object, *, limit_bytes: int) -> bytes:
        try:
            return self._written(self._adapter.validate_python(value), limit_bytes)
        except ValidationError as error:
            raise Misfit(_problems(error)) from None

    def rewrite(self, data: bytes, *, limit_bytes: int) -> bytes:
        return self._written(self.read(data), limit_bytes)

    def _written(self, checked: T, limit_bytes: int) -> bytes:
        try:
            plain = self._adapter.dump_python(checked, mode="json")
        except (PydanticSerializationError, RecursionError, ValueError) as error:
            raise NotStorable("JSON has no form for it, or it is nested too deep") from error
        data = canonical(plain, limit_bytes=limit_bytes)
        if b"null" in data and _holds(self._adapter.dump_python(checked), _not_finite):
            raise NotStorable("it holds NaN or an infinity")  # which pydantic writes as null where it may
        return data


class Schema:
    """Values that a JSON Schema (draft 2020-12, unless it names another) describes.

    Raises:
        ValueError: it is no valid JSON Schema.
    """

    def __init__(self, schema: Mapping[str, JsonValue]) -> None:
        self.schema: Mapping[str, JsonValue] = schema
        self._validator = jsonschema_rs.validator_for(dict(schema), retriever=_nothing_elsewhere)

    def read(self, data: bytes) -> Any:
        value = from_json(data)
        self._check(value)
        return value

    def write(self, value: object, *, limit_bytes: int) -> bytes:
        data = canonical(value, limit_bytes=limit_bytes)
        self._check(value)
        return data

    def rewrite(self, data: bytes, *, limit_bytes: int) -> bytes:
        return canonical(self.read(data), limit_bytes=limit_bytes)

    def _check(self, value: object) -> None:
        problems = []
        for error in self._validator.iter_errors(value):
            problems.append(f"{_place(error.instance_path)}: {error.kind.name}")
            if len(problems) == _MOST_PROBLEMS:
                break
        if problems:
            raise Misfit(tuple(problems))


def _nothing_elsewhere(uri: str) -> Any:
    """Refuse to fetch what a schema refers to: it may come from anybody, and would make us ask anybody."""
    raise ValueError("a schema refers to another; write it out")


def canonical(value: Any, *, limit_bytes: int) -> bytes:
    """Write plain *value* as JSON in UTF-8, the same bytes for equal values: sorted names and no spaces.

    Raises:
        NotStorable: NaN, an infinity, a lone surrogate, a NUL, a cycle, too deep or too long.
    """
    try:
        data = _ENCODER.encode(value).encode()
    except RecursionError:
        raise NotStorable(f"it is nested deeper than {DEEPEST} levels") from None
    except UnicodeEncodeError:
        raise NotStorable("it holds a lone surrogate, which is no character") from None
    except ValueError as error:
        raise NotStorable("it holds NaN, an infinity, or itself") from error
    except TypeError as error:
        raise NotStorable("JSON has no form for it") from error
    if len(data) > limit_bytes:
        raise NotStorable(f"it is longer than {limit_bytes:,} bytes as JSON")
    if data.count(b"[") + data.count(b"{") > DEEPEST and _depth(value) > DEEPEST:
        raise NotStorable(f"it is nested deeper than {DEEPEST} levels")
    if _NUL in data and _holds(value, _nul):
        raise NotStorable("it holds a NUL, which PostgreSQL keeps in no text")
    return data


def as_json(arguments: object, *, limit_bytes: int) -> bytes:
    """Write a call's arguments, plain values or a pydantic model, as some JSON.

    Raises:
        NotStorable: it has none, or a longer one.
    """
    try:
        data = to_json(arguments, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise NotStorable("JSON has no form for it, or it is nested too deep") from error
    if len(data) > limit_bytes:
        raise NotStorable(f"it is longer than {limit_bytes:,} bytes as JSON")
    return data


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        nested = [one for one in level if isinstance(one, (dict, list, tuple))]
        depth += bool(nested)
        level = [item for one in nested for item in (one.values() if isinstance(one, dict) else one)]
    return depth


def _holds(value: Any, wanted: Callable[[Any], bool]) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting += one
        elif wanted(one):
            return True
    return False


def _nul(value: Any) -> bool:
    return isinstance(value, str) and "\0" in value


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _problems(error: ValidationError) -> tuple[str, ...]:
    found = error.errors(include_input=False, include_context=False, include_url=False)
    return tuple(f"{_place(one['loc'])}: {one['type']}" for one in found[:_MOST_PROBLEMS])


def _place(path: Iterable[object]) -> str:
    """Name a place, briefly: the names in it are the caller's."""
    place = "/".join(map(str, path)) or "the whole"
    return place if len(place) <= _LONGEST_PLACE else f"{place[:_LONGEST_PLACE]}…"
