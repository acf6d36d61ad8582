"""The rows of revocations, each with the transaction that wrote it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from netra_auth.identity import Principal, SessionId, SignedIn, UserId
from netra_auth.revocation import Revocation, Revoked
from netra_auth.store.database import Database, Transaction

_ADD = text(
    "insert into auth.revocation (what, subject, at, until, signs_out, made_in)"
    " values (:what, :subject, :at, :until, :signs_out, pg_current_xact_id()::text::bigint)"
)
# One statement, so one snapshot: what it doesn't show was written by a transaction at or after its horizon.
_SINCE = text(
    "select horizon, what, subject, at, until"
    " from (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon) as here"
    " left join auth.revocation on made_in >= :position and until > :now"
)
_LOCK_USER = text("select pg_advisory_xact_lock(hashtextextended('auth ' || :user, 4817))")
_COVERS_SIGN_IN = text(
    "select 1 from auth.revocation where what = 'user' and subject = :user and signs_out and at > :since"
    " union all select 1 from auth.revocation where what = 'session' and subject = :session limit 1"
)
_COVERS = text(
    "select 1 from auth.revocation where what = 'token' and subject = :token"
    " or what = 'session' and subject = :session or what = 'user' and subject = :user and at >= :issued_at limit 1"
)
# A few at a time: one statement for all might outlast any deadline. `in (select … limit …)` may be run for each row.
_PURGE = text(
    "with old as materialized (select id from auth.revocation"
    " where until <= :now order by id limit 1000 for update skip locked)"
    " delete from auth.revocation as r using old where r.id = old.id returning r.id"
)


async def add(within: Transaction, revocation: Revocation, *, signs_out: bool) -> None:
    """Write a revocation down, and whether it ends refresh tokens too."""
    await within.execute(
        _ADD, what=revocation.what.value, subject=revocation.subject, at=revocation.at,
        until=revocation.until, signs_out=signs_out,
    )  # fmt: skip


async def lock_user(within: Transaction, user: UserId) -> None:
    """Keep apart, until the transaction ends, who signs a user out and who begins a family for them."""
    await within.execute(_LOCK_USER, user=user)


async def covers_sign_in(within: Transaction, signed_in: SignedIn, session: SessionId) -> bool:
    """Tell whether the user was signed out everywhere since they signed in, or the session was ended."""
    return bool(
        await within.execute(_COVERS_SIGN_IN, user=signed_in.user, since=signed_in.at, session=session)
    )


async def covers(within: Transaction, principal: Principal) -> bool:
    """Tell whether the token that speaks for *principal* was revoked, as the record says in this moment."""
    return bool(
        await within.execute(
            _COVERS,
            token=principal.token, session=principal.session, user=principal.user, issued_at=principal.issued_at,
        )
    )  # fmt: skip


async def since(database: Database, position: int, now: datetime) -> tuple[int, Sequence[Revocation]]:
    """Return what was written since *position*, some of it perhaps again, and the position to go on from."""
    rows = await database.execute(_SINCE, position=position, now=now)
    found = [
        Revocation(what=Revoked(row.what), subject=row.subject, at=row.at, until=row.until)
        for row in rows
        if row.what is not None
    ]
    return rows[0].horizon, found


async def purge(database: Database, now: datetime) -> None:
    """Delete revocations whose tokens have all expired."""
    while await database.execute(_PURGE, now=now):
        pass
