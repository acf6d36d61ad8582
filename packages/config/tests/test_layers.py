"""What lies on top wins, value by value, and a text comes back as it was written."""

import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from netra_config import Edit, InputRefused, settings
from netra_config.layers import canonical, leaves, merge, parse, pointer, problem, put, without
from netra_config.schema import Schema

KEYS = st.sampled_from(["a", "b", "c", "key", "sealed", "/", "~1", ""])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYS, one, max_size=3), max_leaves=8
)
VALUES = st.dictionaries(KEYS, JSON, max_size=4)
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)
FEW, MANY = (hypothesis.settings(max_examples=examples) for examples in (25, 2_000))


def is_branch(value: object) -> bool:
    return isinstance(value, dict) and set(value) != {"sealed", "key"}


def seen_from_above(layers: list[Any]) -> Any:
    """Say what shows at one place: the topmost value, or the branches on top of one another down to the first value."""
    if not is_branch(layers[-1]):
        return layers[-1]
    branches: list[Any] = []
    for layer in reversed(layers):
        if not is_branch(layer):
            break
        branches.insert(0, layer)
    keys = {key for branch in branches for key in branch}
    return {key: seen_from_above([branch[key] for branch in branches if key in branch]) for key in keys}


@FEW
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_layers_show_what_is_seen_from_above(layers: list[dict[str, JsonValue]]) -> None:
    """Two ways to say the same rule agree: building up from below, and looking down from above."""
    stack = [layer if is_branch(layer) else {"x": layer} for layer in layers]

    assert merge(*stack) == seen_from_above(stack)


@FEW
@given(VALUES, VALUES, VALUES)
def test_layers_may_be_merged_in_any_grouping(one: Any, two: Any, three: Any) -> None:
    """A team that merges its files first gets what it would have got otherwise, where no value hides a branch."""
    flat = [{pointer(path): value for path, value in leaves(layer)} for layer in (one, two, three)]

    assert merge(merge(flat[0], flat[1]), flat[2]) == merge(flat[0], merge(flat[1], flat[2])) == merge(*flat)


@FEW
@given(VALUES, VALUES)
def test_merging_changes_no_layer(lower: Any, upper: Any) -> None:
    """The environment's own layer is shared by every tenant."""
    before = canonical([lower, upper])

    merge(lower, upper)

    assert canonical([lower, upper]) == before


@FEW
@given(VALUES, PATHS, JSON)
def test_what_is_put_is_there_and_gone_once_it_is_removed(
    values: Any, path: tuple[str, ...], value: Any
) -> None:
    """Setting and unsetting touch one place."""
    found: Any = put(values, path, value)
    for key in path:
        found = found[key]

    assert found == value
    assert pointer(path) not in {pointer(one) for one, _ in leaves(without(put(values, path, 1), path))}


@given(PATHS)
def test_a_pointer_leads_back_to_its_path(path: tuple[str, ...]) -> None:
    """Keys with slashes, tildes or no text at all can be reached."""
    assert parse(pointer(path)) == path


@FEW
@given(VALUES)
def test_a_canonical_text_comes_back_and_is_the_only_one(values: Any) -> None:
    """Two documents are equal where their texts are, byte for byte."""
    text = canonical(values)

    assert json.loads(text) == values
    assert canonical(turned(values)) == text


@pytest.mark.soak
@pytest.mark.parametrize(
    ("rule", "drawn"),
    [
        (test_layers_show_what_is_seen_from_above, [st.lists(VALUES, min_size=1, max_size=4)]),
        (test_layers_may_be_merged_in_any_grouping, [VALUES, VALUES, VALUES]),
        (test_merging_changes_no_layer, [VALUES, VALUES]),
        (test_what_is_put_is_there_and_gone_once_it_is_removed, [VALUES, PATHS, JSON]),
        (test_a_canonical_text_comes_back_and_is_the_only_one, [VALUES]),
    ],
    ids=["seen from above", "any grouping", "no layer changes", "put and removed", "canonical"],
)
def test_a_rule_of_layers_holds_for_thousands(rule: Any, drawn: list[st.SearchStrategy[Any]]) -> None:
    """The same, for thousands of documents."""
    inner: Callable[..., None] = rule.hypothesis.inner_test

    MANY(given(*drawn)(inner))()


def turned(value: Any) -> Any:
    """Turn the order of every mapping around."""
    if isinstance(value, dict):
        return {key: turned(one) for key, one in reversed(value.items())}
    return list(map(turned, value)) if isinstance(value, list) else value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        object(),
        [b""],
        json.loads("[" * 40 + "]" * 40),
    ],
    ids=[
        "not a number",
        "infinite",
        "half a character",
        "as key",
        "number as key",
        "object",
        "bytes",
        "deep",
    ],
)
def test_what_would_not_come_back_equal_is_found(value: Any) -> None:
    """A mistake shows where it is made, and not when somebody reads it."""
    assert problem(value) is not None


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b"])
def test_a_path_with_an_empty_part_is_refused(path: str) -> None:
    """A slip of the finger sets nothing at a place nobody looks at."""
    with pytest.raises(InputRefused):
        parse(path)


def test_an_edit_shows_no_value() -> None:
    """What may hold a password stays out of logs."""
    assert "sesame" not in repr(Edit(set={"password": "open sesame"}, flags={"a": {"default": "sesame"}}))


def test_a_schema_that_readers_could_change_is_refused() -> None:
    """One process-wide snapshot is shared by every request."""

    @settings
    class Lists:
        names: list[str]

    with pytest.raises(TypeError, match="a reader could change what stands at /names"):
        Schema(Lists)
