"""A call of a tool, what comes of it, and what its run's row says of it; pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar

from netra_tools.cache import CacheUse
from netra_tools.errors import (
    InvalidArguments,
    ResultRefused,
    RunCancelled,
    ToolFailed,
    ToolTimedOut,
)
from netra_tools.payload import Misfit, NotStorable, as_json
from netra_tools.run import RunId, RunState, check_name
from netra_tools.store import Ending, NewRun, Stored
from netra_tools.tool import Tool

R = TypeVar("R")
_SHORTEST: Final = timedelta(milliseconds=1)
_LONGEST: Final = timedelta(days=366)


@dataclass(frozen=True)
class Call(Generic[R]):
    """A tool and what to call it with.

    Args:
        tool: the tool, or its name as a model says it.
        arguments: a mapping, as a model writes it, or a pydantic model.
        key: an idempotency key: calls of a tenant with one key are one run.
        within: how long the run may take with all its attempts; what the tool needs at most, if None.
        max_age: how old a cached result may be; as old as the tool's policy allows, if None.
        bypass: ask the tool itself, and leave the cache alone.
    """

    tool: Tool[Any, R] | str
    arguments: object
    key: str | None = None
    within: timedelta | None = None
    max_age: timedelta | None = None
    bypass: bool = False


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """A result, the run that it is of, if this call made one, and what the cache had to do with it.

    `age` is how long ago the result was made, zero for one of this call.
    """

    result: R
    run: RunId | None
    cache: CacheUse
    age: timedelta


class CheckedCall(NamedTuple):
    """A call that is in order."""

    tool: Tool[Any, Any]
    new: NewRun
    due: float


def canonical_arguments(tool: Tool[Any, Any], arguments: object, *, limit_bytes: int) -> bytes:
    """Check *arguments* against what the tool takes, and write them the same way for equal calls.

    Raises:
        InvalidArguments: they don't fit, or no store would keep them unchanged.
    """
    try:
        return tool.input.rewrite(as_json(arguments, limit_bytes=limit_bytes), limit_bytes=limit_bytes)
    except NotStorable as error:
        raise InvalidArguments(tool.name, (str(error),)) from None
    except Misfit as error:
        raise InvalidArguments(tool.name, error.problems) from None


def checked_terms(tool: Tool[Any, Any], call: Call[Any]) -> timedelta:
    """Check a call's key and time, and return how long the run may take.

    Raises:
        InvalidArguments: no store would keep the key, or the time is shorter than 1 ms or longer than a year.
    """
    patience = tool.patience if call.within is None else call.within
    if not _SHORTEST <= patience <= _LONGEST:
        raise InvalidArguments(tool.name, ("within: it lies between 1 ms and 366 days",))
    try:
        if call.key is not None:
            check_name(call.key)
    except ValueError as error:
        raise InvalidArguments(tool.name, (f"key: {error}",)) from None
    return patience


def ending_of(stored: Stored) -> Ending:
    """Tell how a run ended that did."""
    run = stored.run
    return Ending(run.state, stored.result, run.error, run.message, run.attempts)


def result_of(run: RunId, ending: Ending) -> bytes:
    """Return the result that a run ended with, as JSON.

    Raises:
        RunEnded: it has none.
    """
    if ending.result is not None:
        return ending.result
    if ending.state is RunState.CANCELLED:
        raise RunCancelled(run)
    if ending.state is RunState.TIMED_OUT:
        raise ToolTimedOut(run)
    error, message = ending.error or "", ending.message or ""
    if error == ResultRefused.__name__:
        raise ResultRefused(run, message)
    raise ToolFailed(run, error, message)
