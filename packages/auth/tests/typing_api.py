"""Calls that must type-check; never executed."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from pydantic import SecretBytes, SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    PLATFORM,
    Access,
    AccessPolicy,
    AccessTokens,
    Account,
    Accounts,
    Allowance,
    Change,
    Decision,
    Effect,
    FollowPolicy,
    Grant,
    KeyRing,
    Kind,
    Method,
    PasswordHasher,
    PasswordPolicy,
    Permission,
    Principal,
    RecoveryCode,
    RefreshTokens,
    Resource,
    Revocations,
    Role,
    SecondFactorNeeded,
    SecondFactors,
    SessionId,
    SignedIn,
    SigningKey,
    Standing,
    TenantId,
    TokenPolicy,
    UserId,
    Verifier,
    Violation,
    ViolationLog,
    WhenBlind,
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


async def token_calls(engine: AsyncEngine, redis: Redis, access: Access, signed_in: SignedIn) -> None:
    keys = KeyRing(SigningKey.generate())
    policy = TokenPolicy(issuer="https://auth.example.com", audience="netra", lifetime=timedelta(minutes=5))
    revocations = Revocations(engine=engine, redis=redis, namespace="netra", policy=policy)
    access_tokens = AccessTokens(keys=keys, policy=policy)
    tokens = RefreshTokens(engine=engine, access_tokens=access_tokens, roles=access, revocations=revocations)
    Access(engine=engine, revocations=revocations)
    grant = await tokens.issue(signed_in, session=SessionId("s"))
    assert_type(grant, Grant)
    assert_type(await tokens.rotate(grant.refresh_token, address="192.0.2.7"), Grant)
    assert_type(await tokens.is_live("text"), bool)
    async with Verifier(
        engine=engine, redis=redis, namespace="netra", keys=keys, policy=policy,
        following=FollowPolicy(when_blind=WhenBlind.ACCEPT),
    ) as verifier:  # fmt: skip
        assert_type(verifier.verify(grant.access_token, tenant=signed_in.tenant), Principal)
        verifier.use(keys.rotate(SigningKey.generate()))
    await revocations.revoke_user(signed_in.user, sign_out=False)

    await tokens.issue(signed_in.user)  # type: ignore[arg-type]  # a name proves nothing
    await revocations.revoke_session(signed_in.user)  # type: ignore[arg-type]
    SigningKey("secret")  # type: ignore[arg-type, call-arg]  # a SecretStr, and for one algorithm
    grant.refresh_token = None  # type: ignore[misc, assignment]  # frozen


async def account_calls(engine: AsyncEngine, redis: Redis, revocations: Revocations) -> None:
    password, acme = SecretStr("correct horse battery"), TenantId("acme")
    async with (
        PasswordHasher(PasswordPolicy(blocklist={"netra"}, minimum_length=15), threads=2) as hasher,
        SecondFactors(
            engine=engine, redis=redis, namespace="netra", key=SecretBytes(b""), issuer="Netra"
        ) as factors,
        Accounts(
            engine=engine, redis=redis, namespace="netra", hasher=hasher, factors=factors,
            revocations=revocations,
        ) as accounts,
    ):  # fmt: skip
        alice = await accounts.register("alice@example.com", password, tenant=acme)
        assert_type(alice, Account)
        signed_in = await accounts.sign_in(alice.email, password, address=None)
        assert_type(signed_in, SignedIn | SecondFactorNeeded)
        if isinstance(signed_in, SecondFactorNeeded):
            assert_type(await accounts.complete(signed_in.challenge, SecretStr("1"), address=None), SignedIn)
        enrolment = await factors.enrol(alice.id)
        assert_type(enrolment.secret, SecretStr)
        assert_type(await factors.confirm(alice.id, SecretStr("123456")), tuple[RecoveryCode, ...])
        assert_type(await factors.verify(alice.id, SecretStr("123456")), Method)
        assert_type(await ViolationLog(engine=engine).find(kind=Kind.LOCKED), list[Violation])

        await accounts.register("alice@example.com", "plain", tenant=acme)  # type: ignore[arg-type]
        await accounts.sign_in(alice.email, password)  # type: ignore[call-arg]  # where from?
