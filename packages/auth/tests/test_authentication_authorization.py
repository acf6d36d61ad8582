"""Only those who proved who they are get in, and each of them does only what they may."""

from collections.abc import Callable

import pytest

from netra_auth import (
    PLATFORM,
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


async def test_role_based_access_control_enforcement(
    access: Access, log: ViolationLog, acting: Callable[..., Principal]
) -> None:
    """Each role does what it may and no more, in its own tenant, until the moment it is taken away."""
    root, alice = acting(ROOT), acting(ALICE, roles=frozenset({Role.SUPER_ADMIN}))
    read, bill = Permission("bill:read"), Resource(kind="bill", tenant=ACME, id="2026-01")
    await access.found(ROOT, ACME)

    reached = {}
    for role in list(Role)[:-1]:
        await access.assign(root, ALICE, ACME, role)
        for permission in PLATFORM.permissions:
            theirs = Resource(kind=permission.partition(":")[0], tenant=ACME, owner=ALICE)
            if await access.allowed(alice, permission, theirs):
                reached.setdefault(permission, role)
    await access.deny(root, ALICE, read, bill)
    denied = await access.allowed(alice, read, bill)
    await access.withdraw(root, ALICE, read, bill, effect=Effect.DENIAL)
    elsewhere = await access.allowed(alice, read, bill.model_copy(update={"tenant": OTHER}))
    for role in Role:
        await access.unassign(root, ALICE, ACME, role)

    for role, allowance in PLATFORM.adds.items():
        for permission in allowance.own | allowance.all:
            below = [one for one in Role if permission in PLATFORM.adds[one].own | PLATFORM.adds[one].all]
            assert reached.get(permission) is (min(below) if role < Role.SUPER_ADMIN else None)
    assert (denied, elsewhere) == (False, False)
    with pytest.raises(AccessDenied) as refused:
        await access.require(alice, read, bill)
    [violation] = await log.find(user=ALICE)
    assert (refused.value.reason, violation.kind) == (Reason.NO_MEMBER, Kind.DENIED)
