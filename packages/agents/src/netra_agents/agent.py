"""An agent: a typed async callable with a name and a version, and what it may do in its turn."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from netra_agents.errors import TransientError
from netra_agents.payload import Codec
from netra_agents.run import Caller, RunId

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+\-]{0,63}")


class Tools(Protocol):
    """Runs tools for agents."""

    async def run(
        self, tool: str, arguments: Mapping[str, JsonValue], *, caller: Caller, key: str
    ) -> JsonValue:
        """Run a tool and return its result; calls with the same *key* are one call, also after a crash."""


class Message(BaseModel):
    """One message of a conversation with a language model."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class LanguageModel(Protocol):
    """Answers a conversation; an agent that needs one is given it when it is made."""

    async def answer(self, conversation: Sequence[Message]) -> Message:
        """Return the next message of the conversation."""


class Turn(Protocol):
    """What an agent may know and do while it works."""

    @property
    def run(self) -> RunId:
        """The run that the turn is part of."""

    @property
    def step(self) -> str:
        """The step of the plan."""

    @property
    def attempt(self) -> int:
        """How often the step was tried in this turn, from 1."""

    @property
    def caller(self) -> Caller:
        """On whose behalf."""

    async def think(self, thought: str) -> None:
        """Tell the user's screens what the agent is about."""

    async def tool(self, name: str, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """Run a tool, tell the user's screens, and return its result."""


@dataclass(frozen=True, eq=False)
class Agent(Generic[I, R]):
    """A named, versioned async callable that takes an `I` and returns an `R`.

    A change that makes another result of the same input is another *version*.

    Raises:
        ValueError: the name or the version can't be used.
    """

    name: str
    call: Callable[[I, Turn], Awaitable[R]]
    input: type[I]
    result: type[R]
    version: str = "1"
    takes: Codec[I] = field(init=False, repr=False)
    gives: Codec[R] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("an agent's name has 1 to 100 letters, digits, dots, hyphens or underscores")
        if not VERSION.fullmatch(self.version):
            raise ValueError(
                "an agent's version has 1 to 64 letters, digits, dots, hyphens, underscores or plus"
            )
        object.__setattr__(self, "takes", Codec(self.input))
        object.__setattr__(self, "gives", Codec(self.result))


@dataclass(frozen=True)
class RetryPolicy:
    """When a step that failed is tried again: after transient errors and attempts that took too long.

    The n-th wait is `first_wait` doubled n - 1 times, at most `longest_wait`, and not less than an error's
    `retry_after`. *errors* are further types that are worth another attempt.
    """

    attempts: int = 1
    first_wait: timedelta = timedelta(milliseconds=100)
    longest_wait: timedelta = timedelta(seconds=10)
    errors: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.first_wait, self.longest_wait) < timedelta(0):
            raise ValueError("a retry policy has at least one attempt, and no negative wait")

    def wait(self, error: Exception, made: int) -> timedelta | None:
        """Tell how long to wait after *made* attempts; None where no other follows."""
        if made >= self.attempts or not isinstance(error, (TransientError, TimeoutError, *self.errors)):
            return None
        wait: timedelta = min(self.first_wait * 2 ** min(made - 1, 30), self.longest_wait)
        asked = getattr(error, "retry_after", None)
        return max(wait, asked) if isinstance(asked, timedelta) else wait


AnyAgent = Agent[Any, Any]
