"""The rows of second factors and of recovery codes."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import text

from netra_auth.identity import UserId, is_name
from netra_auth.store.database import Database, Transaction

_ENROL = text(
    "insert into auth.second_factor as f (account_id, sealed, enrolled_at)"
    " select id, :sealed, :at from auth.account where id = :user"
    " on conflict (account_id) do update set sealed = :sealed, enrolled_at = :at, last_step = -1"
    " where f.confirmed_at is null returning account_id"
)
_FIND = text("select sealed, confirmed_at, last_step from auth.second_factor where account_id = :user")
_CONFIRM = text(
    "update auth.second_factor set confirmed_at = :at, last_step = :step"
    " where account_id = :user and sealed = :sealed and confirmed_at is null returning account_id"
)
_USE_STEP = text(
    "update auth.second_factor set last_step = :step"
    " where account_id = :user and sealed = :sealed and last_step < :step returning account_id"
)
_ADD_CODES = text(
    "insert into auth.recovery_code (account_id, digest)"
    " select :user, unnest(cast(cast(:digests as text[]) as bytea[])) returning digest"
)
_USE_CODE = text(
    "update auth.recovery_code set used_at = :at"
    " where account_id = :user and digest = :digest and used_at is null returning digest"
)
_HAS_CODE = text("select 1 from auth.recovery_code where account_id = :user and digest = :digest")
_REMOVE_CODES = text("delete from auth.recovery_code where account_id = :user")
_REMOVE = text("delete from auth.second_factor where account_id = :user")


class Row(BaseModel, frozen=True):
    """A second factor; its secret is sealed."""

    sealed: bytes = Field(repr=False)
    confirmed_at: datetime | None
    last_step: int


async def enrol(database: Database, user: UserId, sealed: bytes, at: datetime) -> bool:
    """Keep a sealed secret in place of one that was never confirmed; say False where one was, or no account."""
    return bool(await database.execute(_ENROL, user=user, sealed=sealed, at=at))


async def find(database: Database, user: UserId) -> Row | None:
    """Return the second factor of an account, confirmed or not."""
    if not is_name(user):
        return None
    rows = await database.execute(_FIND, user=user)
    return Row.model_validate(rows[0]._mapping) if rows else None


async def confirm(within: Transaction, user: UserId, sealed: bytes, step: int, at: datetime) -> bool:
    """Note that the user can make codes; say False where that secret is not the one, or is confirmed."""
    return bool(await within.execute(_CONFIRM, user=user, sealed=sealed, step=step, at=at))


async def add_codes(within: Transaction, user: UserId, digests: Iterable[bytes]) -> None:
    """Add recovery codes, by their digests."""
    await within.execute(_ADD_CODES, user=user, digests=[rf"\x{one.hex()}" for one in digests])


async def use_step(database: Database, user: UserId, sealed: bytes, step: int) -> bool:
    """Spend a step; say False where it, or a later one, was spent before: of two at once one is told so."""
    return bool(await database.execute(_USE_STEP, user=user, sealed=sealed, step=step))


async def use_code(database: Database, user: UserId, digest: bytes, at: datetime) -> bool:
    """Spend a recovery code; of two at once one is told False."""
    return bool(await database.execute(_USE_CODE, user=user, digest=digest, at=at))


async def has_code(database: Database, user: UserId, digest: bytes) -> bool:
    """Tell whether it is a recovery code of the user's, spent or not."""
    return bool(await database.execute(_HAS_CODE, user=user, digest=digest))


async def remove(within: Transaction, user: UserId) -> None:
    """Delete a second factor with its recovery codes."""
    await within.execute(_REMOVE_CODES, user=user)
    await within.execute(_REMOVE, user=user)
