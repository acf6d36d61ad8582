"""How settings are followed, and by which clock."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field


class ConfigPolicy(BaseModel):
    """How settings are followed.

    Args:
        deadline: by when a store has to answer.
        poll_every: what a lost announcement costs at most.
        upkeep_every: how often a process reports itself and writes exposures; it is forgotten after three times that.
        limit_bytes: how long a document may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline: timedelta = Field(default=timedelta(seconds=2), gt=timedelta())
    poll_every: timedelta = Field(default=timedelta(seconds=5), gt=timedelta())
    upkeep_every: timedelta = Field(default=timedelta(seconds=5), gt=timedelta())
    limit_bytes: int = Field(default=1_048_576, gt=0)


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)
