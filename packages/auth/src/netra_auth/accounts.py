"""Accounts: register, sign in by password and second factor, change the password, disable."""

import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from pydantic import BaseModel, Field, SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import passwords
from netra_auth.challenge import Challenges, HalfSignedIn, SecondFactorNeeded
from netra_auth.clock import Clock, utc_now
from netra_auth.email import Email, normalised
from netra_auth.errors import (
    AccountUnknown,
    ChallengeRefused,
    EmailTaken,
    HashingOverloaded,
    PasswordRefused,
    SecondFactorState,
    SignInRefused,
)
from netra_auth.guessing import Attempt, Guessing, GuessingPolicy, digest
from netra_auth.hashing import PasswordHasher
from netra_auth.identity import Method, SignedIn, TenantId, UserId, check_name
from netra_auth.revocation import Revoked
from netra_auth.revocations import Revocations
from netra_auth.second_factor import SecondFactors
from netra_auth.store import accounts, violations
from netra_auth.store.accounts import Row
from netra_auth.store.database import Database
from netra_auth.violation import Kind, Violation


class Account(BaseModel, frozen=True):
    """Somebody who registered."""

    id: UserId
    email: Email
    tenant: TenantId
    created_at: datetime


class SignInPolicy(BaseModel, frozen=True, extra="forbid"):
    """Limits on guessing passwords, and how long a sign-in may stay half done, in how many attempts."""

    guessing: GuessingPolicy = GuessingPolicy()
    challenge_lifetime: timedelta = Field(default=timedelta(minutes=5), le=timedelta(minutes=10))
    challenge_attempts: int = Field(default=5, ge=1, le=20)


_POLICY = SignInPolicy()


