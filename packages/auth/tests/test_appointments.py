"""Rights are changed only by those who stand above them, and every change is on record."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Access,
    AccessDenied,
    Act,
    Effect,
    Kind,
    LastAdministrator,
    Permission,
    Principal,
    Reason,
    Resource,
    Role,
    TenantId,
    TenantTaken,
    UserId,
    ViolationLog,
)
from netra_fixtures import Goal, ManualClock, Tier, business_value

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="nobody gives themselves or a friend more than they should have",
)

PATIENT = timedelta(seconds=30)  # a busy machine is no outage
Acting = Callable[..., Principal]
ACME, OTHER = TenantId("acme"), TenantId("other")
ROOT, ALICE, BOB = UserId("root"), UserId("alice"), UserId("bob")
READ, END = Permission("run:read"), Permission("tenant:end")


class Remembered:
    """Keeps the users whose tokens were revoked, with the roles that they had by then."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.seen: list[tuple[UserId, frozenset[Role], bool]] = []

    async def revoke_user(self, user: UserId, /, *, sign_out: bool = True) -> None:
        """Write down whose tokens are dead."""
        self.seen.append((user, await self._access.roles(user, ACME), sign_out))


@pytest.fixture
async def root(access: Access, acting: Acting) -> Principal:
    """The super_admin of acme."""
    await access.found(ROOT, ACME)
    return acting(ROOT)


@pytest.mark.parametrize(
    ("holder", "role", "may"),
    [
        (Role.DEVELOPER, Role.STANDARD_USER, False),
        (Role.ADMIN, Role.DEVELOPER, True),
        (Role.ADMIN, Role.ADMIN, False),
        (Role.ADMIN, Role.SUPER_ADMIN, False),
        (Role.SUPER_ADMIN, Role.ADMIN, True),
        (Role.SUPER_ADMIN, Role.SUPER_ADMIN, True),
    ],
    ids=lambda one: str(one),
)
async def test_a_role_is_given_and_taken_by_those_above_it(
    access: Access, log: ViolationLog, acting: Acting, root: Principal, holder: Role, role: Role, *, may: bool
) -> None:
    """A developer appoints nobody, an admin those below, and what else is tried is written down."""
    await access.assign(root, ALICE, ACME, holder)
    alice = acting(ALICE)

    if may:
        assert await access.assign(alice, BOB, ACME, role)
        assert await access.roles(BOB, ACME) == {role}
        assert await access.unassign(alice, BOB, ACME, role)
    else:
        await access.assign(root, ROOT, ACME, role)
        for act, user in ((access.assign, BOB), (access.assign, ALICE), (access.unassign, ROOT)):
            with pytest.raises(AccessDenied) as refused:
                await act(alice, user, ACME, role)
            assert refused.value.reason is Reason.RANK

    assert await access.roles(ALICE, ACME) == {holder}
    assert [one.kind for one in await log.find(user=ALICE)] == [Kind.DENIED] * (0 if may else 3)


async def test_nobody_rules_in_another_tenant(
    access: Access, log: ViolationLog, acting: Acting, root: Principal
) -> None:
    """Running one company's account gives no power over another's people."""
    await access.found(BOB, OTHER)
    theirs = Resource(kind="run", tenant=OTHER, id="1")

    for change in (
        access.assign(root, ALICE, OTHER, Role.STANDARD_USER),
        access.unassign(root, BOB, OTHER, Role.SUPER_ADMIN),
        access.grant(root, ALICE, READ, theirs),
        access.deny(root, BOB, READ, theirs),
        access.withdraw(root, BOB, READ, theirs, effect=Effect.GRANT),
    ):
        with pytest.raises(AccessDenied) as refused:
            await change
        assert refused.value.reason is Reason.OTHER_TENANT

    assert [one.kind for one in await log.find(user=ROOT)] == [Kind.OTHER_TENANT] * 5
    assert await access.roles(BOB, OTHER) == {Role.SUPER_ADMIN}
    assert len(await access.changes(OTHER)) == 1


