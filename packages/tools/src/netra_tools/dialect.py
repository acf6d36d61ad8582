"""Tool descriptions that name types as Python does, written as JSON Schema; pure."""

from collections.abc import Mapping
from typing import Any, Final

_TYPES: Final = {
    "dict": "object", "float": "number", "double": "number", "tuple": "array", "list": "array", "int": "integer",
    "bool": "boolean", "str": "string",
}  # fmt: skip
_KEPT: Final = (
    "description",
    "enum",
    "required",
    "default",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "format",
)


def json_schema_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Write *parameters* as JSON Schema; names that they don't list are refused, but in an object without any.

    Args:
        parameters: as the Berkeley Function Calling Leaderboard and prompts for models have them, with `dict`,
            `float`, `tuple` and `any` among the types.
    """
    schema = {word: parameters[word] for word in _KEPT if word in parameters}
    kind = parameters.get("type", "any")
    if kind != "any":
        schema["type"] = _TYPES.get(kind, kind)
    if "properties" in parameters:
        schema["properties"] = {name: json_schema_of(one) for name, one in parameters["properties"].items()}
        schema["additionalProperties"] = False
    if "items" in parameters:
        schema["items"] = json_schema_of(parameters["items"])
    return schema
