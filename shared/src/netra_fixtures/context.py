"""The users and tenants that tests share a language for; a factory gives each test its own."""

import hashlib
from collections.abc import Set
from typing import NewType
from uuid import UUID

from pydantic import BaseModel, Field

from netra_fixtures.value import Tier

UserId = NewType("UserId", str)
TenantId = NewType("TenantId", str)

STANDARD_USER = frozenset({"standard_user"})

# names that code gets wrong: an apostrophe, accents, no space, several scripts, very short
PEOPLE = (
    "Ada Lovelace",
    "Sinéad O'Connor",
    "Đặng Thị Hạnh",
    "Łukasz Żak",
    "李小龍",
    "Ōe Ken",
    "Nour El-Din",
    "Bo",
)
COMPANIES = ("Blue Harbor", "Größe & Söhne", "O'Neill Freight", "Ünal Lojistik", "東京電機", "Acme")


class Tenant(BaseModel, frozen=True, extra="forbid"):
    """A customer."""

    id: TenantId
    name: str = Field(min_length=1)
    tier: Tier


class UserContext(BaseModel, frozen=True, extra="forbid"):
    """A person of one tenant, as code under test gets to know them."""

    id: UserId
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    display_name: str = Field(min_length=1)
    tenant: Tenant
    tier: Tier
    roles: frozenset[str] = STANDARD_USER


class TenantFactory:
    """Make tenants that no other factory makes.

    Args:
        seed: the run's; the same seed and scope give the same tenants in the same order.
        scope: what sets this factory apart from every other of the run, such as worker and test.
    """

    def __init__(self, seed: int, scope: str) -> None:
        self._identities = _Identities(seed, scope, "tenant")

    def __call__(self, *, tier: Tier = Tier.FREE) -> Tenant:
        """Make a tenant."""
        return _tenant(self._identities.next(), tier)


class UserFactory:
    """Make users that no other factory makes.

    Args:
        seed: the run's; the same seed and scope give the same users in the same order.
        scope: what sets this factory apart from every other of the run, such as worker and test.
    """

    def __init__(self, seed: int, scope: str) -> None:
        self._identities = _Identities(seed, scope, "user")
        self._tenants = _Identities(seed, scope, "tenant of a user")

    def __call__(
        self, *, tier: Tier | None = None, tenant: Tenant | None = None, roles: Set[str] = STANDARD_USER
    ) -> UserContext:
        """Make a user, of a tenant of their own unless *tenant* is given.

        Args:
            tier: the tenant's, or FREE without one.
        """
        if tier is None:
            tier = Tier.FREE if tenant is None else tenant.tier
        identity, own = self._identities.next(), self._tenants.next()
        tenant = tenant or _tenant(own, tier)
        return UserContext(
            id=UserId(str(identity)),
            email=f"user-{identity.hex}@example.com",
            display_name=_pick(PEOPLE, identity),
            tenant=tenant,
            tier=tier,
            roles=frozenset(roles),
        )


class _Identities:
    """Count through UUIDs that follow from seed, scope and kind."""

    def __init__(self, seed: int, scope: str, kind: str) -> None:
        self._key = repr((seed, scope, kind))
        self._made = 0

    def next(self) -> UUID:
        self._made += 1
        digest = hashlib.blake2b(f"{self._key}#{self._made}".encode(), digest_size=16)
        return UUID(bytes=digest.digest(), version=4)


def _tenant(identity: UUID, tier: Tier) -> Tenant:
    return Tenant(id=TenantId(str(identity)), name=_pick(COMPANIES, identity), tier=tier)


def _pick(names: tuple[str, ...], identity: UUID) -> str:
    return names[identity.int % len(names)]