class Accounts:
    """Who has an account, and whether somebody is who they say.

    Args:
        hasher: hashes passwords by its policy; whoever opened it closes it.
        factors: asks for the second factor of those who have one.
        revocations: ends what was issued to a user, in the transaction that changes the account.
    """

    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, namespace: str, hasher: PasswordHasher,
        factors: SecondFactors, revocations: Revocations, policy: SignInPolicy = _POLICY,
        clock: Clock = utc_now, deadline: timedelta = timedelta(seconds=2),
    ) -> None:  # fmt: skip
        self._hasher = hasher
        self._factors = factors
        self._revocations = revocations
        self._clock = clock
        self._database = Database(engine, deadline=deadline)
        self._guessing = Guessing(
            redis=redis, namespace=f"{namespace}:passwords", policy=policy.guessing, clock=clock
        )
        self._challenges = Challenges(
            redis=redis, namespace=namespace, lifetime=policy.challenge_lifetime,
            attempts=policy.challenge_attempts, clock=clock, deadline=deadline,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what this object opened."""
        await self._guessing.close()
        await self._challenges.close()

    async def register(self, email: str, password: SecretStr, *, tenant: TenantId) -> Account:
        """Make an account.

        Raises:
            InvalidEmail: what was given is no e-mail address.
            PasswordRefused: the policy forbids the password.
            EmailTaken: the address has an account, in whatever case it was written.
            HashingOverloaded: too many passwords wait to be hashed.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
            InvalidIdentifier: no tenant has such a name.
        """
        check_name(tenant)
        address = normalised(email)
        stored = await self._hasher.hash(self._hasher.check(password, address))
        account = Account(
            id=UserId(str(uuid.uuid4())), email=address, tenant=tenant, created_at=self._clock()
        )
        if not await accounts.add(self._database, account.id, address, tenant, stored, account.created_at):
            raise EmailTaken
        return account

    async def sign_in(
        self, email: str, password: SecretStr, *, address: str | None, tenant: TenantId | None = None
    ) -> SignedIn | SecondFactorNeeded:
        """Let in whoever knows the password, or ask for their second factor.

        Args:
            address: where the request comes from, for the limits on guessing.
            tenant: in which to act; unless given, the one of the account. Roles say what may be done there.

        Raises:
            SignInRefused: for whatever reason: the answer and the work are the same for each.
            InvalidEmail: what was given is no e-mail address.
            InvalidIdentifier: no tenant has such a name.
            HashingOverloaded: too many passwords wait to be hashed.
            StoreUnavailable: a store did not answer within the deadline.

        Source:
            ASVS 6.3.8.
        """
        at = self._clock()  # before the password is read: what is revoked later revokes this sign-in
        known, given = normalised(email), _given(password)
        if tenant is not None:
            check_name(tenant)
        attempt = await self._guessing.reserve(known, address)
        async with self._guessing.checking(attempt):
            row = await accounts.by_email(self._database, known)
            fits = await self._hasher.verify(given, row.password if row else None)
        row = await self._admitted(attempt, known, row, address, fits=fits)
        await self._guessing.succeeded(attempt)
        await self._rehash(row, given)
        acting = tenant or row.tenant
        if await self._factors.is_enrolled(row.id):
            return await self._challenges.issue(row.id, acting, row.password_version)
        await self._admit(row.id, acting, row.password_version, address, at)
        return SignedIn(user=row.id, tenant=acting, methods=frozenset({Method.PASSWORD}), at=at)

    async def complete(self, challenge: SecretStr, code: SecretStr, *, address: str | None) -> SignedIn:
        """Let in whoever, after the password, has the second factor too.

        Raises:
            ChallengeRefused: the challenge is spent, too old, or was tried too often.
            SecondFactorRefused: the code is wrong or was used before; the challenge may be tried again.
            SignInRefused: the account was disabled, or its password changed, since the password was given.
            StoreUnavailable: a store did not answer within the deadline.
        """
        at = self._clock()
        held = await self._challenges.use(challenge)
        method = await self._verified(held, code, address)
        await self._challenges.spend(challenge)
        await self._admit(held.user, held.tenant, held.password_version, address, at)
        methods = frozenset({Method.PASSWORD, method})
        return SignedIn(user=held.user, tenant=held.tenant, methods=methods, at=at)

    async def change_password(
        self, user: UserId, current: SecretStr, new: SecretStr, *, address: str | None
    ) -> None:
        """Set another password and end what was issued before: both, or neither.

        Raises:
            AccountUnknown: nobody has this id.
            PasswordRefused: the policy forbids the new one.
            SignInRefused: the current one is wrong, or may not be tried now.
            HashingOverloaded: too many passwords wait to be hashed.
            StoreUnavailable: a store did not answer within the deadline.
        """
        found = await accounts.by_id(self._database, user)
        if found is None:
            raise AccountUnknown
        wanted, given = self._hasher.check(new, found.email), _given(current)
        attempt = await self._guessing.reserve(found.email, address)
        async with self._guessing.checking(attempt):
            fits = await self._hasher.verify(given, found.password)
        row = await self._admitted(attempt, found.email, found, address, fits=fits)
        await self._guessing.succeeded(attempt)
        stored = await self._hasher.hash(wanted)
        async with self._database.transaction() as within:
            if not await accounts.change(within, user, row.password_version, stored):
                raise SignInRefused
            made = await self._revocations.record(within, Revoked.USER, user)
        await self._revocations.announce([made])

    async def disable(self, user: UserId) -> None:
        """Close an account and end what was issued to it: both, or neither; again is no error.

        Raises:
            AccountUnknown: nobody has this id.
            StoreUnavailable: a store did not answer within the deadline.
        """
        async with self._database.transaction() as within:
            if not await accounts.disable(within, user, self._clock()):
                raise AccountUnknown
            made = await self._revocations.record(within, Revoked.USER, user)
        await self._revocations.announce([made])

    async def enable(self, user: UserId) -> None:
        """Open an account again.

        Raises:
            AccountUnknown: nobody has this id.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        if not await accounts.enable(self._database, user):
            raise AccountUnknown

    async def _admitted(
        self, attempt: Attempt, email: Email, row: Row | None, address: str | None, *, fits: bool
    ) -> Row:
        """Return the account where all is right; else write down what is not."""
        reason = _reason(attempt, row, fits=fits)
        if row is not None and reason is None:
            return row
        assert reason is not None, "without an account there is one"
        detail = {"account": digest(email), "reason": reason.value}
        kind = Kind.LOCKOUT if attempt.locks else reason
        await self._refuse(kind, row.id if row else None, row.tenant if row else None, address, detail)
        raise SignInRefused

    async def _admit(
        self, user: UserId, tenant: TenantId, version: int, address: str | None, at: datetime
    ) -> None:
        if not await accounts.admit(self._database, user, version, at):
            detail = {"reason": "changed during the sign-in"}
            await self._refuse(Kind.DISABLED_ACCOUNT, user, tenant, address, detail)
            raise SignInRefused

    async def _refuse(
        self, kind: Kind, user: UserId | None, tenant: TenantId | None, address: str | None,
        detail: dict[str, str],
    ) -> None:  # fmt: skip
        violation = Violation(
            at=self._clock(), kind=kind, user=user, tenant=tenant, address=address, detail=detail
        )
        await violations.add(self._database, violation)

    async def _rehash(self, row: Row, given: bytes) -> None:
        if not self._hasher.is_outdated(row.password):
            return
        with suppress(HashingOverloaded):  # the next sign-in will do
            stored = await self._hasher.hash(given)
            await accounts.rehash(self._database, row.id, row.password_version, stored)

    async def _verified(self, held: HalfSignedIn, code: SecretStr, address: str | None) -> Method:
        try:
            return await self._factors.verify(held.user, code, address=address)
        except SecondFactorState:
            raise ChallengeRefused from None  # disabled since the password was given


def _given(password: SecretStr) -> bytes:
    """Return the bytes of a password that is tried; what no account can have opens none."""
    try:
        return passwords.normalised(password)
    except PasswordRefused:
        raise SignInRefused from None


def _reason(attempt: Attempt, row: Row | None, *, fits: bool) -> Kind | None:
    if not attempt.admitted:
        return Kind.LOCKED
    if row is None:
        return Kind.UNKNOWN_ACCOUNT
    if not fits:
        return Kind.WRONG_PASSWORD
    return Kind.DISABLED_ACCOUNT if row.disabled else None
