"""Refresh tokens: each is traded once for the next, and one that comes a second time ends its family."""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Final, Protocol, Self
from uuid import uuid4

from pydantic import BaseModel, SecretStr, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.clock import Clock, utc_now
from netra_auth.errors import (
    RefreshRefused,
    RefreshTokenExpired,
    RefreshTokenReused,
    RefreshTokenRevoked,
    RefreshTokenUnknown,
)
from netra_auth.identity import (
    FamilyId,
    Grant,
    RefreshToken,
    Role,
    SessionId,
    SignedIn,
    TenantId,
    UserId,
)
from netra_auth.revocation import Revocation, Revoked
from netra_auth.revocations import Revocations
from netra_auth.store import refresh_tokens, revocations, violations
from netra_auth.store.database import Database, Transaction
from netra_auth.store.refresh_tokens import Spendable
from netra_auth.tokens import AccessTokens
from netra_auth.violation import Kind, Violation

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Roles(Protocol):
    """Who knows what somebody is in a tenant."""

    async def roles(self, user: UserId, tenant: TenantId) -> frozenset[Role]:
        """Return the roles of *user* in *tenant* as they are now."""
        ...


class RefreshPolicy(BaseModel, frozen=True, extra="forbid"):
    """How long a refresh token may lie unused, and how old its family may get."""

    idle_lifetime: timedelta = timedelta(days=7)
    absolute_lifetime: timedelta = timedelta(days=30)
    deadline: timedelta = timedelta(seconds=2)

    @model_validator(mode="after")
    def _durations_make_sense(self) -> Self:
        if not timedelta(0) < self.idle_lifetime <= self.absolute_lifetime:
            raise ValueError("idle_lifetime is positive and at most absolute_lifetime")
        return self


