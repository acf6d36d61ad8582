"""Revisions of the dynamic settings, never changed once made, and the exposures of flags."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# One version is one row: of two writers with one base, the key lets one through. `document` is text, not
# jsonb, so that what is rolled back to comes back byte for byte.
REVISION = """
create table config.revision (
    namespace text not null,
    environment text not null check (environment in ('test', 'staging', 'production')),
    version bigint not null check (version > 0),
    base bigint not null check (base = version - 1),
    author text not null,
    reason text not null,
    made_at timestamptz not null,
    restores bigint check (restores < version),
    differences json not null,
    document text not null,
    primary key (namespace, environment, version)
)
"""
REFUSE = """
create function config.refuse_to_rewrite() returns trigger language plpgsql as $$
begin
    raise exception 'revisions are never changed; commit a new one' using errcode = 'restrict_violation';
end
$$
"""
GUARD = """
create trigger revision_is_history before update or delete on config.revision
for each row execute function config.refuse_to_rewrite()
"""
EXPOSURE = """
create table config.exposure (
    namespace text not null,
    environment text not null,
    flag text not null,
    subject text not null,
    variant text not null,
    version bigint not null,
    exposed_at timestamptz not null,
    primary key (namespace, environment, flag, subject, variant)
)
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in (REVISION, REFUSE, GUARD, EXPOSURE):
        op.execute(statement)
