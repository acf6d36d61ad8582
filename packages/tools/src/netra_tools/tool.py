"""A tool: a typed async callable, and the rules under which it is called."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from netra_tools.payload import Codec, Schema, Typed
from netra_tools.retry import RetryPolicy
from netra_tools.run import Caller, RunId

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./\-]{0,127}")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+\-]{0,63}")


class CachePolicy(BaseModel):
    """How long a result answers equal calls, and how long it may be as JSON to be kept."""

    model_config = ConfigDict(frozen=True)

    lasts: timedelta = timedelta(hours=1)
    limit_bytes: int = Field(default=1_048_576, ge=1)

    @model_validator(mode="after")
    def _lasts_a_while(self) -> Self:
        if self.lasts < timedelta(milliseconds=1):
            raise ValueError("lasts is at least one millisecond")
        return self


class BreakerPolicy(BaseModel):
    """When a tool that fails is given a rest.

    It rests for `rest` once `failures` calls, and at least `ratio` of all, failed within `window`, counted over
    all workers. Then `probes` calls are let through: if all succeed the rest is over, if one fails it begins anew.
    """

    model_config = ConfigDict(frozen=True)

    failures: int = Field(default=5, ge=1)
    ratio: float = Field(default=0.5, ge=0, le=1)
    window: timedelta = timedelta(seconds=30)
    rest: timedelta = timedelta(seconds=15)
    probes: int = Field(default=1, ge=1)


class WhenLost(StrEnum):
    """What becomes of a run whose worker died while the tool ran."""

    FAIL = "fail"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class Context:
    """What a tool may know of its call; `run` stays the same over all attempts."""

    caller: Caller
    run: RunId | None
    attempt: int


@dataclass(frozen=True, eq=False)
class Tool(Generic[I, R]):
    """A named, versioned async callable that takes an `I` and returns an `R`.

    `timeout` ends one attempt. `when_lost` is REPEAT only for tools that may run twice without harm.

    Raises:
        ValueError: the name, the version or the timeout can't be used.
    """

    name: str
    call: Callable[[I, Context], Awaitable[R]]
    input: Codec[I]
    result: Codec[R]
    version: str = "1"
    description: str = ""
    timeout: timedelta = timedelta(seconds=5)
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(attempts=1))
    cache: CachePolicy | None = None
    breaker: BreakerPolicy | None = field(default_factory=BreakerPolicy)
    permission: str | None = None
    when_lost: WhenLost = WhenLost.FAIL

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                "a tool's name has 1 to 128 letters, digits, dots, slashes, hyphens or underscores"
            )
        if not _VERSION.fullmatch(self.version):
            raise ValueError(
                "a tool's version has 1 to 64 letters, digits, dots, hyphens, underscores or plus"
            )
        if self.timeout < timedelta(milliseconds=1):
            raise ValueError("a tool's timeout is at least one millisecond")

    @classmethod
    def typed(
        cls,
        name: str,
        call: Callable[[I, Context], Awaitable[R]],
        input: type[I],
        result: type[R],
        **rules: Any,
    ) -> Self:
        """Make a tool whose input and result are pydantic models, or types that pydantic knows."""
        return cls(name, call, Typed(input), Typed(result), **rules)

    @cached_property
    def patience(self) -> timedelta:
        """How long a run with all its attempts takes at most, unless its caller says otherwise."""
        waits = self.retry.longest_wait * (self.retry.attempts - 1)
        return self.timeout * self.retry.attempts + waits


def schema_tool(
    name: str, call: Callable[[Any, Context], Awaitable[Any]], schema: Mapping[str, JsonValue], **rules: Any
) -> Tool[Any, Any]:
    """Make a tool whose arguments a JSON Schema describes; its result is any JSON.

    Raises:
        ValueError: *schema* is no valid JSON Schema.
    """
    return Tool(name, call, Schema(schema), Schema({}), **rules)
