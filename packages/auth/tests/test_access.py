"""Who may do what is asked of the record each time, so that a change counts at once."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Access,
    AccessDenied,
    Effect,
    Kind,
    Permission,
    PermissionUnknown,
    Principal,
    Reason,
    Resource,
    Role,
    TenantId,
    UserId,
    ViolationLog,
)
from netra_fixtures import Goal, ManualClock, Tier, business_value

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="a right that was taken away opens nothing from then on"
)

PATIENT = timedelta(seconds=30)  # a busy machine is no outage
Acting = Callable[..., Principal]
ACME, OTHER = TenantId("acme"), TenantId("other")
ROOT, ALICE, BOB = UserId("root"), UserId("alice"), UserId("bob")
READ, START = Permission("run:read"), Permission("run:start")
RUN = Resource(kind="run", tenant=ACME, id="1")
RUNS = Resource(kind="run", tenant=ACME)


@pytest.fixture
async def root(access: Access, acting: Acting) -> Principal:
    """The super_admin of acme, where alice is a standard_user."""
    await access.found(ROOT, ACME)
    await access.assign(acting(ROOT), ALICE, ACME, Role.STANDARD_USER)
    return acting(ROOT)


async def test_a_question_is_one_statement(
    access: Access, engine: AsyncEngine, acting: Acting, root: Principal
) -> None:
    """Asking is cheap enough to be done at every request."""
    await access.grant(root, ALICE, READ, RUN)
    sent: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: sent.append(a[2]))

    assert await access.allowed(acting(ALICE), READ, RUN)

    assert len(sent) == 1


async def test_a_change_of_role_counts_at_once_whatever_the_token_says(
    access: Access, engine: AsyncEngine, acting: Acting, root: Principal
) -> None:
    """Who was dismissed this minute gets in nowhere, though their token still calls them an admin."""
    elsewhere = Access(engine=engine, deadline=PATIENT)
    alice = acting(ALICE, roles=frozenset({Role.ADMIN}))
    answers = [await elsewhere.allowed(alice, READ, RUN)]

    await access.assign(root, ALICE, ACME, Role.POWER_USER)
    answers.append(await elsewhere.allowed(alice, READ, RUN))
    await access.unassign(root, ALICE, ACME, Role.POWER_USER)
    answers.append(await elsewhere.allowed(alice, READ, RUN))

    assert answers == [False, True, False]
    assert await elsewhere.roles(ALICE, ACME) == {Role.STANDARD_USER}


async def test_a_role_counts_in_its_tenant_alone(access: Access, acting: Acting, root: Principal) -> None:
    """Running one company's account gives no look into another's."""
    await access.found(BOB, OTHER)

    assert await access.roles(BOB, ACME) == frozenset()
    assert not await access.allowed(acting(BOB, "acme"), START, RUNS)
    assert not await access.allowed(acting(BOB, "other"), START, RUNS)
    assert await access.allowed(acting(BOB, "other"), START, Resource(kind="run", tenant=OTHER))


async def test_what_is_said_of_somebody_in_one_tenant_is_said_in_no_other(
    access: Access, acting: Acting, root: Principal
) -> None:
    """Who works for two companies has with each the rights that this one gave, and loses no others."""
    theirs = Resource(kind="run", tenant=OTHER)
    await access.found(BOB, OTHER)
    await access.assign(acting(BOB, "other"), ALICE, OTHER, Role.STANDARD_USER)
    await access.grant(root, ALICE, READ)
    await access.deny(root, ALICE, START)

    answers = [await access.allowed(acting(ALICE, "other"), what, theirs) for what in (READ, START)]
    await access.grant(acting(BOB, "other"), ALICE, READ)
    await access.withdraw(root, ALICE, READ, effect=Effect.GRANT)
    await access.unassign(root, ALICE, ACME, Role.STANDARD_USER)

    assert answers == [False, True]
    assert await access.allowed(acting(ALICE, "other"), READ, theirs)


async def test_a_grant_is_for_one_thing_until_it_ends(
    access: Access, clock: ManualClock, acting: Acting, root: Principal
) -> None:
    """A guest of one run sees that run, today, and nothing else."""
    tomorrow = clock.now() + timedelta(days=1)
    other = RUN.model_copy(update={"id": "2"})

    assert await access.grant(root, ALICE, READ, RUN, tomorrow)
    assert not await access.grant(root, ALICE, READ, RUN, tomorrow)
    answers = [await access.allowed(acting(ALICE), READ, what) for what in (RUN, other, RUNS)]
    clock.set(tomorrow)

    assert answers == [True, False, False]
    assert not await access.allowed(acting(ALICE), READ, RUN)


async def test_a_denial_beats_a_grant_until_it_is_withdrawn(
    access: Access, acting: Acting, root: Principal
) -> None:
    """Whichever came first: who is locked out while something is looked into stays locked out."""
    await access.deny(root, ALICE, READ, RUN)
    await access.grant(root, ALICE, READ)
    before = await access.allowed(acting(ALICE), READ, RUN)

    assert not await access.withdraw(root, ALICE, READ, effect=Effect.DENIAL)
    assert await access.withdraw(root, ALICE, READ, RUN, effect=Effect.DENIAL)
    after = await access.allowed(acting(ALICE), READ, RUN)
    assert await access.withdraw(root, ALICE, READ, effect=Effect.GRANT)

    assert (before, after) == (False, True)
    assert not await access.allowed(acting(ALICE), READ, RUN)


async def test_a_withdrawal_takes_back_what_it_names_and_nothing_else(
    access: Access, acting: Acting, root: Principal
) -> None:
    """Ending one guest's look at the runs ends nobody else's, and nothing else that they may do."""
    cancel = Permission("run:cancel")
    await access.assign(root, BOB, ACME, Role.STANDARD_USER)
    for user, permission in ((ALICE, READ), (ALICE, cancel), (BOB, READ)):
        await access.grant(root, user, permission)

    await access.withdraw(root, ALICE, READ, effect=Effect.GRANT)

    assert not await access.allowed(acting(ALICE), READ, RUN)
    assert await access.allowed(acting(ALICE), cancel, RUN)
    assert await access.allowed(acting(BOB), READ, RUN)


async def test_what_is_refused_is_written_down(
    access: Access, log: ViolationLog, clock: ManualClock, acting: Acting, root: Principal
) -> None:
    """An investigator sees who tried which door, from where, and why it stayed shut."""
    await access.require(acting(ALICE), START, RUNS, address="192.0.2.7")

    for what in (RUN, Resource(kind="run", tenant=OTHER, id="9")):
        with pytest.raises(AccessDenied):
            await access.require(acting(ALICE), READ, what, address="192.0.2.7")

    other, denied = await log.find()
    assert (denied.kind, denied.user, denied.tenant, denied.address) == (
        Kind.DENIED,
        ALICE,
        ACME,
        "192.0.2.7",
    )
    assert denied.at == clock.now()
    assert denied.detail == {
        "permission": READ, "kind": "run", "resource": "1", "reason": Reason.NOT_OWNER.value,
    }  # fmt: skip
    assert (other.kind, other.tenant, other.detail["other_tenant"]) == (Kind.OTHER_TENANT, ACME, OTHER)


@pytest.mark.parametrize(
    "address", ["", "a\x00b", "\ud800", "x" * 1_000_000], ids=["empty", "NUL", "half a character", "1 MB"]
)
async def test_a_strange_address_is_no_way_around_the_record_of_denials(
    access: Access, log: ViolationLog, acting: Acting, root: Principal, address: str
) -> None:
    """Who forges where a request comes from is told no, and written down, all the same."""
    with pytest.raises(AccessDenied):
        await access.require(acting(ALICE), READ, RUN, address=address)

    [violation] = await log.find()
    assert violation.address is not None
    assert len(violation.address) <= 256


async def test_a_permission_that_the_policy_does_not_list_is_no_permission(
    access: Access, root: Principal
) -> None:
    """A slip of the pen is found by its author, and neither opens a door nor shuts one for good."""
    slip = Permission("run:raid")

    with pytest.raises(PermissionUnknown):
        await access.allowed(root, slip, RUN)
    with pytest.raises(PermissionUnknown):
        await access.require(root, slip, RUN)
    for act in (access.grant, access.deny):
        with pytest.raises(PermissionUnknown):
            await act(root, ALICE, slip)
    with pytest.raises(ValueError, match="another kind"):
        await access.grant(root, ALICE, READ, Resource(kind="bill", tenant=ACME))
    with pytest.raises(ValueError, match="aware"):
        await access.grant(root, ALICE, READ, until=ManualClock().now().replace(tzinfo=None))
