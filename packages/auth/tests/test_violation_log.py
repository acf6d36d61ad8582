"""What was tried stays on record, exactly as it was written."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import InvalidIdentifier, Kind, TenantId, UserId, Violation, ViolationLog
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
    with pytest.raises(InvalidIdentifier):
        await log.find(tenant=TenantId(""))
    [last] = await log.find(user=MALLORY, size=1)
    earlier = await log.find(user=MALLORY, before=last.id)

    assert [one.user for one in denied] == [MALLORY, BOB]
    assert (last.kind, last.detail) == (Kind.DENIED, {"permission": "runs:read"})
    assert [one.kind for one in earlier] == [Kind.WRONG_PASSWORD]


async def test_who_reads_the_violations_of_a_tenant_sees_no_other_s(
    log: ViolationLog, clock: ManualClock
) -> None:
    """An admin may read what was tried in their own tenant, and learns nothing of a neighbour's."""
    for tenant in (TenantId("acme"), TenantId("globex"), None):
        await log.add(Violation(at=clock.now(), kind=Kind.WRONG_PASSWORD, tenant=tenant))

    assert [one.tenant for one in await log.find(tenant=TenantId("acme"))] == ["acme"]
