"""Waits end as soon as what they wait for is there, and say what they waited for when it does not come."""

import asyncio
from collections.abc import Iterator

import pytest

from netra_fixtures.waiting import eventually, set_time_factor, time_factor, within


@pytest.fixture(autouse=True)
def factor() -> Iterator[None]:
    """Start from 1, whatever the run's own factor is."""
    before = time_factor()
    set_time_factor(1.0)
    yield
    set_time_factor(before)


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    """A deadline that holds costs nothing and changes nothing."""
    async with within(seconds=60):
        await asyncio.sleep(0)


async def test_a_block_that_hangs_is_cancelled_with_the_time_it_had() -> None:
    """Who reads the failure sees how long was too short, and what the machine's factor was."""
    set_time_factor(0.5)

    with pytest.raises(TimeoutError, match=r"^not within 0\.02 s \(time factor 0\.5\)$"):
        async with within(seconds=0.02):
            await asyncio.Event().wait()


async def test_the_blocks_own_timeout_passes_unchanged() -> None:
    """A deadline that held is not blamed for another one that did not."""
    with pytest.raises(TimeoutError, match=r"^the driver's$"):
        async with within(seconds=60):
            raise TimeoutError("the driver's")


async def test_a_cancellation_from_outside_stays_a_cancellation() -> None:
    """A task that is told to stop stops, whatever it waits in."""
    entered = asyncio.Event()

    async def wait() -> None:
        async with within(seconds=60):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_time_factor_stretches_the_deadline() -> None:
    """A slow machine turns one knob: without the factor this deadline is over before it starts."""
    set_time_factor(1e9)

    async with within(seconds=1e-7):
        await asyncio.sleep(0.001)


async def test_the_time_factor_stretches_the_time_for_checks() -> None:
    """Also what nothing announces is given longer on a slow machine."""
    set_time_factor(1e9)
    tries = iter(range(10))

    def check() -> None:
        assert next(tries) >= 3

    await eventually(check, seconds=1e-7)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_factor_that_is_none_is_refused(wrong: float) -> None:
    """A broken knob is told at once, and not by deadlines that behave strangely."""
    with pytest.raises(ValueError, match="a number above 0"):
        set_time_factor(wrong)


async def test_a_check_is_repeated_until_it_holds() -> None:
    """What nothing announces is seen soon after it is there, with what the check found."""
    tries = iter(range(10))

    def check() -> int:
        number = next(tries)
        assert number >= 3
        return number

    assert await eventually(check, seconds=60) == 3


async def test_a_check_that_awaits_is_repeated_too() -> None:
    """A row is asked for on a connection, so a check may await."""
    tries = iter(range(10))

    async def check() -> str:
        await asyncio.sleep(0)
        assert next(tries) >= 3
        return "there"

    assert await eventually(check, seconds=60) == "there"


async def test_the_last_failure_is_raised_with_the_time_waited() -> None:
    """The reader sees what was wrong at the end, not only that time ran out."""
    tries = iter(range(1000))

    def check() -> None:
        raise AssertionError(f"try {next(tries)}")

    with pytest.raises(AssertionError) as caught:
        await eventually(check, seconds=0.02)

    tried = next(tries)
    assert tried > 1
    assert str(caught.value) == f"try {tried - 1}"
    assert caught.value.__notes__ == [f"still so after 0.02 s (time factor 1), tried {tried} times"]


async def test_a_check_that_hangs_ends_with_its_last_failure() -> None:
    """A hanging query must not hang the test, nor hide what was seen before."""
    tries = iter([AssertionError("not yet")])

    async def check() -> None:
        for failure in tries:
            raise failure
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="not yet"):
        await eventually(check, seconds=0.05)


async def test_a_check_that_never_answers_says_so() -> None:
    """Where no failure was seen, the failure is the silence."""
    with pytest.raises(TimeoutError, match=r"^the check did not come back within 0\.02 s"):
        await eventually(asyncio.Event().wait, seconds=0.02)


@pytest.mark.parametrize("error", [KeyError("typo"), TimeoutError("the driver's")])
async def test_another_error_passes_at_once(error: Exception) -> None:
    """Only an assertion means "not yet"; a mistake in the check is shown on its first run."""
    tries: list[Exception] = []

    def check() -> None:
        tries.append(error)
        raise error

    with pytest.raises(type(error)) as caught:
        await eventually(check, seconds=60)

    assert caught.value is error
    assert len(tries) == 1
