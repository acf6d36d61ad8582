"""The rows of roles, grants and denials, and of their changes."""

from typing import Final

from sqlalchemy import text

from netra_auth.access_change import Act, Change
from netra_auth.decision import Effect, Ruling, Standing
from netra_auth.identity import Role, TenantId, UserId
from netra_auth.policy import Permission
from netra_auth.store.database import Database, Transaction

_LOCK = text("select pg_advisory_xact_lock(hashtextextended(:tenant, 8111))")
_ROLES = text("select role from auth.held_role where tenant_id = :tenant and user_id = :user")
_STANDING = text(
    "select 'role' as what, role as value, null as resource_id, cast(null as timestamptz) as until"
    " from auth.held_role where tenant_id = :tenant and user_id = :user"
    " union all select 'ruling', effect, resource_id, until from auth.ruling"
    " where tenant_id = :tenant and user_id = :user and permission = :permission"
    " and (:everything or resource_id is null or resource_id = :resource)"
)
_HELD = text(
    "select exists(select from auth.held_role where tenant_id = :tenant"
    " and role = any(cast(:roles as text[]))) as held"
)
_GIVE = text(
    "insert into auth.held_role (tenant_id, user_id, role) values (:tenant, :user, :role)"
    " on conflict do nothing returning role"
)
_TAKE = text(
    "delete from auth.held_role where tenant_id = :tenant and user_id = :user and role = :role returning role"
)
_RULE = text(
    "insert into auth.ruling as held (tenant_id, user_id, permission, effect, resource_id, until)"
    " values (:tenant, :user, :permission, :effect, :resource, :until)"
    " on conflict on constraint ruling_once do update set until = excluded.until"
    " where held.until is distinct from excluded.until returning effect"
)
_WITHDRAW = text(
    "delete from auth.ruling where tenant_id = :tenant and user_id = :user and permission = :permission"
    " and effect = :effect and resource_id is not distinct from cast(:resource as text) returning effect"
)
_NOTE = text(
    "insert into auth.access_change"
    " (at, actor_id, tenant_id, user_id, act, role, permission, resource_id, until)"
    " values (:at, :actor, :tenant, :user, :act, :role, :permission, :resource, :until)"
)
_CHANGES = text(
    "select id, at, actor_id, tenant_id, user_id, act, role, permission, resource_id, until"
    " from auth.access_change where tenant_id = :tenant and id < :before"
    " and (cast(:user as text) is null or user_id = :user) order by id desc limit :size"
)
_STATEMENTS: Final = {
    Act.ROLE_GIVEN: (_GIVE, None),
    Act.ROLE_TAKEN: (_TAKE, None),
    Act.GRANTED: (_RULE, Effect.GRANT),
    Act.DENIED: (_RULE, Effect.DENIAL),
    Act.GRANT_WITHDRAWN: (_WITHDRAW, Effect.GRANT),
    Act.DENIAL_WITHDRAWN: (_WITHDRAW, Effect.DENIAL),
}
_LAST = 2**63 - 1


async def lock(work: Transaction, tenant: TenantId) -> None:
    """Keep other changes of the tenant waiting until this transaction is over."""
    await work.execute(_LOCK, tenant=tenant)


async def roles(database: Database, user: UserId, tenant: TenantId) -> frozenset[Role]:
    """Return the roles of a user in a tenant."""
    return frozenset(Role(row.role) for row in await database.execute(_ROLES, user=user, tenant=tenant))


async def standing(
    within: Database | Transaction, user: UserId, tenant: TenantId, permission: Permission,
    *, resource: str | None, everything: bool = False,
) -> Standing:  # fmt: skip
    """Return in one statement what bears on *permission*: roles, and rulings on *resource* or on *everything*."""
    rows = await within.execute(
        _STANDING,
        user=user, tenant=tenant, permission=permission, resource=resource, everything=everything,
    )  # fmt: skip
    return Standing(
        user=user,
        tenant=tenant,
        roles=frozenset(Role(row.value) for row in rows if row.what == "role"),
        rulings=tuple(
            Ruling(effect=Effect(row.value), permission=permission, resource=row.resource_id, until=row.until)
            for row in rows
            if row.what == "ruling"
        ),
    )


async def is_held(work: Transaction, tenant: TenantId, role: Role) -> bool:
    """Say whether somebody in the tenant has *role* or a higher one."""
    at_least = [one.value for one in Role if one >= role]
    [row] = await work.execute(_HELD, tenant=tenant, roles=at_least)
    return bool(row.held)


async def apply(work: Transaction, change: Change) -> bool:
    """Make *change* and note it; return False, and note nothing, where there was nothing to change."""
    statement, effect = _STATEMENTS[change.act]
    values = {
        "tenant": change.tenant,
        "user": change.user,
        "role": change.role and change.role.value,
        "permission": change.permission,
        "resource": change.resource,
        "until": change.until,
    }
    if not await work.execute(statement, **values, effect=effect and effect.value):
        return False
    await work.execute(_NOTE, at=change.at, actor=change.actor, act=change.act.value, **values)
    return True


async def changes(
    database: Database, tenant: TenantId, *, user: UserId | None, before: int | None, size: int
) -> list[Change]:
    """Return up to *size* changes in a tenant, the latest first, those before row *before*."""
    rows = await database.execute(_CHANGES, tenant=tenant, user=user, before=before or _LAST, size=size)
    return [
        Change(
            id=row.id, at=row.at, actor=row.actor_id, tenant=row.tenant_id, user=row.user_id,
            act=Act(row.act), role=row.role and Role(row.role), permission=row.permission,
            resource=row.resource_id, until=row.until,
        )
        for row in rows
    ]  # fmt: skip
