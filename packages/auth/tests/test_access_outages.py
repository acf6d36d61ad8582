"""While the record of rights is out of reach nobody is let in, and nobody is left waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_auth import (
    Access,
    Permission,
    Principal,
    Resource,
    Role,
    StoreUnavailable,
    TenantId,
    UserId,
)
from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    PostgresEndpoint,
    Reset,
    ServiceLink,
    Tier,
    business_value,
    within,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY, Goal.STABILITY},
    impact="an outage opens no door and blocks no request",
)

Acting = Callable[..., Principal]
ACME, OTHER = TenantId("acme"), TenantId("other")
ROOT, ALICE, BOB = UserId("root"), UserId("alice"), UserId("bob")
START, RUNS = Permission("run:start"), Resource(kind="run", tenant=ACME)
DEADLINE = timedelta(seconds=1)


@pytest.fixture
async def linked(postgres_link: ServiceLink[PostgresEndpoint]) -> AsyncIterator[Access]:
    """Rights that are asked over the link, and waited for three seconds: a busy machine is no outage."""
    engine = create_async_engine(postgres_link.endpoint.url())
    yield Access(engine=engine, deadline=DEADLINE * 3)
    await engine.dispose()


@pytest.mark.parametrize("fault", [Cut(), Reset(), HalfOpen()], ids=["cut", "reset", "half-open"])
async def test_without_postgresql_nobody_is_let_in_and_nothing_changes(
    linked: Access,
    access: Access,
    acting: Acting,
    postgres_link: ServiceLink[PostgresEndpoint],
    fault: Cut | Reset | HalfOpen,
) -> None:
    """A user is told to try again, and can as soon as the record is back."""
    await access.found(ROOT, ACME)
    assert await linked.allowed(acting(ROOT), START, RUNS)

    async with postgres_link.fault(fault), within(seconds=20):
        results = await asyncio.gather(
            linked.allowed(acting(ROOT), START, RUNS),
            linked.require(acting(ROOT), START, RUNS),
            linked.roles(ROOT, ACME),
            linked.assign(acting(ROOT), ALICE, ACME, Role.ADMIN),
            linked.deny(acting(ROOT), ALICE, START),
            return_exceptions=True,
        )

    assert [type(one) for one in results] == [StoreUnavailable] * 5
    assert len(await access.changes(ACME)) == 1
    assert await linked.allowed(acting(ROOT), START, RUNS)


async def test_a_change_that_is_stuck_holds_up_no_question_and_no_other_tenant(
    access: Access, engine: AsyncEngine, acting: Acting
) -> None:
    """One tenant's trouble is no other tenant's, and a stranger can't make it theirs."""
    hasty = Access(engine=engine, deadline=DEADLINE)
    await access.found(ROOT, ACME)
    await access.found(BOB, OTHER)

    async with engine.begin() as stuck:
        await stuck.execute(text("select pg_advisory_xact_lock(hashtextextended('acme', 8111))"))
        async with within(seconds=20):
            with pytest.raises(StoreUnavailable):
                await hasty.assign(acting(ROOT), ALICE, ACME, Role.ADMIN)
            asked = await access.allowed(acting(ROOT), START, RUNS)
            elsewhere = await access.assign(acting(BOB, "other"), ALICE, OTHER, Role.ADMIN)

    assert asked
    assert elsewhere
    assert await access.roles(ALICE, ACME) == frozenset()
