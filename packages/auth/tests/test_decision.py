"""What the roles of a tenant, and grants and denials beside them, let somebody do."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netra_auth import (
    PLATFORM,
    AccessPolicy,
    Allowance,
    Effect,
    InvalidIdentifier,
    Permission,
    Reach,
    Reason,
    Resource,
    Role,
    Ruling,
    Standing,
    TenantId,
    UserId,
    decide,
)
from netra_auth.decision import may_appoint, refuse_ruling

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE, BOB, ACME, OTHER = UserId("alice"), UserId("bob"), TenantId("acme"), TenantId("other")
READ, START, END = Permission("run:read"), Permission("run:start"), Permission("tenant:end")

roles = st.frozensets(st.sampled_from(Role))
permissions = st.sampled_from(sorted(PLATFORM.permissions))
ids = st.one_of(st.none(), st.sampled_from(["1", "2"]))
rulings = st.builds(
    Ruling,
    effect=st.sampled_from(Effect),
    permission=permissions,
    resource=ids,
    until=st.sampled_from([None, NOW, NOW + timedelta(seconds=1)]),
)
standings = st.builds(
    Standing, user=st.just(ALICE), tenant=st.just(ACME), roles=roles, rulings=st.lists(rulings).map(tuple)
)


@st.composite
def asked(draw: st.DrawFn, tenant: TenantId = ACME) -> tuple[Permission, Resource]:
    """Ask for a permission on something of its kind."""
    permission = draw(permissions)
    owner = draw(st.sampled_from([None, ALICE, BOB]))
    kind = permission.partition(":")[0]
    return permission, Resource(kind=kind, tenant=tenant, id=draw(ids), owner=owner)


def alice(*roles: Role, rulings: tuple[Ruling, ...] = ()) -> Standing:
    return Standing(user=ALICE, tenant=ACME, roles=frozenset(roles), rulings=rulings)


def run(id: str = "1", owner: UserId | None = None) -> Resource:
    return Resource(kind="run", tenant=ACME, id=id, owner=owner)


@given(standing=standings, question=asked(), role=st.sampled_from(Role))
def test_a_further_role_never_takes_anything_away(
    standing: Standing, question: tuple[Permission, Resource], role: Role
) -> None:
    """Whoever is promoted can do all that they could before."""
    more = standing.model_copy(update={"roles": standing.roles | {role}})

    before, after = (decide(PLATFORM, one, *question, at=NOW).allowed for one in (standing, more))

    assert after >= before


@given(standing=standings, question=asked(), low=st.sampled_from(Role), high=st.sampled_from(Role))
def test_a_higher_role_may_all_that_a_lower_one_may(
    standing: Standing, question: tuple[Permission, Resource], low: Role, high: Role
) -> None:
    """No work has to be handed down because the boss lacks the right to do it."""
    low, high = min(low, high), max(low, high)

    below, above = (
        decide(PLATFORM, standing.model_copy(update={"roles": {role}}), *question, at=NOW).allowed
        for role in (low, high)
    )

    assert above >= below


@given(standing=standings, question=asked(), whole_kind=st.booleans())
def test_a_denial_always_wins(
    standing: Standing, question: tuple[Permission, Resource], *, whole_kind: bool
) -> None:
    """Who is locked out of something stays locked out, whatever else they were ever given."""
    permission, resource = question
    denial = Ruling(effect=Effect.DENIAL, permission=permission, resource=None if whole_kind else resource.id)
    denied = standing.model_copy(update={"rulings": (*standing.rulings, denial)})

    assert not decide(PLATFORM, denied, permission, resource, at=NOW).allowed


@given(standing=standings, question=asked(tenant=OTHER))
def test_nothing_reaches_into_another_tenant(
    standing: Standing, question: tuple[Permission, Resource]
) -> None:
    """One customer never sees another's runs, not even through a super_admin."""
    decision = decide(PLATFORM, standing, *question, at=NOW)

    assert (decision.allowed, decision.reason) == (False, Reason.OTHER_TENANT)


@given(question=asked(), held=st.lists(rulings).map(tuple))
def test_who_has_no_role_in_the_tenant_may_do_nothing_there(
    question: tuple[Permission, Resource], held: tuple[Ruling, ...]
) -> None:
    """Somebody whose last role was taken has left, and no forgotten grant keeps a door open."""
    assert decide(PLATFORM, alice(rulings=held), *question, at=NOW).reason is Reason.NO_MEMBER


@given(
    holds=st.sampled_from([Role.ADMIN, Role.SUPER_ADMIN]),
    denied=st.lists(rulings).map(tuple),
    role=st.sampled_from(Role),
    permission=permissions,
)
def test_nobody_gives_a_role_above_their_own_or_a_right_they_lack(
    holds: Role, denied: tuple[Ruling, ...], role: Role, permission: Permission
) -> None:
    """An admin can't make an accomplice who then opens what the admin may not."""
    actor = alice(holds, rulings=denied)
    target = Standing(user=BOB, tenant=ACME, roles=frozenset({Role.STANDARD_USER}))
    anything = Resource(kind=permission.partition(":")[0], tenant=ACME, id="1")

    appoints = may_appoint(actor.roles, role)
    refused = refuse_ruling(PLATFORM, actor, target, permission, widens=True, at=NOW)

    assert appoints == (role < holds or holds is Role.SUPER_ADMIN)
    assert refused or decide(PLATFORM, actor, permission, anything, at=NOW).allowed


