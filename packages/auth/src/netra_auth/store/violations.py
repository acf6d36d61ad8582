"""The rows of the log of violations."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text

from netra_auth.identity import TenantId, UserId
from netra_auth.store.database import Database, Transaction
from netra_auth.violation import Kind, Violation

_ADD = text(
    "insert into auth.violation (at, kind, user_id, tenant_id, address, detail)"
    " select * from unnest(cast(cast(:at as text[]) as timestamptz[]), cast(:kinds as text[]), cast(:users as text[]),"
    " cast(:tenants as text[]), cast(:addresses as text[]), cast(cast(:details as text[]) as jsonb[]))"
)
_FIND = text(
    "select id, at, kind, user_id, tenant_id, address, detail from auth.violation"
    " where id < :before and (cast(:user as text) is null or user_id = :user)"
    " and (cast(:tenant as text) is null or tenant_id = :tenant)"
    " and (cast(:kind as text) is null or kind = :kind) order by id desc limit :size"
)
_LAST = 2**63 - 1


async def add(within: Database | Transaction, *found: Violation) -> None:
    """Write violations down, in their order.

    All goes as texts: for other arrays asyncpg asks the server first, on each connection.
    """
    await within.execute(
        _ADD,
        at=[one.at.isoformat() for one in found],
        kinds=[one.kind.value for one in found],
        users=[one.user for one in found],
        tenants=[one.tenant for one in found],
        addresses=[one.address for one in found],
        details=[json.dumps(one.detail) for one in found],
    )


async def find(
    database: Database, *, user: UserId | None, tenant: TenantId | None, kind: Kind | None, before: int | None,
    size: int,
) -> list[Violation]:  # fmt: skip
    """Return up to *size* violations, the latest first, those before row *before*."""
    rows = await database.execute(
        _FIND, user=user, tenant=tenant, kind=kind and kind.value, before=before or _LAST, size=size
    )
    return _violations(rows)


def _violations(rows: Sequence[Row[Any]]) -> list[Violation]:
    return [
        Violation(
            id=row.id, at=row.at, kind=Kind(row.kind), user=row.user_id, tenant=row.tenant_id,
            address=row.address, detail=row.detail,
        )
        for row in rows
    ]  # fmt: skip
