"""What a change of a JSON schema takes away from those who read by the old one."""

from collections.abc import Iterator, Mapping
from typing import Any

TIGHTER_WHEN_SMALLER = ("maximum", "maxLength", "exclusiveMaximum")


def taken_away(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Name each place in *new* at which a reader of *old* would no longer find what was promised."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in old:
            at = f"{where}/{key}"
            if key in ("description", "title"):
                continue
            if key not in new:
                yield f"{at} is gone"
            elif key == "required":
                yield from (f"{at} lost {name}" for name in old[key] if name not in new[key])
            elif key in ("oneOf", "anyOf", "enum"):
                yield from (f"{at} lost {one}" for one in old[key] if one not in new[key])
            else:
                yield from taken_away(old[key], new[key], at)
    elif old != new:
        yield f"{where} changed"
