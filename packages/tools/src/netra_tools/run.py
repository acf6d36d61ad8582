"""A run of a tool: what is kept of it, and how it may go on; pure."""

from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, field_validator

RunId = NewType("RunId", UUID)
TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
LONGEST_NAME: Final = 200


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self not in (RunState.PENDING, RunState.RUNNING)


FOLLOWS: Final = {
    RunState.PENDING: frozenset({RunState.RUNNING}),
    RunState.RUNNING: frozenset(state for state in RunState if state.ended),
}


class Caller(BaseModel):
    """On whose behalf a tool is called; `work` is what the call is part of, as an agent's run."""

    model_config = ConfigDict(frozen=True)

    tenant: TenantId
    user: UserId
    work: str | None = None

    @field_validator("tenant", "user", "work")
    @classmethod
    def _storable(cls, name: str | None) -> str | None:
        if name is not None:
            check_name(name)
        return name


class Run(BaseModel):
    """What is kept of a run."""

    model_config = ConfigDict(frozen=True)

    id: RunId
    tenant: TenantId
    user: UserId
    work: str | None
    tool: str
    version: str
    state: RunState
    claims: int
    attempts: int
    created_at: AwareDatetime
    due_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    error: str | None
    message: str | None


def check_name(name: str) -> str:
    """Return *name* if every store keeps it unchanged.

    Raises:
        ValueError: it is empty, longer than 200 characters, or holds what is no printable character.
    """
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} characters")
    if not name.isprintable():
        raise ValueError("a name holds printable characters only")
    return name
