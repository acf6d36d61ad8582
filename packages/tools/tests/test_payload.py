"""Equal calls have equal names, other calls have others, and a foreign schema reaches for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netra_tools import Context, json_schema_of, schema_tool
from netra_tools.payload import NotStorable, Schema, canonical

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(values)
def test_what_is_kept_reads_as_it_was(value: Any) -> None:
    """An argument that changes on its way would be answered for another."""
    assert json.loads(canonical(value, limit_bytes=10_000_000)) == value


@given(st.dictionaries(st.text("abcdef"), values, max_size=5), st.randoms())
def test_the_order_of_names_is_no_difference(value: dict[str, Any], chance: Any) -> None:
    """A model that writes the same call in another order gets the answer that is known."""
    items = list(value.items())
    chance.shuffle(items)

    assert canonical(dict(items), limit_bytes=10_000_000) == canonical(value, limit_bytes=10_000_000)


def test_what_holds_itself_is_refused() -> None:
    """A cycle has no end to write."""
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(NotStorable):
        canonical(cycle, limit_bytes=100)


@pytest.mark.parametrize("where", ["{file}", "http://127.0.0.1:9/schema"])
def test_a_schema_that_refers_elsewhere_is_refused(tmp_path: Path, where: str) -> None:
    """A schema of somebody else's must not make our servers read their files, or ask anybody."""
    file = tmp_path / "schema.json"
    file.write_text('{"type": "integer"}')

    with pytest.raises(ValueError, match="refers to another; write it out"):
        Schema({"$ref": where.format(file=file.as_uri())})


def test_types_that_are_named_as_in_python_are_translated() -> None:
    """Descriptions that models were tuned on are taken as they are, and unknown names are still refused."""
    described = {
        "type": "dict",
        "required": ["pair"],
        "properties": {
            "pair": {"type": "tuple", "items": {"type": "float"}},
            "what": {"type": "any", "description": "whatever", "optional": True},
        },
    }

    assert json_schema_of(described) == {
        "type": "object",
        "required": ["pair"],
        "properties": {
            "pair": {"type": "array", "items": {"type": "number"}},
            "what": {"description": "whatever"},
        },
        "additionalProperties": False,
    }


async def nothing(arguments: Any, _: Context) -> Any:
    """Return what came."""
    return arguments


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 129, "-a", "a\0"])
def test_a_tool_has_a_name_that_models_can_write(name: str) -> None:
    """A tool that nobody can call is refused when it is made."""
    with pytest.raises(ValueError, match="name"):
        schema_tool(name, nothing, {})
