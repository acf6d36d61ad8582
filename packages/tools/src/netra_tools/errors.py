"""What can go wrong with a tool.

ToolsError
├── CallRefused             the tool was not called
│   ├── ToolNotFound
│   ├── InvalidArguments
│   ├── PermissionDenied
│   ├── KeyReused
│   └── CircuitOpen
├── RunEnded                the run is a row that ended without a result
│   ├── ToolFailed
│   │   └── ResultRefused
│   ├── ToolTimedOut
│   └── RunCancelled
├── RunNotFound
├── StillRunning
└── StoreUnavailable

ToolError                   what a tool raises itself, with a message for users
└── TransientError          … and which may be gone if the tool is called again
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netra_tools.run import RunId


class ToolsError(Exception):
    """Base of every error that netra_tools raises on purpose."""


class CallRefused(ToolsError):
    """The call was refused; the tool was not called."""


class ToolNotFound(CallRefused):
    """No tool of this name, or of this version of it, is registered here."""

    def __init__(self) -> None:
        super().__init__("no such tool is registered; ask the registry which tools there are")


class InvalidArguments(CallRefused):
    """The arguments are not what the tool takes; `problems` names the places and the rules, never the values."""

    def __init__(self, tool: str, problems: tuple[str, ...]) -> None:
        shown = "; ".join(problems[:5])
        super().__init__(f"the arguments don't fit the tool {tool} ({shown}); call it as its schema says")
        self.tool = tool
        self.problems = problems


class PermissionDenied(CallRefused):
    """The caller lacks the permission that the tool asks for."""

    def __init__(self, tool: str, permission: str) -> None:
        super().__init__(f"the tool {tool} needs the permission {permission}; ask an administrator for it")
        self.tool = tool
        self.permission = permission


class KeyReused(CallRefused):
    """The idempotency key was used before, for a call with other arguments."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the idempotency key belongs to a call with other arguments; use a new key")
        self.run = run


class CircuitOpen(CallRefused):
    """The tool fails too often to be called now."""

    def __init__(self, tool: str, retry_after: timedelta) -> None:
        seconds = max(0.0, retry_after.total_seconds())
        super().__init__(f"the tool {tool} fails too often; try again in {seconds:.1f} s")
        self.tool = tool
        self.retry_after = retry_after


class RunEnded(ToolsError):
    """A run ended without a result; its row says the same."""

    def __init__(self, message: str, run: RunId) -> None:
        super().__init__(message)
        self.run = run


class ToolFailed(RunEnded):
    """The tool raised; `error` is the name of what it raised, `reason` what it says to users."""

    def __init__(self, run: RunId, error: str, reason: str) -> None:
        super().__init__(f"the tool failed ({error}): {reason}", run)
        self.error = error
        self.reason = reason


class ResultRefused(ToolFailed):
    """The tool returned what can't be kept; `reason` names the rule that it breaks."""

    def __init__(self, run: RunId, reason: str) -> None:
        super().__init__(run, "ResultRefused", reason)


class ToolTimedOut(RunEnded):
    """The tool was not done in time."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the tool was not done in time; ask for less, or allow it more time", run)


class RunCancelled(RunEnded):
    """The run was cancelled, and the tool with it."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the run was cancelled; call the tool again if its result is still wanted", run)


class RunNotFound(ToolsError):
    """The tenant has no run of this id."""

    def __init__(self) -> None:
        super().__init__("the tenant has no such run; check the id and the tenant")


class StillRunning(ToolsError):
    """No result came within the time that the caller would wait; `run` is None where another call computes it."""

    def __init__(self, run: RunId | None) -> None:
        super().__init__("the result is not there yet; ask for it again later")
        self.run = run


class StoreUnavailable(ToolsError):
    """A store did not answer within the deadline."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store


class ToolError(Exception):
    """Raised by a tool: it can't do what it was asked; the message is kept and shown to users."""


class TransientError(ToolError):
    """Raised by a tool: another attempt may succeed, once *retry_after* is over where it is known."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
