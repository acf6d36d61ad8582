"""Inputs and results as JSON that every store keeps unchanged; pure."""

import json
import math
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json

T = TypeVar("T")
DEEPEST: Final = 100  # levels of arrays and objects: every reader of JSON takes that many
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Misfit(ValueError):
    """A value is not of its type, or no store keeps it; `problems` names places and rules, never values."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Codec(Generic[T]):
    """Reads values of a type from plain JSON, checking them, and writes them as plain JSON."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self.schema = self._adapter.json_schema()

    def read(self, value: Any) -> T:
        """Make a value of plain JSON.

        Raises:
            Misfit: it is not of this type.
        """
        try:
            return self._adapter.validate_json(_ENCODER.encode(value))
        except ValidationError as error:
            raise Misfit(*_problems(error)) from None

    def plain(self, value: object, *, limit_bytes: int) -> Any:
        """Make plain JSON of a value, the same for equal ones.

        Raises:
            Misfit: it is not of this type, or no JSON that every store keeps says the same.
        """
        try:
            checked = self._adapter.validate_python(value)
            plain = self._adapter.dump_python(checked, mode="json")
        except ValidationError as error:
            raise Misfit(*_problems(error)) from None
        except (PydanticSerializationError, RecursionError, ValueError) as error:
            raise Misfit("JSON has no form for it, or it is nested too deep") from error
        written = canonical(plain, limit_bytes=limit_bytes)
        if "null" in written and _holds(self._adapter.dump_python(checked), _not_finite):
            raise Misfit("it holds NaN or an infinity")  # which pydantic writes as null where it may
        return from_json(written)


def canonical(value: Any, *, limit_bytes: int, deepest: int = DEEPEST) -> str:
    """Write plain *value* as JSON, the same text for equal values: sorted names and no spaces.

    Raises:
        Misfit: NaN, an infinity, a lone surrogate, a NUL, a cycle, too deep or too long.
    """
    try:
        text = _ENCODER.encode(value)
        length = len(text.encode())
    except RecursionError:
        raise Misfit(f"it is nested deeper than {deepest} levels") from None
    except UnicodeEncodeError:
        raise Misfit("it holds a lone surrogate, which is no character") from None
    except ValueError as error:
        raise Misfit("it holds NaN, an infinity, or itself") from error
    except TypeError as error:
        raise Misfit("JSON has no form for it") from error
    if length > limit_bytes:
        raise Misfit(f"it is longer than {limit_bytes:,} bytes as JSON")
    if text.count("[") + text.count("{") > deepest and _exceeds(value, deepest):
        raise Misfit(f"it is nested deeper than {deepest} levels")
    if "\\u0000" in text and _holds(value, _nul):
        raise Misfit("it holds a NUL, which PostgreSQL keeps in no text")
    return text


def words(text: str, *, longest: int) -> str:
    """Cut *text* to what every store and every screen takes."""
    kept = text[:longest].encode(errors="replace").decode()
    return kept.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _exceeds(value: Any, deepest: int) -> bool:
    depth, level = 0, [value]
    while level and depth <= deepest:
        nested = [one for one in level if isinstance(one, (dict, list, tuple))]
        depth += bool(nested)
        level = [item for one in nested for item in (one.values() if isinstance(one, dict) else one)]
    return depth > deepest


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
    return tuple(f"{'/'.join(map(str, one['loc'])) or 'the whole'}: {one['type']}" for one in found)
