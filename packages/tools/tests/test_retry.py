"""A retry waits long enough, never too long, and not for ever."""

import random
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from netra_tools import RetryPolicy, ToolError, TransientError
from netra_tools.retry import RetryBudget


@given(st.integers(1, 99), st.randoms(use_true_random=False))
def test_a_wait_is_drawn_below_its_limit(attempt: int, chance: random.Random) -> None:
    """Workers that failed together don't come back together, nor after an hour."""
    policy = RetryPolicy(attempts=100, first_wait=timedelta(seconds=1), longest_wait=timedelta(seconds=10))

    wait = policy.wait(TransientError("busy"), attempt, chance)

    assert wait is not None
    assert timedelta(0) <= wait <= timedelta(seconds=min(10, 2 ** (attempt - 1)))


def test_a_service_that_says_when_is_not_asked_sooner() -> None:
    """Who says "in a minute" and is asked at once shuts the door."""
    error = TransientError("busy", retry_after=timedelta(minutes=1))

    assert RetryPolicy().wait(error, 1, random.Random(1)) == timedelta(minutes=1)


def test_a_refusal_is_final() -> None:
    """A wrong question is not asked three times."""
    assert RetryPolicy().wait(ToolError("no such table"), 1, random.Random(1)) is None


def test_the_budget_of_retries_ends() -> None:
    """A service that is down gets a fifth more calls than one that works, and not three times as many."""
    budget = RetryBudget(RetryPolicy(budget=0.2, reserve=10))
    retried = 0

    for _ in range(1000):
        budget.earn()
        retried += sum(budget.spend() for _ in range(2))

    assert 200 <= retried <= 210
