"""No change that a user was told is saved is ever lost to another one."""

import asyncio
from collections.abc import Callable

import pytest

from netra_fixtures import Goal, Tier, business_value
from netra_sessions import Sessions, SessionToken, UserId, VersionConflict

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.RETENTION}, impact="two open tabs do not undo each other's work"
)

OpenSessions = Callable[..., Sessions]


async def count_on(sessions: Sessions, token: SessionToken, times: int) -> None:
    """Add one to the count in the session *times* times, as a careful client does."""
    current = await sessions.validate(token)
    while times:
        count = current.data["count"]
        assert isinstance(count, int)
        try:
            current = await sessions.update(token, {"count": count + 1}, expected_version=current.version)
            times -= 1
        except VersionConflict as conflict:
            current = conflict.current


@pytest.mark.parametrize(
    ("racers", "each"),
    [(8, 10), pytest.param(5, 2_000, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)])],
)
async def test_racing_updates_all_count(open_sessions: OpenSessions, racers: int, each: int) -> None:
    """However many tabs and services write at once, every confirmed change is in the end result."""
    processes = [open_sessions() for _ in range(2)]
    issued = await processes[0].create(UserId("alice"), data={"count": 0})

    async with asyncio.TaskGroup() as racing:
        for number in range(racers):
            racing.create_task(count_on(processes[number % 2], issued.token, each))

    for sessions in [*processes, open_sessions()]:
        found = await sessions.validate(issued.token)
        assert (found.data, found.version) == ({"count": racers * each}, racers * each + 1)


@pytest.mark.parametrize(
    "data",
    [{"n": float("nan")}, {"text": "\ud800"}, {1: "number as key"}, {"large": "x" * 20_000}, {"a": object()}],
    ids=["not a number", "half a character", "a key that is no string", "too large", "an object"],
)
async def test_data_that_would_not_come_back_equal_is_refused(
    sessions: Sessions, data: dict[str, object]
) -> None:
    """A mistake shows where it is made, and not on the user's next visit."""
    issued = await sessions.create(UserId("alice"), data={"kept": True})

    with pytest.raises(ValueError, match="session data"):
        await sessions.update(issued.token, data, expected_version=1)  # type: ignore[arg-type]

    assert (await sessions.validate(issued.token)).data == {"kept": True}
