"""The rows of refresh tokens and their families."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from netra_auth.identity import FamilyId, Method, SessionId, SignedIn, TenantId, UserId
from netra_auth.store.database import Database, Transaction

_OPEN = text(
    "insert into auth.refresh_family"
    " (id, user_id, tenant_id, session_id, methods, authenticated_at, issued_at, expires_at)"
    " values (:id, :user, :tenant, :session, :methods, :authenticated_at, :issued_at, :expires_at)"
)
_ADD = text(
    "insert into auth.refresh_token (digest, family_id, issued_at, expires_at)"
    " values (:digest, :family, :issued_at, :expires_at)"
)
_FIND = (
    "select f.id, f.user_id, f.tenant_id, f.session_id, f.methods, f.authenticated_at,"
    " f.expires_at as family_expires_at, f.revoked_at, t.used_at, t.expires_at"
    " from auth.refresh_token as t join auth.refresh_family as f on f.id = t.family_id"
    " where t.digest = :digest"
)
_SEEN = text(_FIND)
# Whoever locks families does so in the order of their ids, so that two never wait for each other. The token is
# read again once its family is locked: what was read beside waiting for a lock is the past.
_LOCK = text(
    "select id from auth.refresh_family where session_id = ("
    "  select f.session_id from auth.refresh_token as t join auth.refresh_family as f on f.id = t.family_id"
    "  where t.digest = :digest"
    ") order by id for update"
)
_SPEND = text("update auth.refresh_token set used_at = :at where digest = :digest")
_REVOKE_SESSION = text(
    "update auth.refresh_family set revoked_at = :at where id in (select id from auth.refresh_family"
    " where revoked_at is null and session_id = :session order by id for update)"
)
_REVOKE_USER = text(
    "update auth.refresh_family set revoked_at = :at where id in (select id from auth.refresh_family"
    " where revoked_at is null and user_id = :user order by id for update)"
)
# a few at a time, each of which may have thousands of tokens: one statement for all might outlast any deadline
_PURGE = text(
    "with old as materialized (select id from auth.refresh_family"
    " where expires_at <= :now order by id limit 100 for update skip locked)"
    " delete from auth.refresh_family as f using old where f.id = old.id returning f.id"
)


@dataclass(frozen=True)
class Spendable:
    """A refresh token as its row and its family's say."""

    family: FamilyId
    session: SessionId
    signed_in: SignedIn
    expires_at: datetime
    family_expires_at: datetime
    used: bool
    revoked: bool


async def open_family(
    within: Transaction, family: FamilyId, session: SessionId, signed_in: SignedIn, *, at: datetime,
    until: datetime,
) -> None:  # fmt: skip
    """Write down a family that lives from *at* to *until*."""
    await within.execute(
        _OPEN, id=UUID(family), user=signed_in.user, tenant=signed_in.tenant, session=session,
        methods=sorted(signed_in.methods), authenticated_at=signed_in.at, issued_at=at, expires_at=until,
    )  # fmt: skip


async def add(within: Transaction, digest: bytes, family: FamilyId, *, at: datetime, until: datetime) -> None:
    """Write down a token of *family*."""
    await within.execute(_ADD, digest=digest, family=UUID(family), issued_at=at, expires_at=until)


async def find(within: Database | Transaction, digest: bytes) -> Spendable | None:
    """Return the token that has *digest*."""
    rows = await within.execute(_SEEN, digest=digest)
    return _spendable(rows[0]) if rows else None


async def lock(within: Transaction, digest: bytes) -> Spendable | None:
    """Return the token that has *digest*, its session's families locked until the transaction ends."""
    await within.execute(_LOCK, digest=digest)
    return await find(within, digest)


async def spend(within: Transaction, digest: bytes, *, at: datetime) -> None:
    """Mark a token as used."""
    await within.execute(_SPEND, digest=digest, at=at)


async def revoke_of_session(within: Transaction, session: SessionId, *, at: datetime) -> None:
    """Revoke the families of a session."""
    await within.execute(_REVOKE_SESSION, session=session, at=at)


async def revoke_of_user(within: Transaction, user: UserId, *, at: datetime) -> None:
    """Revoke the families of a user."""
    await within.execute(_REVOKE_USER, user=user, at=at)


async def purge(database: Database, now: datetime) -> None:
    """Delete families that are past their age, with their tokens."""
    while await database.execute(_PURGE, now=now):
        pass


def _spendable(row: Row[Any]) -> Spendable:
    methods = frozenset(Method(method) for method in row.methods)
    return Spendable(
        family=FamilyId(str(row.id)), session=SessionId(row.session_id),
        signed_in=SignedIn(
            user=UserId(row.user_id), tenant=TenantId(row.tenant_id), methods=methods, at=row.authenticated_at
        ),
        expires_at=row.expires_at, family_expires_at=row.family_expires_at,
        used=row.used_at is not None, revoked=row.revoked_at is not None,
    )  # fmt: skip