GRANT = Ruling(effect=Effect.GRANT, permission=END)
EXPIRED = GRANT.model_copy(update={"until": NOW})
ONE_RUN = Ruling(effect=Effect.DENIAL, permission=READ, resource="1")


@pytest.mark.parametrize(
    ("standing", "permission", "resource", "reason"),
    [
        (alice(Role.STANDARD_USER), START, run(), Reason.ROLE),
        (alice(Role.STANDARD_USER), READ, run(owner=ALICE), Reason.OWNER),
        (alice(Role.STANDARD_USER), READ, run(owner=BOB), Reason.NOT_OWNER),
        (alice(Role.STANDARD_USER), READ, run(), Reason.NOT_OWNER),
        (alice(Role.POWER_USER), READ, run(owner=BOB), Reason.ROLE),
        (alice(Role.ADMIN), END, Resource(kind="tenant", tenant=ACME), Reason.NOT_GIVEN),
        (alice(Role.ADMIN, rulings=(GRANT,)), END, Resource(kind="tenant", tenant=ACME), Reason.GRANTED),
        (alice(Role.ADMIN, rulings=(EXPIRED,)), END, Resource(kind="tenant", tenant=ACME), Reason.NOT_GIVEN),
        (alice(Role.ADMIN, rulings=(ONE_RUN,)), READ, run("1"), Reason.DENIED),
        (alice(Role.ADMIN, rulings=(ONE_RUN,)), READ, run("2"), Reason.ROLE),
        (alice(Role.ADMIN, rulings=(ONE_RUN,)), READ, Resource(kind="run", tenant=ACME), Reason.ROLE),
        (alice(Role.SUPER_ADMIN), READ, Resource(kind="bill", tenant=ACME), Reason.OTHER_KIND),
    ],
    ids=[
        "by role",
        "owner",
        "not the owner",
        "nobody's",
        "more than the owner",
        "above the role",
        "granted",
        "granted until now",
        "denied",
        "another one denied",
        "all, one denied",
        "another kind",
    ],
)
def test_an_answer_has_its_reason(
    standing: Standing, permission: Permission, resource: Resource, reason: Reason
) -> None:
    """Support can tell a user why, and an investigator what was tried."""
    assert decide(PLATFORM, standing, permission, resource, at=NOW).reason is reason


def test_roles_compare_by_rank_and_not_by_letters() -> None:
    """In the alphabet an admin comes before a standard_user."""
    assert sorted(["super_admin", "admin", "standard_user"], key=Role) == [
        Role.STANDARD_USER, Role.ADMIN, Role.SUPER_ADMIN,
    ]  # fmt: skip
    for lower, higher in zip(list(Role), list(Role)[1:], strict=False):
        assert lower < higher > lower <= higher >= lower
        assert not any((lower > higher, lower >= higher, higher < lower, higher <= lower))


@pytest.mark.parametrize(
    "malformed", ["", "run", "run:", ":read", "run:read:all", "Run:read", "run:*", "a:b\n"]
)
def test_a_policy_of_malformed_permissions_does_not_start(malformed: str) -> None:
    """A slip of the pen is found when the process starts, and not as a door that nobody can open."""
    with pytest.raises(ValueError, match="kind:action"):
        AccessPolicy(adds={Role.ADMIN: Allowance(own=frozenset({Permission(malformed)}))})


def test_a_callers_own_policy_takes_the_place_of_the_platforms() -> None:
    """Another product has other things to protect."""
    cook = Permission("soup:cook")
    policy = AccessPolicy(adds={Role.DEVELOPER: Allowance(own=frozenset({cook}))})

    assert policy.permissions == {cook}
    assert [policy.reach({role}, cook) for role in Role] == [Reach.NOTHING] * 2 + [Reach.OWN] * 3


@pytest.mark.parametrize("field", ["kind", "tenant", "id", "owner"])
@pytest.mark.parametrize(
    "name", ["", "\x00", "a\x00b", "\ud800", "é" * 128, "x" * 1_000_000],
    ids=["empty", "NUL", "NUL within", "half a character", "256 bytes", "1 MB"],
)  # fmt: skip
def test_a_resource_with_a_name_that_nothing_can_have_is_refused(field: str, name: str) -> None:
    """What no store could keep unchanged reaches none, and is shown nowhere."""
    with pytest.raises(InvalidIdentifier) as refused:
        Resource(**{"kind": "run", "tenant": ACME, field: name})

    assert not name or name not in str(refused.value)
    assert refused.value.__cause__ is None
