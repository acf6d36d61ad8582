"""Every test gets users and tenants of its own, and the same ones when its run is repeated."""

import pytest
from pydantic import ValidationError

from netra_fixtures.context import TenantFactory, UserFactory
from netra_fixtures.value import Tier


def test_no_two_users_are_alike() -> None:
    """A test can't pass or fail because of another test's user."""
    factories = [
        UserFactory(1, "gw0:a"),
        UserFactory(1, "gw0:b"),
        UserFactory(2, "gw0:a"),
        UserFactory(11, "gw0:a"),
    ]
    users = [factory() for factory in factories for _ in range(50)]

    assert len({user.id for user in users}) == len(users)
    assert len({user.email for user in users}) == len(users)
    assert len({user.tenant.id for user in users}) == len(users)


def test_tenants_asked_for_are_not_those_of_users() -> None:
    """Two factories of one test, made from the same seed and scope, never meet."""
    users, tenants = UserFactory(1, "gw0:a"), TenantFactory(1, "gw0:a")
    asked_for = {tenants().id for _ in range(50)}

    assert len(asked_for) == 50
    assert asked_for.isdisjoint({users().tenant.id for _ in range(50)})


def test_the_same_seed_and_scope_give_the_same_users() -> None:
    """A failure can be shown again with the ids it had."""
    first, second = UserFactory(1, "gw0:a"), UserFactory(1, "gw0:a")

    assert [first() for _ in range(5)] == [second() for _ in range(5)]


def test_a_tenant_given_or_not_leaves_the_other_users_as_they_are() -> None:
    """An edit to one user of a test does not rename its others."""
    edited, original = UserFactory(1, "gw0:a"), UserFactory(1, "gw0:a")
    edited(tenant=TenantFactory(1, "gw0:a")())
    original()

    assert edited() == original()


def test_a_user_has_what_was_asked_for() -> None:
    """What matters to a test stands in the test."""
    tenant = TenantFactory(1, "gw0:a")(tier=Tier.ENTERPRISE)
    user = UserFactory(1, "gw0:a")(tier=Tier.MID, tenant=tenant, roles={"admin"})

    assert (user.tenant, user.tier, user.roles) == (tenant, Tier.MID, frozenset({"admin"}))


def test_a_users_tier_is_the_tenants_unless_said() -> None:
    """A customer's people have what the customer pays for."""
    users = UserFactory(1, "gw0:a")
    of_enterprise = users(tenant=TenantFactory(1, "gw0:a")(tier=Tier.ENTERPRISE))
    early = users(tier=Tier.EARLY)

    assert users().tier is users().tenant.tier is Tier.FREE
    assert of_enterprise.tier is Tier.ENTERPRISE
    assert early.tenant.tier is Tier.EARLY


def test_users_cannot_be_changed() -> None:
    """A context that two parts of a test share says the same to both."""
    user = UserFactory(1, "gw0:a")()

    with pytest.raises(ValidationError, match="frozen"):
        user.tier = Tier.ENTERPRISE
