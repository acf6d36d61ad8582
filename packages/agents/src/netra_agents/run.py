"""A run of a plan: what is kept of it, and on whose behalf it goes; pure."""

from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, field_validator

RunId = NewType("RunId", UUID)
TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
LONGEST_NAME: Final = 200


class Tier(StrEnum):
    """What a tenant pays for; the higher, the sooner its runs are taken up."""

    FREE = "free"
    EARLY = "early"
    MID = "mid"
    ENTERPRISE = "enterprise"


class RunState(StrEnum):
    """Where a run stands; one that is parked was set aside and waits for an operator."""

    QUEUED = "queued"
    RUNNING = "running"
    PARKED = "parked"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self not in (RunState.QUEUED, RunState.RUNNING, RunState.PARKED)


class StepState(StrEnum):
    """Where a step stands; one is skipped where what it takes failed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Caller(BaseModel):
    """On whose behalf a plan runs."""

    model_config = ConfigDict(frozen=True)

    tenant: TenantId
    user: UserId
    tier: Tier = Tier.FREE

    @field_validator("tenant", "user")
    @classmethod
    def _storable(cls, name: str) -> str:
        return check_name(name)


class StepView(BaseModel):
    """What screens show of a step; `agent` is the one that answered, where one did."""

    model_config = ConfigDict(frozen=True)

    name: str
    agent: str
    version: str
    state: StepState
    attempts: int
    error: str | None
    message: str | None
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class Run(BaseModel):
    """What is kept of a run, without its result; `revision` rises with each change.

    `partial` is set where a step failed that the run could do without. `attempts` counts the workers that took it
    up since a step of it was last done. `error` is a kind of error, `message` a sentence for users.
    """

    model_config = ConfigDict(frozen=True)

    id: RunId
    tenant: TenantId
    user: UserId
    tier: Tier
    plan: str
    version: str
    state: RunState
    partial: bool
    attempts: int
    cancel_requested: bool
    created_at: AwareDatetime
    due_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    error: str | None
    message: str | None
    revision: int
    steps: tuple[StepView, ...]


class StepResult(BaseModel):
    """What a step came to, with its result as JSON; None where it has none."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: StepState
    result: JsonValue


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