class RefreshTokens:
    """Issue and rotate refresh tokens; PostgreSQL holds the SHA-256 of each and nothing else of it."""

    def __init__(
        self, *, engine: AsyncEngine, access_tokens: AccessTokens, roles: Roles, revocations: Revocations,
        policy: RefreshPolicy | None = None, clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._policy = policy or RefreshPolicy()
        self._database = Database(engine, deadline=self._policy.deadline)
        self._access_tokens = access_tokens
        self._roles = roles
        self._revocations = revocations
        self._clock = clock

    async def issue(self, signed_in: SignedIn, *, session: SessionId | None = None) -> Grant:
        """Begin a family for somebody who has just signed in.

        Args:
            session: the session it belongs to; by default a new one.

        Raises:
            RefreshTokenRevoked: the user was signed out since then, as by a change of password, or *session* was
                revoked: its access tokens would be refused.
            RefreshTokenExpired: the sign-in lies back for longer than revocations are kept.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        at = self._clock()
        if at >= signed_in.at + self._access_tokens.policy.kept:
            raise RefreshTokenExpired
        roles = await self._roles.roles(signed_in.user, signed_in.tenant)
        session = session or SessionId(str(uuid4()))
        family, until = FamilyId(str(uuid4())), at + self._policy.absolute_lifetime
        grant = self._grant(signed_in, session, family, roles, at)
        async with self._database.transaction() as transaction:
            await revocations.lock_user(transaction, signed_in.user)
            if await revocations.covers_sign_in(transaction, signed_in, session):
                raise RefreshTokenRevoked(family)
            await refresh_tokens.open_family(transaction, family, session, signed_in, at=at, until=until)
            await self._keep(transaction, grant, at, until)
        return grant

    async def rotate(self, token: SecretStr | str, *, address: str | None = None) -> Grant:
        """Trade *token* for a new grant, with the roles that hold now; the old token is spent.

        Args:
            token: 43 URL-safe characters, as issued.
            address: where it came from, for the log of violations.

        Raises:
            RefreshTokenUnknown: it was never issued, or its family is long over.
            RefreshTokenReused: it was traded before; its family and its session's access tokens are revoked.
            RefreshTokenRevoked: its family was revoked.
            RefreshTokenExpired: it lay unused for longer than `idle_lifetime`, or its family is older than
                `absolute_lifetime`.
            StoreUnavailable: PostgreSQL did not answer within the deadline. Whether the token was spent is
                open then: trading it again may end the family.

        Source:
            RFC 9700, section 4.14.2, refresh token rotation.
        """
        digest = _digest(token)
        at = self._clock()  # before the roles are read, so that a revocation after that covers the new token
        seen = await refresh_tokens.find(self._database, digest)
        if seen is None:
            raise RefreshTokenUnknown
        roles = await self._roles.roles(seen.signed_in.user, seen.signed_in.tenant)
        grant = self._grant(seen.signed_in, seen.session, seen.family, roles, at)
        async with self._database.transaction() as transaction:
            found = await refresh_tokens.lock(transaction, digest)
            refused, made = await self._spend(transaction, found, digest, at, address)
            if refused is None:
                await self._keep(transaction, grant, at, seen.family_expires_at)
        await self._revocations.announce(made)
        if refused is not None:
            raise refused
        return grant

    async def revoke(self, token: SecretStr | str) -> None:
        """Revoke the family of *token* and the access tokens of its session, as at a sign-out.

        Raises:
            RefreshTokenUnknown: it was never issued, or its family is long over.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        digest = _digest(token)
        async with self._database.transaction() as transaction:
            found = await refresh_tokens.lock(transaction, digest)
            if found is None:
                raise RefreshTokenUnknown
            made = await self._revocations.record(transaction, Revoked.SESSION, found.session)
        await self._revocations.announce([made])

    async def is_live(self, token: SecretStr | str) -> bool:
        """Tell whether *token* could be traded now; it stays as it is.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        try:
            found = await refresh_tokens.find(self._database, _digest(token))
        except RefreshTokenUnknown:
            return False
        return found is not None and _refusal(found, self._clock()) is None

    async def purge(self) -> None:
        """Delete the families that are past their age; call it every few hours.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        await refresh_tokens.purge(self._database, self._clock())

    async def _spend(
        self,
        transaction: Transaction,
        found: Spendable | None,
        digest: bytes,
        at: datetime,
        address: str | None,
    ) -> tuple[RefreshRefused | None, list[Revocation]]:
        """Spend a token whose family is locked, or tell why not and what was revoked for it."""
        if found is None:
            return RefreshTokenUnknown(), []
        refused = _refusal(found, at)
        if refused is None:
            await refresh_tokens.spend(transaction, digest, at=at)
        if not isinstance(refused, RefreshTokenReused):
            return refused, []
        await violations.add(
            transaction,
            Violation(
                at=at, kind=Kind.REFRESH_REUSED, user=found.signed_in.user, tenant=found.signed_in.tenant,
                address=address, detail={"family": found.family, "session": found.session},
            ),
        )  # fmt: skip
        if found.revoked:
            return refused, []
        return refused, [await self._revocations.record(transaction, Revoked.SESSION, found.session)]

    def _grant(
        self, signed_in: SignedIn, session: SessionId, family: FamilyId, roles: frozenset[Role], at: datetime
    ) -> Grant:
        signed = self._access_tokens.sign(signed_in, session=session, roles=roles, issued_at=at)
        return Grant(
            access_token=signed.token, refresh_token=RefreshToken(secrets.token_urlsafe(32)), family=family,
            session=session, expires_at=signed.principal.expires_at,
        )  # fmt: skip

    async def _keep(self, transaction: Transaction, grant: Grant, at: datetime, latest: datetime) -> None:
        until = min(at + self._policy.idle_lifetime, latest)
        await refresh_tokens.add(transaction, _digest(grant.refresh_token), grant.family, at=at, until=until)


def _refusal(found: Spendable, at: datetime) -> RefreshRefused | None:
    if found.used:
        return RefreshTokenReused(found.family)
    if found.revoked:
        return RefreshTokenRevoked(found.family)
    if at >= min(found.expires_at, found.family_expires_at):
        return RefreshTokenExpired()
    return None


def _digest(token: SecretStr | str) -> bytes:
    text = token.get_secret_value() if isinstance(token, SecretStr) else token
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise RefreshTokenUnknown
    return hashlib.sha256(text.encode()).digest()