async def test_nobody_passes_on_what_they_do_not_have(
    access: Access, acting: Acting, root: Principal
) -> None:
    """An admin can't reach through a friend what an admin may not do, nor free themselves of a denial."""
    for user, role in ((ALICE, Role.ADMIN), (BOB, Role.DEVELOPER)):
        await access.assign(root, user, ACME, role)
    await access.grant(root, ALICE, END)
    await access.deny(root, ALICE, READ, Resource(kind="run", tenant=ACME, id="1"))
    await access.deny(root, BOB, READ)

    reasons = []
    for change in (
        access.grant(acting(ALICE), BOB, END),
        access.grant(acting(ALICE), BOB, READ),
        access.withdraw(acting(ALICE), BOB, READ, effect=Effect.DENIAL),
        access.withdraw(acting(ALICE), ALICE, READ, effect=Effect.DENIAL),
        access.deny(acting(ALICE), ROOT, READ),
        access.grant(acting(BOB), ALICE, Permission("run:start")),
    ):
        with pytest.raises(AccessDenied) as refused:
            await change
        reasons.append(refused.value.reason)

    assert reasons == [Reason.NOT_HELD] * 3 + [Reason.SELF] + [Reason.RANK] * 2
    assert await access.grant(acting(ALICE), BOB, Permission("run:start"))


async def test_a_denial_is_cut_short_by_those_alone_who_may_take_it_back(
    access: Access, clock: ManualClock, acting: Acting, root: Principal
) -> None:
    """Who may not open a door for somebody can't say either that it is shut until yesterday."""
    rotate, keys = Permission("key:rotate"), Resource(kind="key", tenant=ACME)
    later = clock.now() + timedelta(days=1)
    for user, role in ((ALICE, Role.ADMIN), (BOB, Role.DEVELOPER)):
        await access.assign(root, user, ACME, role)
    await access.grant(root, BOB, rotate)
    await access.deny(root, BOB, rotate)

    for until in (clock.now() - timedelta(days=1), later):
        with pytest.raises(AccessDenied) as refused:
            await access.deny(acting(ALICE), BOB, rotate, until=until)
        assert refused.value.reason is Reason.NOT_HELD
    assert not await access.allowed(acting(BOB), rotate, keys)

    assert await access.deny(root, BOB, rotate, until=later)
    assert await access.deny(acting(ALICE), BOB, rotate, until=later + timedelta(days=1))
    assert await access.deny(acting(ALICE), BOB, rotate)


async def test_a_tenant_keeps_somebody_who_can_run_it(
    access: Access, acting: Acting, root: Principal
) -> None:
    """No company locks itself out of its own account."""
    await access.assign(root, ROOT, ACME, Role.ADMIN)

    with pytest.raises(LastAdministrator) as refused:
        await access.unassign(root, ROOT, ACME, Role.SUPER_ADMIN)
    assert await access.unassign(root, ROOT, ACME, Role.ADMIN)
    await access.assign(root, ALICE, ACME, Role.SUPER_ADMIN)

    assert refused.value.role is Role.SUPER_ADMIN
    assert await access.unassign(root, ROOT, ACME, Role.SUPER_ADMIN)
    assert await access.roles(ROOT, ACME) == frozenset()
    assert [one.act for one in await access.changes(ACME, user=ROOT)] == [
        Act.ROLE_TAKEN, Act.ROLE_TAKEN, Act.ROLE_GIVEN, Act.ROLE_GIVEN,
    ]  # fmt: skip


async def test_an_admin_without_a_super_admin_above_stays_too(
    access: Access, engine: AsyncEngine, acting: Acting
) -> None:
    """Where an operator set up admins alone, the last of them is kept, and asking for nothing harms nobody."""
    async with engine.begin() as connection:
        await connection.execute(text("insert into auth.held_role values ('acme', 'alice', 'admin')"))

    with pytest.raises(LastAdministrator):
        await access.unassign(acting(ALICE), ALICE, ACME, Role.ADMIN)

    assert not await access.unassign(acting(ALICE), ALICE, ACME, Role.SUPER_ADMIN)


