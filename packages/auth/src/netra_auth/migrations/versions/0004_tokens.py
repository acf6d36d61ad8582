"""Refresh tokens in families, and revocations."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FAMILY = """
create table auth.refresh_family (
    id uuid primary key,
    user_id text not null,
    tenant_id text not null,
    session_id text not null,
    methods text[] not null,
    authenticated_at timestamptz not null,
    issued_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz
)
"""
REFRESH = """
create table auth.refresh_token (
    digest bytea primary key check (octet_length(digest) = 32),
    family_id uuid not null references auth.refresh_family on delete cascade,
    issued_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
)
"""
# `made_in` is the transaction that wrote the row: with a snapshot's oldest transaction it tells exactly which
# revocations a reader has not seen, which no clock and no sequence does.
REVOCATION = """
create table auth.revocation (
    id bigint generated always as identity primary key,
    what text not null check (what in ('token', 'session', 'user')),
    subject text not null,
    at timestamptz not null,
    until timestamptz not null,
    signs_out boolean not null,
    made_in bigint not null
)
"""
INDEXES = (
    "create index refresh_family_of_session on auth.refresh_family (session_id) where revoked_at is null",
    "create index refresh_family_of_user on auth.refresh_family (user_id) where revoked_at is null",
    "create index refresh_family_old on auth.refresh_family (expires_at)",
    "create unique index refresh_token_live on auth.refresh_token (family_id) where used_at is null",
    "create index refresh_token_of_family on auth.refresh_token (family_id)",
    "create index revocation_of_user on auth.revocation (subject) where what = 'user' and signs_out",
    "create index revocation_made on auth.revocation (made_in)",
    "create index revocation_old on auth.revocation (until)",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in (FAMILY, REFRESH, REVOCATION, *INDEXES):
        op.execute(statement)
