"""Accounts with their passwords, second factors and recovery codes."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# password: scheme, rounds, salt and digest as one text; password_version rises with each change of the password
ACCOUNT = """
create table auth.account (
    id text primary key,
    email text not null constraint account_email_once unique,
    tenant_id text not null,
    password text not null,
    password_version integer not null default 1,
    created_at timestamptz not null,
    signed_in_at timestamptz,
    disabled_at timestamptz
)
"""
# sealed: the secret by AES-GCM, its nonce first; last_step: that of the code used last
SECOND_FACTOR = """
create table auth.second_factor (
    account_id text primary key references auth.account on delete cascade,
    sealed bytea not null,
    enrolled_at timestamptz not null,
    confirmed_at timestamptz,
    last_step bigint not null default -1
)
"""
RECOVERY_CODE = """
create table auth.recovery_code (
    account_id text not null references auth.second_factor on delete cascade,
    digest bytea not null check (length(digest) = 32),
    used_at timestamptz,
    primary key (account_id, digest)
)
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in (ACCOUNT, SECOND_FACTOR, RECOVERY_CODE):
        op.execute(statement)