async def test_a_tenant_is_founded_once(access: Access, engine: AsyncEngine) -> None:
    """Of two who claim a new account at the same moment one has it."""
    claims = [Access(engine=engine, deadline=PATIENT).found(UserId(f"user-{n}"), ACME) for n in range(10)]

    results = await asyncio.gather(*claims, return_exceptions=True)

    assert results.count(None) == 1
    assert all(isinstance(one, TenantTaken) for one in results if one is not None)
    assert len(await access.changes(ACME)) == 1


async def test_a_change_that_makes_tokens_untrue_revokes_them(
    access: Access, engine: AsyncEngine, clock: ManualClock, acting: Acting, root: Principal
) -> None:
    """A token that still calls somebody an admin is dead once they are none; repeating the call makes sure."""
    revoked = Remembered(access)
    watched = Access(engine=engine, clock=clock, deadline=PATIENT, revocations=revoked)

    await watched.assign(root, ALICE, ACME, Role.ADMIN)
    await watched.grant(root, ALICE, END)
    await watched.deny(root, ALICE, READ)
    for effect in Effect:
        await watched.withdraw(root, ALICE, READ, effect=effect)
    await watched.unassign(root, ALICE, ACME, Role.ADMIN)
    assert not await watched.unassign(root, ALICE, ACME, Role.ADMIN)
    with pytest.raises(AccessDenied):
        await watched.assign(acting(ALICE), BOB, ACME, Role.ADMIN)

    admin, nobody = (ALICE, frozenset({Role.ADMIN}), False), (ALICE, frozenset[Role](), False)
    assert revoked.seen == [admin, admin, nobody, nobody]


async def test_every_change_is_on_record(
    access: Access, clock: ManualClock, acting: Acting, root: Principal
) -> None:
    """An auditor reads who changed what about whom, and when; what changed nothing is no change."""
    tomorrow = clock.now().replace(year=2100)
    run = Resource(kind="run", tenant=ACME, id="1")

    assert await access.assign(root, ALICE, ACME, Role.ADMIN)
    assert not await access.assign(root, ALICE, ACME, Role.ADMIN)
    await access.deny(acting(ALICE), BOB, READ, run, tomorrow)
    with pytest.raises(AccessDenied):
        await access.grant(acting(ALICE), ALICE, READ)

    denied, given, founded = await access.changes(ACME)
    assert (founded.actor, founded.user, founded.role) == (ROOT, ROOT, Role.SUPER_ADMIN)
    assert (given.act, given.actor, given.user, given.role) == (Act.ROLE_GIVEN, ROOT, ALICE, Role.ADMIN)
    assert (denied.act, denied.actor, denied.user, denied.at) == (Act.DENIED, ALICE, BOB, clock.now())
    assert (denied.permission, denied.resource, denied.until) == (READ, "1", tomorrow)
    assert await access.changes(ACME, user=BOB, before=denied.id, size=1) == []


@pytest.mark.parametrize(
    "forgery",
    ["update auth.access_change set actor_id = 'bob'", "delete from auth.access_change", "truncate auth.access_change"],
    ids=["update", "delete", "truncate"],
)  # fmt: skip
async def test_the_record_of_changes_stays_as_it_is(
    access: Access, engine: AsyncEngine, root: Principal, forgery: str
) -> None:
    """Who gave themselves a right can't blame somebody else."""
    with pytest.raises(DBAPIError, match="only grows"):
        async with engine.begin() as connection:
            await connection.execute(text(forgery))

    assert [one.actor for one in await access.changes(ACME)] == [ROOT]


async def test_a_new_installation_gives_nobody_a_right(engine: AsyncEngine) -> None:
    """There is no account of the maker's that an attacker could look up in the manual."""
    async with engine.connect() as connection:
        held = await connection.scalar(
            text(
                "select (select count(*) from auth.held_role) + (select count(*) from auth.ruling)"
                " + (select count(*) from auth.access_change)"
            )
        )

    assert held == 0
