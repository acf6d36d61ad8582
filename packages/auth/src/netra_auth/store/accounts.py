"""The rows of accounts, and of their passwords."""

from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import text

from netra_auth.email import Email
from netra_auth.identity import TenantId, UserId, is_name
from netra_auth.store.database import Database, Transaction

_ADD = text(
    "insert into auth.account (id, email, tenant_id, password, created_at)"
    " values (:id, :email, :tenant, :password, :at) on conflict (email) do nothing returning id"
)
_BY_EMAIL = text(
    "select id, email, tenant_id as tenant, password, password_version, disabled_at is not null as disabled"
    " from auth.account where email = :email"
)
_BY_ID = text(
    "select id, email, tenant_id as tenant, password, password_version, disabled_at is not null as disabled"
    " from auth.account where id = :id"
)
_CHANGE = text(
    "update auth.account set password = :password, password_version = password_version + 1"
    " where id = :id and password_version = :version and disabled_at is null returning id"
)
_REHASH = text("update auth.account set password = :password where id = :id and password_version = :version")
_ADMIT = text(
    "update auth.account set signed_in_at = :at"
    " where id = :id and password_version = :version and disabled_at is null returning tenant_id"
)
_DISABLE = text(
    "update auth.account set disabled_at = coalesce(disabled_at, :at) where id = :id returning id"
)
_ENABLE = text("update auth.account set disabled_at = null where id = :id returning id")


class Row(BaseModel, frozen=True):
    """An account with what is stored of its password."""

    id: UserId
    email: Email
    tenant: TenantId
    password: str = Field(repr=False)
    password_version: int
    disabled: bool


async def add(
    database: Database, user: UserId, email: Email, tenant: TenantId, password: str, at: datetime
) -> bool:
    """Add an account; say False where another has the address, also one that is added in this moment."""
    return bool(await database.execute(_ADD, id=user, email=email, tenant=tenant, password=password, at=at))


async def by_email(database: Database, email: Email) -> Row | None:
    """Return the account of an address."""
    rows = await database.execute(_BY_EMAIL, email=email)
    return Row.model_validate(rows[0]._mapping) if rows else None


async def by_id(database: Database, user: UserId) -> Row | None:
    """Return an account."""
    if not is_name(user):
        return None
    rows = await database.execute(_BY_ID, id=user)
    return Row.model_validate(rows[0]._mapping) if rows else None


async def change(within: Transaction, user: UserId, version: int, password: str) -> bool:
    """Set a password in place of that of *version*."""
    return bool(await within.execute(_CHANGE, id=user, version=version, password=password))


async def rehash(database: Database, user: UserId, version: int, password: str) -> None:
    """Store the same password anew, unless it was changed meanwhile."""
    await database.execute(_REHASH, id=user, version=version, password=password)


async def admit(database: Database, user: UserId, version: int, at: datetime) -> bool:
    """Note a sign-in, unless the account was disabled or its password changed meanwhile.

    The row is locked while a password changes, so this waits for the end of the change and sees it.
    """
    return bool(await database.execute(_ADMIT, id=user, version=version, at=at))


async def disable(within: Transaction, user: UserId, at: datetime) -> bool:
    """Close an account; say whether there is one."""
    return is_name(user) and bool(await within.execute(_DISABLE, id=user, at=at))


async def enable(database: Database, user: UserId) -> bool:
    """Open an account again; say whether there is one."""
    return is_name(user) and bool(await database.execute(_ENABLE, id=user))
