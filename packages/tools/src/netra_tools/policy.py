"""The limits under which an executor works; pure."""

from datetime import timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ExecutorPolicy(BaseModel):
    """How long stores, leases and tools are waited for, and how large arguments and results may be.

    `deadline` is what one call of a store may take. A run whose worker has not renewed its `lease` is another's to
    take up; `most_claims` is how often that happens to one run. `grace` is what a tool gets to stop in.
    `poll_every` is how late a run is found, or its end heard of, that was not announced.
    """

    model_config = ConfigDict(frozen=True)

    deadline: timedelta = timedelta(seconds=2)
    lease: timedelta = timedelta(seconds=15)
    grace: timedelta = timedelta(seconds=1)
    poll_every: timedelta = timedelta(seconds=1)
    taken_at_once: int = Field(default=8, ge=1)
    most_claims: int = Field(default=3, ge=1)
    arguments_limit_bytes: int = Field(default=262_144, ge=2)
    result_limit_bytes: int = Field(default=16_777_216, ge=2)

    @model_validator(mode="after")
    def _durations_make_sense(self) -> Self:
        shortest = min(self.deadline, self.lease, self.poll_every)
        if shortest < timedelta(milliseconds=1) or self.grace < timedelta(0):
            raise ValueError("each duration is at least one millisecond")
        return self
