"""The log of violations, to which rows are only ever added."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VIOLATION = """
create table auth.violation (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    kind text not null,
    user_id text,
    tenant_id text,
    address text,
    detail jsonb not null
)
"""
# Row triggers tell of update and delete, a statement trigger of truncate: a role that owns the table could
# still drop them, so production gives its services a role of their own with no more than insert and select.
KEPT = """
create function auth.keep_violation() returns trigger language plpgsql as $$
begin
    raise exception 'auth.violation only grows: % is refused', tg_op using errcode = 'insufficient_privilege';
end
$$
"""
TRIGGERS = (
    "create trigger violation_kept before update or delete on auth.violation"
    " for each row execute function auth.keep_violation()",
    "create trigger violation_not_truncated before truncate on auth.violation"
    " for each statement execute function auth.keep_violation()",
)
INDEXES = (
    "create index violation_of_tenant on auth.violation (tenant_id, id) where tenant_id is not null",
    "create index violation_of_user on auth.violation (user_id, id) where user_id is not null",
    "create index violation_of_kind on auth.violation (kind, id)",
)


def upgrade() -> None:
    """Create the log."""
    for statement in (VIOLATION, KEPT, *TRIGGERS, *INDEXES):
        op.execute(statement)
