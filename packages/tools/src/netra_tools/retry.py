"""When a failed call is tried again, and after how long; pure."""

import random
from datetime import timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from netra_tools.errors import TransientError


class RetryPolicy(BaseModel):
    """Which errors are worth another attempt, how many there are, and what is waited between them.

    The wait is drawn between zero and `first_wait` doubled for each attempt, at most `longest_wait`, and is never
    shorter than the `retry_after` of the error. `budget` is how many retries each first call earns its tool, so
    that a tool that is down isn't called many times as often as one that works.

    Source:
        "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: full jitter.
        "Addressing Cascading Failures", Site Reliability Engineering, 2016: a budget of retries.
    """

    model_config = ConfigDict(frozen=True)

    attempts: int = Field(default=3, ge=1, le=100)
    first_wait: timedelta = timedelta(milliseconds=100)
    longest_wait: timedelta = timedelta(seconds=10)
    transient: tuple[type[Exception], ...] = (TransientError,)
    budget: float = Field(default=0.2, ge=0, le=100)
    reserve: int = Field(default=10, ge=0)

    @model_validator(mode="after")
    def _waits_make_sense(self) -> Self:
        if not timedelta(0) <= self.first_wait <= self.longest_wait:
            raise ValueError("first_wait lies between zero and longest_wait")
        return self

    def wait(self, error: Exception, attempt: int, rng: random.Random) -> timedelta | None:
        """Draw what to wait after *attempt* (1, 2, …) failed with *error*; None where it was the last."""
        if attempt >= self.attempts or not isinstance(error, self.transient):
            return None
        most = min(self.longest_wait.total_seconds(), self.first_wait.total_seconds() * 2.0 ** (attempt - 1))
        wait = timedelta(seconds=most * rng.random())
        asked = getattr(error, "retry_after", None)
        return max(wait, asked) if isinstance(asked, timedelta) else wait


class RetryBudget:
    """How many retries a tool may make now: *reserve* at first, and a share of a retry for each call."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._share = policy.budget
        self._most = float(policy.reserve)
        self._left = self._most

    def earn(self) -> None:
        """Count a call."""
        self._left = min(self._most, self._left + self._share)

    def spend(self) -> bool:
        """Take one retry, if there is one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
