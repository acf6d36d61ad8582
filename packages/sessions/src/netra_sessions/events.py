"""What travels between a run, the gateway and a user's screens: the contract, published as JSON schema.

`events.schema.json` in this package is `contract()` written down; a change may only add to it.
"""

from datetime import datetime
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, TypeAdapter
from pydantic_core import from_json

START: Final = "0-0"  # the position before a user's first event
_NEWEST = 2**64 - 1
_LONGEST = 41


def order(position: str | bytes) -> tuple[int, int]:
    """Return what positions compare by.

    Raises:
        ValueError: it is no position.
    """
    text = position if isinstance(position, str) else position.decode("ascii", "replace")
    milliseconds, _, number = text.partition("-")
    if text.isascii() and milliseconds.isdigit() and number.isdigit() and len(text) <= _LONGEST:
        compared = int(milliseconds), int(number)
        if max(compared) <= _NEWEST:
            return compared
    raise ValueError("a position is two numbers of 64 bits with a dash between them")


def _in_order(position: str) -> str:
    order(position)
    return position


Position = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}-[0-9]{1,20}$"), AfterValidator(_in_order)]
"""Where an event stands in its user's history; compared as two numbers, see `order`."""
Name = Annotated[str, Field(min_length=1, max_length=256)]


class _Data(BaseModel):
    """What one kind of event says; producers may say more, and it is passed on."""

    model_config = ConfigDict(frozen=True, extra="allow")


class AgentStarted(_Data):
    """An agent took up its work."""

    agent: Name


class AgentThinking(_Data):
    """An agent says what it is about."""

    agent: Name
    thought: str = ""


class ToolExecuting(_Data):
    """A tool is being run; *call* is the same in what follows for this run of it."""

    tool: Name
    call: str | None = None
    agent: str | None = None


class ToolCompleted(_Data):
    """A tool's run is over, also when it failed or was cancelled."""

    tool: Name
    call: str | None = None
    agent: str | None = None
    outcome: Literal["completed", "failed", "timed_out", "cancelled"] = "completed"


class AgentCompleted(_Data):
    """An agent is done."""

    agent: Name
    result: JsonValue = None


class AgentFailed(_Data):
    """An agent gave up; *error* is a sentence for the user."""

    agent: Name
    error: str = ""


class PartialResult(_Data):
    """A part of what an agent will say, before it is done."""

    agent: Name
    content: JsonValue = None


class Envelope(BaseModel, frozen=True):
    """What every event of a run carries.

    `id` is its place in the user's history and `previous` the place of the event before it: a reader whose
    last one is another has missed something. `sequence` counts the user's events, and starts anew where the
    history was lost. `event_id` is the producer's own: an event sent twice has the same one.
    """

    id: Position
    previous: Position
    sequence: int = Field(ge=1)
    event_id: Name
    user: Name
    run: Name
    time: datetime


class AgentStartedEvent(Envelope, frozen=True):
    """An `agent_started` event."""

    kind: Literal["agent_started"]
    data: AgentStarted


class AgentThinkingEvent(Envelope, frozen=True):
    """An `agent_thinking` event."""

    kind: Literal["agent_thinking"]
    data: AgentThinking


class ToolExecutingEvent(Envelope, frozen=True):
    """A `tool_executing` event."""

    kind: Literal["tool_executing"]
    data: ToolExecuting


class ToolCompletedEvent(Envelope, frozen=True):
    """A `tool_completed` event."""

    kind: Literal["tool_completed"]
    data: ToolCompleted


class AgentCompletedEvent(Envelope, frozen=True):
    """An `agent_completed` event."""

    kind: Literal["agent_completed"]
    data: AgentCompleted


class AgentFailedEvent(Envelope, frozen=True):
    """An `agent_failed` event."""

    kind: Literal["agent_failed"]
    data: AgentFailed


class PartialResultEvent(Envelope, frozen=True):
    """A `partial_result` event."""

    kind: Literal["partial_result"]
    data: PartialResult


class Connected(BaseModel, frozen=True):
    """The gateway's first word: events after the position *at* follow."""

    kind: Literal["connected"] = "connected"
    connection: str
    at: Position


class Gap(BaseModel, frozen=True):
    """The history no longer holds what came right after *after*: events may be missing.

    What follows comes after *at*; *before* is the first of it, or None where nothing is left.
    """

    kind: Literal["gap"] = "gap"
    after: Position
    before: Position | None
    at: Position


class Pong(BaseModel, frozen=True):
    """The answer to a client's ping of the same number."""

    kind: Literal["pong"] = "pong"
    number: int


class FrameRefused(BaseModel, frozen=True):
    """A frame of the client's said nothing that the gateway understands; the connection stays."""

    kind: Literal["error"] = "error"
    code: Literal["invalid", "out_of_order"]
    message: str


class Ping(BaseModel, frozen=True):
    """A client's question whether the gateway is there; each has a higher *number* than the one before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["ping"]
    number: int = Field(ge=0, lt=2**53)


_AnyRunEvent = (
    AgentStartedEvent
    | AgentThinkingEvent
    | ToolExecutingEvent
    | ToolCompletedEvent
    | AgentCompletedEvent
    | AgentFailedEvent
    | PartialResultEvent
)
RunEvent = Annotated[_AnyRunEvent, Field(discriminator="kind")]
GatewayFrame = Annotated[_AnyRunEvent | Connected | Gap | Pong | FrameRefused, Field(discriminator="kind")]

DATA: Final[dict[str, type[_Data]]] = {
    "agent_started": AgentStarted,
    "agent_thinking": AgentThinking,
    "tool_executing": ToolExecuting,
    "tool_completed": ToolCompleted,
    "agent_completed": AgentCompleted,
    "agent_failed": AgentFailed,
    "partial_result": PartialResult,
}
GATEWAY_FRAME: Final[TypeAdapter[Any]] = TypeAdapter(GatewayFrame)


def contract() -> dict[str, Any]:
    """Build the JSON schema of what the gateway sends, and, as `$defs/Ping`, of what it takes."""
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        ("sent", "validation", GATEWAY_FRAME),
        ("taken", "validation", TypeAdapter(Ping)),
    ]
    roots, definitions = TypeAdapter.json_schemas(adapters, title="Events of netra-sessions")
    return {**definitions, **roots["sent", "validation"]}


def published_schema() -> dict[str, Any]:
    """Read the contract that this package was released with."""
    schema = from_json(files("netra_sessions").joinpath("events.schema.json").read_bytes())
    assert isinstance(schema, dict)
    return schema
