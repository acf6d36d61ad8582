"""What happens in the same moment doesn't slip past the rules."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Access,
    AccessDenied,
    LastAdministrator,
    Permission,
    Principal,
    Resource,
    Role,
    TenantId,
    UserId,
)
from netra_fixtures import Goal, Tier, business_value, within

pytestmark = business_value(tier=Tier.FREE, goals={Goal.SECURITY}, impact="no attacker wins by being quick")

Acting = Callable[..., Principal]
ACME = TenantId("acme")
ROOT, ALICE = UserId("root"), UserId("alice")
PATIENT = timedelta(seconds=30)  # a busy machine is no outage
LONG = [pytest.mark.soak, pytest.mark.timeout(1_800)]


@pytest.mark.parametrize("rounds", [3, pytest.param(200, marks=LONG)])
async def test_after_a_role_was_taken_nobody_is_allowed_by_it(
    access: Access, roomy_engine: AsyncEngine, acting: Acting, rounds: int
) -> None:
    """Fifty requests at once find the door open before the role is taken, and shut from then on."""
    await access.found(ROOT, ACME)
    read, run = Permission("run:read"), Resource(kind="run", tenant=ACME, id="1")
    processes = [Access(engine=roomy_engine, deadline=PATIENT) for _ in range(2)]
    alice = acting(ALICE, roles=frozenset({Role.ADMIN}))
    late: list[bool] = []
    fair = asyncio.Semaphore(10)  # SQLAlchemy's pool is not: who gives a connection back may have it again

    async def ask(process: Access, entered: asyncio.Queue[bool], taken: asyncio.Event) -> None:
        async with fair:
            entered.put_nowait(await process.allowed(alice, read, run))
        over = False
        while not over:
            async with fair:
                over = taken.is_set()
                answer = await process.allowed(alice, read, run)
        late.append(answer)

    for _ in range(rounds):
        await access.assign(acting(ROOT), ALICE, ACME, Role.POWER_USER)
        entered, taken = asyncio.Queue[bool](), asyncio.Event()
        async with within(seconds=50), asyncio.TaskGroup() as asking:
            for number in range(50):
                asking.create_task(ask(processes[number % 2], entered, taken))
            assert all([await entered.get() for _ in range(50)])
            await access.unassign(acting(ROOT), ALICE, ACME, Role.POWER_USER)
            taken.set()

    assert late == [False] * 50 * rounds


@pytest.mark.parametrize("rounds", [10, pytest.param(1_000, marks=LONG)])
@pytest.mark.parametrize("each_other", [False, True], ids=["both lay it down", "each dismisses the other"])
async def test_two_super_admins_never_both_go(
    access: Access, engine: AsyncEngine, acting: Acting, rounds: int, *, each_other: bool
) -> None:
    """Two who leave in the same moment don't leave the account to nobody."""
    processes = [Access(engine=engine, deadline=PATIENT) for _ in range(2)]

    for number in range(rounds):
        tenant = TenantId(f"tenant-{number}")
        await access.found(ROOT, tenant)
        await access.assign(acting(ROOT, tenant), ALICE, tenant, Role.SUPER_ADMIN)
        results = await asyncio.gather(
            *(
                process.unassign(acting(actor, tenant), gone, tenant, Role.SUPER_ADMIN)
                for process, actor, gone in zip(
                    processes,
                    (ROOT, ALICE),
                    (ALICE, ROOT) if each_other else (ROOT, ALICE),
                    strict=True,
                )
            ),
            return_exceptions=True,
        )

        assert results.count(True) == 1
        [refused] = [one for one in results if one is not True]
        assert isinstance(refused, AccessDenied if each_other else LastAdministrator)
        left = [await access.roles(user, tenant) for user in (ROOT, ALICE)]
        assert sorted(map(len, left)) == [0, 1]
