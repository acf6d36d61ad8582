"""Only those who proved who they are get in, and each of them does only what they may."""

from collections.abc import Callable

import pytest

from netra_auth import (
    Access,
    AccessDenied,
    Effect,
    Kind,
    Permission,
    Principal,
    Reason,
    Resource,
    Role,
    TenantId,
    UserId,
    ViolationLog,
)
from netra_fixtures import Goal, Tier, business_value

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="what belongs to a customer is seen and changed by those alone who may",
)

ACME, OTHER = TenantId("acme"), TenantId("other")
ROOT, ALICE = UserId("root"), UserId("alice")
DOORS = [  # one that each role opens first, from the lowest role to the highest
    Permission(name) for name in ("run:start", "bill:upload", "tool:run", "setting:write", "tenant:change")
]


async def test_role_based_access_control_enforcement(
    access: Access, log: ViolationLog, acting: Callable[..., Principal]
) -> None:
    """Each role does what it may and no more, in its own tenant, until the moment it is taken away."""
    root, alice = acting(ROOT), acting(ALICE, roles=frozenset({Role.SUPER_ADMIN}))
    upload, bill = DOORS[1], Resource(kind="bill", tenant=ACME, id="2026-01")
    await access.found(ROOT, ACME)

    async def opened() -> list[bool]:
        rooms = [Resource(kind=door.partition(":")[0], tenant=ACME) for door in DOORS]
        return [await access.allowed(alice, door, room) for door, room in zip(DOORS, rooms, strict=True)]

    rising = [await access.assign(root, ALICE, ACME, role) and await opened() for role in Role]
    await access.deny(root, ALICE, upload, bill)
    denied = await access.allowed(alice, upload, bill)
    await access.withdraw(root, ALICE, upload, bill, effect=Effect.DENIAL)
    elsewhere = await access.allowed(alice, upload, bill.model_copy(update={"tenant": OTHER}))
    falling = [await access.unassign(root, ALICE, ACME, role) and await opened() for role in reversed(Role)]

    for number, doors in enumerate(rising):
        assert doors == [True] * (number + 1) + [False] * (4 - number)
    assert falling == [*reversed(rising[:-1]), [False] * 5]
    assert (denied, elsewhere) == (False, False)
    with pytest.raises(AccessDenied) as refused:
        await access.require(alice, upload, bill)
    [violation] = await log.find(user=ALICE)
    assert (refused.value.reason, violation.kind) == (Reason.NO_MEMBER, Kind.DENIED)
