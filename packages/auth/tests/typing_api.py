"""Calls that must type-check; never executed."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    PLATFORM,
    Access,
    AccessPolicy,
    Allowance,
    Change,
    Decision,
    Effect,
    Permission,
    Principal,
    Resource,
    Role,
    Standing,
    TenantId,
    UserId,
    decide,
)


class Telling:
    """Satisfies RevokesTokens, with arguments of its own and another result."""

    async def revoke_user(self, user: UserId, *, sign_out: bool = True, reason: str = "changed") -> int:
        return 0


class Deaf:
    """Doesn't satisfy RevokesTokens."""

    async def revoke_user(self, user: UserId) -> None:  # would sign everybody out
        pass


async def access_calls(engine: AsyncEngine, actor: Principal) -> None:
    policy = AccessPolicy(adds={Role.ADMIN: Allowance(own=frozenset({Permission("soup:cook")}))})
    access = Access(
        engine=engine,
        policy=policy,
        revocations=Telling(),
        clock=lambda: datetime.now(UTC),
        deadline=timedelta(seconds=1),
    )
    alice, acme, cook = UserId("alice"), TenantId("acme"), Permission("soup:cook")
    soup = Resource(kind="soup", id="1", tenant=acme, owner=alice)
    await access.found(alice, acme)
    assert_type(await access.assign(actor, alice, acme, Role.ADMIN), bool)
    assert_type(await access.unassign(actor, alice, acme, Role.ADMIN), bool)
    assert_type(await access.grant(actor, alice, cook), bool)
    assert_type(await access.deny(actor, alice, cook, soup, until=datetime.now(UTC)), bool)
    assert_type(await access.withdraw(actor, alice, cook, soup, effect=Effect.DENIAL), bool)
    assert_type(await access.roles(alice, acme), frozenset[Role])
    assert_type(await access.allowed(actor, cook, soup), bool)
    await access.require(actor, cook, soup, address="192.0.2.7")
    assert_type(await access.changes(acme, user=alice, before=9, size=10), list[Change])
    standing = Standing(user=alice, tenant=acme)
    assert_type(decide(PLATFORM, standing, cook, soup, at=datetime.now(UTC)), Decision)

    Access(engine=engine, revocations=Deaf())  # type: ignore[arg-type]
    await access.allowed(alice, cook, soup)  # type: ignore[arg-type]  # a name proves nothing
    await access.allowed(actor, "soup:cook", soup)  # type: ignore[arg-type]
    await access.roles(acme, alice)  # type: ignore[arg-type]  # the wrong way round
    await access.assign(actor, alice, acme, "admin")  # type: ignore[arg-type]
    await access.withdraw(actor, alice, cook)  # type: ignore[call-arg]  # a grant or a denial?
    soup.owner = None  # type: ignore[misc]  # frozen
    policy.adds[Role.ADMIN] = Allowance()  # type: ignore[index]
