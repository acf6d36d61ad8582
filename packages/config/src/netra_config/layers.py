"""Values as nested mappings: layered, compared, and written in one canonical way; pure."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import TypeGuard

from pydantic import JsonValue, SecretStr

from netra_config.errors import InputRefused

Path = tuple[str, ...]
Values = Mapping[str, JsonValue]
SEALED = frozenset({"sealed", "key"})
_DEEPEST = 32
_MOST_BITS = 4_096  # of a whole number; Python writes none of more than 4,300 digits
_MISSING = object()


def is_sealed(value: object) -> bool:
    """Tell a sealed secret, which is never looked into, from other mappings."""
    return isinstance(value, Mapping) and value.keys() == SEALED


def _is_inner(value: object) -> TypeGuard[Mapping[str, JsonValue]]:
    return isinstance(value, Mapping) and not is_sealed(value)


def merge(*layers: Values) -> dict[str, JsonValue]:
    """Lay *layers* over one another, the last on top.

    Mappings are merged key by key; anything else, lists and sealed secrets too, replaces what lies below.
    """
    merged: dict[str, JsonValue] = {}
    for layer in layers:
        for key, upper in layer.items():
            lower = merged.get(key)
            if _is_inner(upper):
                merged[key] = merge(lower, upper) if _is_inner(lower) else merge(upper)
            else:
                merged[key] = upper
    return merged


def leaves(values: Values, at: Path = ()) -> Iterator[tuple[Path, JsonValue]]:
    """Walk over what is no mapping with something in it, in order of the keys."""
    for key in sorted(values):
        value = values[key]
        if _is_inner(value) and value:
            yield from leaves(value, (*at, key))
        else:
            yield (*at, key), value


def found(values: Values, path: Path) -> object:
    """Return what stands at *path*, or a mark that is equal to nothing else."""
    value: object = values
    for key in path:
        if not _is_inner(value) or key not in value:
            return _MISSING
        value = value[key]
    return value


def has(values: Values, path: Path) -> bool:
    """Tell whether anything, null too, stands at *path*."""
    return found(values, path) is not _MISSING


def put(values: Values, path: Path, value: JsonValue) -> dict[str, JsonValue]:
    """Return *values* with *value* at *path*; what is in the way gives way."""
    key, *rest = path
    lower = values.get(key)
    inner = put(lower if _is_inner(lower) else {}, tuple(rest), value) if rest else value
    return {**values, key: inner}


def without(values: Values, path: Path) -> dict[str, JsonValue]:
    """Return *values* without what stands at *path*, and without mappings that this leaves empty."""
    key, *rest = path
    kept = {name: value for name, value in values.items() if name != key}
    inner = values.get(key)
    if rest and key in values:
        if not _is_inner(inner):
            return dict(values)
        if remaining := without(inner, tuple(rest)):
            kept[key] = remaining
    return kept


def parse(path: str) -> Path:
    """Read ``limits.retries``, or a JSON pointer, ``/limits/retries``, for keys that hold dots.

    Raises:
        InputRefused: it has an empty part, or no text at all.

    Source:
        RFC 6901, JSON Pointer.
    """
    if path.startswith("/"):
        parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
        return tuple(parts)
    parts = path.split(".")
    if not all(parts):
        raise InputRefused("a path with an empty part", "write it as limits.retries, or as /limits/retries")
    return tuple(parts)


def pointer(path: Path) -> str:
    """Write *path* as a JSON pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def canonical(value: JsonValue | Values) -> str:
    """Write JSON the one way: keys sorted, no spaces, every character itself."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def problem(value: object, depth: int = 0) -> str | None:
    """Tell what keeps *value* from coming back equal after it was written as JSON, or None."""
    if depth > _DEEPEST:
        return f"it is nested deeper than {_DEEPEST}"
    match value:
        case None | bool():
            return None
        case int():
            return None if value.bit_length() <= _MOST_BITS else "it has too many digits"
        case str():
            return None if _is_unicode(value) else "it holds half a character"
        case float():
            return None if math.isfinite(value) else "it is not a finite number"
        case dict():
            return _first(part for pair in value.items() for part in _pair_problems(*pair, depth))
        case list():
            return _first(problem(one, depth + 1) for one in value)
        case _:
            return "it is no JSON"


def plain(value: object, depth: int = 0) -> JsonValue:
    """Write *value*, as it was read from settings in memory or typed, as JSON values, secrets as their text.

    What is no JSON, or nested too deep, is left for `problem` to name.
    """
    match value:
        case _ if depth > _DEEPEST:
            pass
        case SecretStr():
            return value.get_secret_value()
        case Mapping():
            return {key: plain(one, depth + 1) for key, one in value.items()}
        case list() | tuple():
            return [plain(one, depth + 1) for one in value]
    return value  # type: ignore[return-value]


def _pair_problems(key: object, value: object, depth: int) -> Iterator[str | None]:
    yield None if isinstance(key, str) and _is_unicode(key) else "a key of it is no text"
    yield problem(value, depth + 1)


def _first(problems: Iterator[str | None]) -> str | None:
    return next((one for one in problems if one is not None), None)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
