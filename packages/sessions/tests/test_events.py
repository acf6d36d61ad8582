"""What a screen was written for keeps arriving the way it was promised."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netra_sessions.events import DATA, GATEWAY_FRAME, contract, order, published_schema

from .additions import taken_away

RELEASED = sorted(Path(__file__).parent.glob("events-*.schema.json"))
ENVELOPE = {
    "id": "1700000000000-1", "previous": "0-0", "sequence": 1, "event_id": "e1", "user": "alice", "run": "r1",
    "time": "2026-01-01T00:00:00Z",
}  # fmt: skip
SMALLEST = {"agent": {"agent": "triage"}, "partial": {"agent": "triage"}, "tool": {"tool": "bills"}}


def test_the_published_schema_is_what_the_code_sends() -> None:
    """Who reads the schema reads the truth."""
    assert published_schema() == contract()


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
def test_the_contract_only_adds_to_what_was_released(released: Path) -> None:
    """A screen written for an older release understands all that it was promised."""
    assert list(taken_away(json.loads(released.read_text()), contract())) == []


def rename_a_kind(schema: dict[str, Any]) -> None:
    schema["$defs"]["ToolExecutingEvent"]["properties"]["kind"]["const"] = "tool_started"


def drop_a_field(schema: dict[str, Any]) -> None:
    del schema["$defs"]["ToolCompleted"]["properties"]["outcome"]


def make_optional(schema: dict[str, Any]) -> None:
    schema["$defs"]["AgentStarted"]["required"].remove("agent")


def change_a_type(schema: dict[str, Any]) -> None:
    schema["$defs"]["AgentStartedEvent"]["properties"]["sequence"]["type"] = "string"


def drop_an_outcome(schema: dict[str, Any]) -> None:
    schema["$defs"]["ToolCompleted"]["properties"]["outcome"]["enum"].remove("failed")


def drop_a_kind(schema: dict[str, Any]) -> None:
    schema["oneOf"].pop()


@pytest.mark.parametrize(
    "change", [rename_a_kind, drop_a_field, make_optional, change_a_type, drop_an_outcome, drop_a_kind]
)
def test_a_change_that_takes_away_is_found(change: Callable[[dict[str, Any]], None]) -> None:
    """The guard itself sees what it is there to see."""
    changed = copy.deepcopy(contract())
    change(changed)

    assert list(taken_away(contract(), changed))


def test_a_change_that_adds_is_let_through() -> None:
    """The contract may grow."""
    changed = copy.deepcopy(contract())
    changed["$defs"]["AgentStarted"]["properties"]["goal"] = {"type": "string"}
    changed["oneOf"].append({"$ref": "#/$defs/AgentRested"})

    assert list(taken_away(contract(), changed)) == []


@pytest.mark.parametrize("kind", DATA)
def test_what_a_producer_adds_is_passed_on(kind: str) -> None:
    """A newer producer can tell a newer screen more, without a release in between."""
    data = {**SMALLEST[kind.split("_")[0]], "more": [1, None]}

    event = GATEWAY_FRAME.validate_python({**ENVELOPE, "kind": kind, "data": data})

    assert event.data.model_dump()["more"] == [1, None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1",
        "a-b",
        "1-",
        "-1-1",
        "1--1",
        "1_0-0",
        " 1-0",
        "+1-0",
        "\N{FULLWIDTH DIGIT ONE}-0",
        f"{2**64}-0",
        f"0-{2**64}",
        "9" * 5_000,
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    """A place in the history is two numbers, and nothing else reaches Redis."""
    with pytest.raises(ValueError, match="a position"):
        order(text)


def test_positions_compare_as_numbers_do() -> None:
    """The tenth event of a millisecond comes after the ninth."""
    assert order("5-9") < order("5-10") < order("10-0")
    assert order(b"5-10") == order("5-10")
