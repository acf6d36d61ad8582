"""A clock that moves only when a test moves it, for code that takes its clock in the constructor."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Tell the time that it was set to, in UTC; called, it does the same."""

    def __init__(self, start: datetime = START) -> None:
        self._now = _in_utc(start)

    def __repr__(self) -> str:
        return f"ManualClock({self._now.isoformat()})"

    def __call__(self) -> datetime:
        return self._now

    def now(self) -> datetime:
        """Return the instant it stands at."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move forward."""
        if by < timedelta(0):
            raise ValueError(f"a clock advances forward; to go back by {-by}, use set()")
        self._now += by

    def set(self, to: datetime) -> None:
        """Jump to an instant, also an earlier one, as a clock does that is put right."""
        self._now = _in_utc(to)


def _in_utc(instant: datetime) -> datetime:
    if instant.utcoffset() is None:
        raise ValueError(f"{instant} has no time zone; say datetime(…, tzinfo=UTC)")
    return instant.astimezone(UTC)
