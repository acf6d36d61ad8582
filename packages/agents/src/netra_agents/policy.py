"""The limits under which runs are taken up and carried; pure."""

from datetime import timedelta
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from netra_agents.run import Tier

_PRIORITIES: Final = {tier: number for number, tier in enumerate(Tier)}
_LIMITS: Final = {Tier.FREE: 2, Tier.EARLY: 5, Tier.MID: 20, Tier.ENTERPRISE: 100}


class AgentsPolicy(BaseModel):
    """How long stores, workers and sinks are waited for, and how much of what goes at once.

    `deadline` is what one call of a store or a sink may take. A worker tells every `beat_every` that it lives; one
    that was silent for `lapse` is taken for dead. `most_attempts` is how many workers may take up a run that doesn't
    get on before it is parked. `linger` is how far apart what happens in one run is written down and told.
    `carried_at_once` is a worker's room, `grace` what its runs get to end in when it closes.
    A tenant has at most `limits[tier]` runs running at once; those with a higher `priorities[tier]` go first.
    """

    model_config = ConfigDict(frozen=True)

    deadline: timedelta = timedelta(seconds=2)
    beat_every: timedelta = timedelta(milliseconds=300)
    lapse: timedelta = timedelta(milliseconds=1500)
    linger: timedelta = timedelta(milliseconds=50)
    grace: timedelta = timedelta(seconds=5)
    most_attempts: int = Field(default=3, ge=1)
    carried_at_once: int = Field(default=32, ge=1)
    input_limit_bytes: int = Field(default=262_144, ge=2)
    result_limit_bytes: int = Field(default=1_048_576, ge=2)
    priorities: dict[Tier, int] = _PRIORITIES
    limits: dict[Tier, int] = _LIMITS

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if min(self.deadline, self.beat_every, self.lapse) < timedelta(milliseconds=1):
            raise ValueError("each duration is at least one millisecond")
        if self.lapse < self.beat_every * 2:
            raise ValueError("lapse is at least twice beat_every")
        if min(self.linger, self.grace) < timedelta(0):
            raise ValueError("linger and grace are not negative")
        if (
            set(self.priorities) != set(Tier)
            or set(self.limits) != set(Tier)
            or min(self.limits.values()) < 1
        ):
            raise ValueError("each tier has a priority, and a limit of at least one")
        return self
