"""Only those who proved who they are get in, and each of them does only what they may."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Access,
    AccessDenied,
    AccessTokens,
    Accounts,
    AlgorithmRefused,
    ClaimRefused,
    Effect,
    EmailTaken,
    Enrolment,
    KeyRing,
    KeyUnknown,
    Kind,
    Method,
    PasswordFault,
    PasswordRefused,
    Permission,
    Principal,
    Reason,
    RefreshTokenReused,
    RefreshTokens,
    Resource,
    Role,
    SecondFactorNeeded,
    SecondFactorRefused,
    SecondFactors,
    SignatureInvalid,
    SignedIn,
    SigningKey,
    SignInRefused,
    TenantId,
    TokenExpired,
    TokenPolicy,
    TokenRevoked,
    UserId,
    Verifier,
    ViolationLog,
)
from netra_fixtures import Goal, ManualClock, TenantFactory, Tier, business_value, eventually

from .conftest import QUICK

CodeOf = Callable[[Enrolment], SecretStr]
HORSE = SecretStr("correct horse battery")
HOME = "192.0.2.7"
ACME, OTHER = TenantId("acme"), TenantId("other")
ROOT, ALICE = UserId("root"), UserId("alice")
DOORS = [  # one that each role opens first, from the lowest role to the highest
    Permission(name) for name in ("run:start", "bill:upload", "tool:run", "setting:write", "tenant:change")
]


@business_value(
    tier=Tier.FREE, goals={Goal.SECURITY, Goal.RETENTION}, impact="users sign in safely and stay signed in"
)
async def test_jwt_token_lifecycle_and_validation(
    refresh_tokens: RefreshTokens, access_tokens: AccessTokens, verifier: Verifier,
    keys: KeyRing, token_policy: TokenPolicy, log: ViolationLog, clock: ManualClock, alice: SignedIn,
) -> None:  # fmt: skip
    """A token is issued, verified, refreshed, signed with a new key, revoked and gone; a forged one never works."""
    grant = await refresh_tokens.issue(alice)
    principal = verifier.verify(grant.access_token, tenant=alice.tenant)
    assert (principal.user, principal.tenant, principal.session) == (alice.user, alice.tenant, grant.session)
    assert (principal.roles, principal.methods) == ({Role.STANDARD_USER}, alice.methods)
    assert principal.expires_at == grant.expires_at == clock.now() + token_policy.lifetime
    assert grant.access_token.get_secret_value() not in repr(grant)

    header, payload, signature = grant.access_token.get_secret_value().split(".")
    with pytest.raises(SignatureInvalid):
        verifier.verify(f"{header}.{payload}.{'A' * len(signature)}")
    with pytest.raises(AlgorithmRefused):
        verifier.verify(f"eyJhbGciOiJub25lIn0.{payload}.")
    with pytest.raises(ClaimRefused):
        verifier.verify(grant.access_token, tenant=TenantId("another"))

    clock.advance(token_policy.lifetime + token_policy.leeway)
    with pytest.raises(TokenExpired):
        verifier.verify(grant.access_token)
    renewed = await refresh_tokens.rotate(grant.refresh_token)
    assert verifier.verify(renewed.access_token).session == grant.session

    rotated = keys.rotate(SigningKey.generate())
    [old] = [key["kid"] for key in keys.jwks()["keys"]]
    verifier.use(KeyRing.from_jwks(json.dumps(rotated.jwks())))
    access_tokens.use(rotated)
    newest = await refresh_tokens.rotate(renewed.refresh_token)
    assert verifier.verify(renewed.access_token).user == verifier.verify(newest.access_token).user
    verifier.use(rotated.retire(old))
    with pytest.raises(KeyUnknown):
        verifier.verify(renewed.access_token)

    with pytest.raises(RefreshTokenReused):
        await refresh_tokens.rotate(grant.refresh_token)
    assert not await refresh_tokens.is_live(newest.refresh_token)

    async def revoked_and_on_record() -> None:
        try:
            verifier.verify(newest.access_token)
        except TokenRevoked:
            kinds = {violation.kind for violation in await log.find()}
            assert kinds >= {
                Kind.BAD_SIGNATURE, Kind.BAD_ALGORITHM, Kind.OTHER_TENANT, Kind.UNKNOWN_KEY,
                Kind.REFRESH_REUSED, Kind.REVOKED_TOKEN,
            }  # fmt: skip
            return
        raise AssertionError("the access token is still accepted")

    await eventually(revoked_and_on_record, seconds=10)
    clock.advance(timedelta(microseconds=1))
    again = await refresh_tokens.issue(alice)
    assert verifier.verify(again.access_token).user == alice.user


@business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="nobody else uses a user's account or sees their bills"
)
async def test_user_registration_and_password_security(
    accounts: Accounts, engine: AsyncEngine, log: ViolationLog, tenants: TenantFactory
) -> None:
    """One address is one account, a password everybody tries is refused, and none can be read from the store."""
    tenant = TenantId(str(tenants().id))
    with pytest.raises(PasswordRefused) as refused:
        await accounts.register("Alice@Example.com", SecretStr("PassWord123"), tenant=tenant)

    alice = await accounts.register("Alice@Example.com", HORSE, tenant=tenant)

    with pytest.raises(EmailTaken):
        await accounts.register("ALICE@example.COM", SecretStr("another long secret"), tenant=tenant)
    signed_in = await accounts.sign_in("alice@EXAMPLE.com", HORSE, address=HOME)
    with pytest.raises(SignInRefused):
        await accounts.sign_in("alice@example.com", SecretStr("wrong horse battery"), address=HOME)
    async with engine.connect() as connection:
        stored = await connection.scalar(text("select password from auth.account"))
    assert refused.value.fault is PasswordFault.COMMON
    assert isinstance(signed_in, SignedIn)
    assert (signed_in.user, signed_in.tenant) == (alice.id, tenant)
    assert str(stored).startswith(f"$pbkdf2-sha256$i={QUICK.rounds}$")
    assert [(one.kind, one.user, one.tenant) for one in await log.find()] == [
        (Kind.WRONG_PASSWORD, alice.id, tenant)
    ]


@business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="nobody else uses a user's account or sees their bills"
)
async def test_multi_factor_authentication_flow(
    accounts: Accounts, factors: SecondFactors, log: ViolationLog, clock: ManualClock, code_of: CodeOf
) -> None:
    """Who has an app set up signs in with password and code, or with a code on paper, each code once."""
    alice = await accounts.register("alice@example.com", HORSE, tenant=TenantId("acme"))
    app = await factors.enrol(alice.id)
    papers = await factors.confirm(alice.id, code_of(app))
    clock.advance(timedelta(seconds=30))

    async def halfway() -> SecretStr:
        asked = await accounts.sign_in("alice@example.com", HORSE, address=HOME)
        assert isinstance(asked, SecondFactorNeeded)
        return asked.challenge

    right = code_of(app).get_secret_value()
    wrong = SecretStr(f"{right[:-1]}{(int(right[-1]) + 5) % 10}")
    with pytest.raises(SecondFactorRefused):
        await accounts.complete(await halfway(), wrong, address=HOME)
    by_app = await accounts.complete(await halfway(), code_of(app), address=HOME)
    with pytest.raises(SecondFactorRefused):
        await accounts.complete(await halfway(), code_of(app), address=HOME)
    by_paper = await accounts.complete(await halfway(), papers[3], address=HOME)
    with pytest.raises(SecondFactorRefused):
        await accounts.complete(await halfway(), papers[3], address=HOME)

    assert by_app.methods == {Method.PASSWORD, Method.ONE_TIME_PASSWORD}
    assert by_paper.methods == {Method.PASSWORD, Method.RECOVERY_CODE}
    kinds = [one.kind for one in reversed(await log.find(user=alice.id))]
    assert kinds == [Kind.WRONG_CODE, *[Kind.REPLAYED_CODE] * 2]


@business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="what belongs to a customer is seen and changed by those alone who may",
)
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
