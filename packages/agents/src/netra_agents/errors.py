"""What can go wrong with agents and their runs.

AgentsError
├── PlanRefused             the graph is not one that can be followed
├── RunRefused              the run was not begun
│   ├── InvalidInput
│   └── KeyReused
├── RunEnded                the run ended without a result
│   ├── RunFailed
│   ├── RunTimedOut
│   └── RunCancelled
├── RunNotFound
├── StillRunning
├── NotParked
├── EngineUnavailable       no run can be carried in this process
└── StoreUnavailable

AgentError                  what an agent raises itself, with a message for users
└── TransientError          … and which may be gone if the agent is asked again
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netra_agents.run import RunId


class AgentsError(Exception):
    """Base of every error that netra_agents raises on purpose."""


class PlanRefused(AgentsError, ValueError):
    """The steps make no plan; `problems` names each fault, and the step that has it."""

    def __init__(self, plan: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"the plan {plan} can't be followed ({'; '.join(problems[:5])}); correct its steps")
        self.plan = plan
        self.problems = problems


class RunRefused(AgentsError):
    """The run was refused; nothing was begun."""


class InvalidInput(RunRefused):
    """The input is not what the plan takes; `problems` names the places and the rules, never the values."""

    def __init__(self, plan: str, problems: tuple[str, ...]) -> None:
        shown = "; ".join(problems[:5])
        super().__init__(f"the input doesn't fit the plan {plan} ({shown}); give what its input says")
        self.plan = plan
        self.problems = problems


class KeyReused(RunRefused):
    """The idempotency key was used before, for another plan or another input."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the idempotency key belongs to a run of another plan or input; use a new key")
        self.run = run


class RunEnded(AgentsError):
    """A run ended without a result; its row says the same."""

    def __init__(self, message: str, run: RunId) -> None:
        super().__init__(message)
        self.run = run


class RunFailed(RunEnded):
    """A step that the run can't do without failed; `error` is the kind, `reason` what it says to users."""

    def __init__(self, run: RunId, error: str, reason: str) -> None:
        super().__init__(f"the run failed ({error}): {reason}", run)
        self.error = error
        self.reason = reason


class RunTimedOut(RunEnded):
    """The run was not done in time."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the run was not done in time; ask for less, or allow it more time", run)


class RunCancelled(RunEnded):
    """The run was cancelled."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the run was cancelled; begin another if its result is still wanted", run)


class RunNotFound(AgentsError):
    """The tenant has no run of this id."""

    def __init__(self) -> None:
        super().__init__("the tenant has no such run; check the id and the tenant")


class StillRunning(AgentsError):
    """The run did not end within the time that the caller would wait."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the result is not there yet; ask for it again later")
        self.run = run


class NotParked(AgentsError):
    """Only a run that was set aside can be released."""

    def __init__(self, run: RunId) -> None:
        super().__init__("the run is not parked; only those that were set aside are released")
        self.run = run


class EngineUnavailable(AgentsError):
    """The engine can't carry runs in this process; the message says what to do."""


class StoreUnavailable(AgentsError):
    """A store did not answer within the deadline."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store


class AgentError(Exception):
    """Raised by an agent: it can't do what it was asked; the message is kept and shown to users."""


class TransientError(AgentError):
    """Raised by an agent: another attempt may succeed, once *retry_after* is over where it is known."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
