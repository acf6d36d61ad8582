"""Who holds which role in which tenant, what is granted or denied to them, and every change of that."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HELD_ROLE = """
create table auth.held_role (
    tenant_id text not null,
    user_id text not null,
    role text not null check (role in ('standard_user', 'power_user', 'developer', 'admin', 'super_admin')),
    primary key (tenant_id, user_id, role)
)
"""
# a ruling without a resource is on all of the kind, and there is one of each effect at most
RULING = """
create table auth.ruling (
    tenant_id text not null,
    user_id text not null,
    permission text not null,
    effect text not null check (effect in ('grant', 'denial')),
    resource_id text,
    until timestamptz,
    constraint ruling_once unique nulls not distinct (tenant_id, user_id, permission, resource_id, effect)
)
"""
ACCESS_CHANGE = """
create table auth.access_change (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    actor_id text not null,
    tenant_id text not null,
    user_id text not null,
    act text not null,
    role text,
    permission text,
    resource_id text,
    until timestamptz,
    check ((role is null) <> (permission is null))
)
"""
KEPT = """
create function auth.keep_access_change() returns trigger language plpgsql as $$
begin
    raise exception 'auth.access_change only grows: % is refused', tg_op
        using errcode = 'insufficient_privilege';
end
$$
"""
TRIGGERS = (
    "create trigger access_change_kept before update or delete on auth.access_change"
    " for each row execute function auth.keep_access_change()",
    "create trigger access_change_not_truncated before truncate on auth.access_change"
    " for each statement execute function auth.keep_access_change()",
)
INDEX = "create index access_change_of_user on auth.access_change (tenant_id, user_id, id)"


def upgrade() -> None:
    """Create the tables."""
    for statement in (HELD_ROLE, RULING, ACCESS_CHANGE, KEPT, *TRIGGERS, INDEX):
        op.execute(statement)
