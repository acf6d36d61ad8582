"""A clock stands still until the test moves it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from netra_fixtures.clock import ManualClock


def test_it_stands_still_until_it_is_moved() -> None:
    """A test about lifetimes takes no time and always sees the same instants."""
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    before = clock.now(), clock()

    clock.advance(timedelta(days=30))

    assert before == (datetime(2026, 3, 1, tzinfo=UTC),) * 2
    assert clock() == clock.now() == datetime(2026, 3, 31, tzinfo=UTC)


def test_every_clock_starts_at_the_same_instant() -> None:
    """What a run showed can be shown again."""
    assert ManualClock().now() == ManualClock().now()


def test_it_can_jump_back_but_not_advance_backwards() -> None:
    """A machine's clock is put right in the middle of things; a slip of the sign is not that."""
    clock = ManualClock()
    earlier = clock.now() - timedelta(hours=1)

    with pytest.raises(ValueError, match=r"use set\(\)"):
        clock.advance(timedelta(hours=-1))
    clock.set(earlier)

    assert clock.now() == earlier


def test_it_tells_utc_whatever_zone_it_was_set_in() -> None:
    """Code that compares or prints instants meets one zone only."""
    clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5))))

    assert clock.now().isoformat() == "2026-03-01T07:00:00+00:00"


def test_an_instant_without_a_zone_is_refused() -> None:
    """A naive instant means another moment on another machine."""
    with pytest.raises(ValueError, match="no time zone"):
        ManualClock(datetime(2026, 3, 1))
    with pytest.raises(ValueError, match="no time zone"):
        ManualClock().set(datetime(2026, 3, 1))
