"""What was tried stays on record, exactly as it was written."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import InvalidIdentifier, Kind, UserId, Violation, ViolationLog
from netra_fixtures import Goal, ManualClock, Tier, business_value

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="an investigator can rely on what the log says"
)
MALLORY, BOB = UserId("mallory"), UserId("bob")


@pytest.mark.parametrize(
    "change",
    [
        "update auth.violation set kind = 'denied access'",
        "delete from auth.violation",
        "truncate auth.violation",
    ],
    ids=["update", "delete", "truncate"],
)
async def test_what_is_written_stays_as_it_is(
    log: ViolationLog, engine: AsyncEngine, clock: ManualClock, change: str
) -> None:
    """Who breaks in can't remove their traces from the log."""
    await log.add(Violation(at=clock.now(), kind=Kind.WRONG_PASSWORD, user=MALLORY))

    with pytest.raises(DBAPIError, match="only grows"):
        async with engine.begin() as connection:
            await connection.execute(text(change))

    assert [one.kind for one in await log.find()] == [Kind.WRONG_PASSWORD]


async def test_the_log_is_searched_by_user_and_kind_the_latest_first(
    log: ViolationLog, clock: ManualClock
) -> None:
    """An investigator asks for one person, or for one kind of attempt, and reads on page by page."""
    for user, kind in [(MALLORY, Kind.WRONG_PASSWORD), (BOB, Kind.DENIED), (MALLORY, Kind.DENIED)]:
        await log.add(Violation(at=clock.now(), kind=kind, user=user, detail={"permission": "runs:read"}))

    denied = await log.find(kind=Kind.DENIED)
    with pytest.raises(InvalidIdentifier):
        await log.find(user=UserId("\ud800"))
    [last] = await log.find(user=MALLORY, size=1)
    earlier = await log.find(user=MALLORY, before=last.id)

    assert [one.user for one in denied] == [MALLORY, BOB]
    assert (last.kind, last.detail) == (Kind.DENIED, {"permission": "runs:read"})
    assert [one.kind for one in earlier] == [Kind.WRONG_PASSWORD]
