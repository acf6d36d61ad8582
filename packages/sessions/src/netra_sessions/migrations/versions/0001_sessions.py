"""Sessions, their endings, and the epoch that Redis is held against."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# `ended_in` is the transaction that ended the session: with a snapshot's oldest transaction it tells exactly
# which endings a reader has not seen, which no clock and no sequence does.
SESSION = """
create table sessions.session (
    id uuid primary key,
    namespace text not null,
    user_id text not null,
    token_digest bytea not null unique check (octet_length(token_digest) = 32),
    version integer not null default 1,
    data json not null,
    created_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > created_at),
    last_seen_at timestamptz not null,
    requests bigint not null default 0,
    device text,
    address text,
    ended_at timestamptz,
    end_reason text,
    ended_in bigint,
    check ((ended_at is null) = (end_reason is null) and (ended_at is null) = (ended_in is null))
)
"""
EPOCH = "create table sessions.cache_epoch (namespace text primary key, epoch bigint not null)"
# A sign-in in one round trip, and no more than `most` sessions a user under any race: what is counted was
# committed before the lock was had, as each statement of a function sees anew under read committed alone.
# Returns no row where there is no room, or another isolation level: the caller then makes room.
SIGN_IN = """
create function sessions.sign_in(most integer, entry sessions.session)
returns setof sessions.session language plpgsql as $$
begin
    if most is not null then
        if current_setting('transaction_isolation') <> 'read committed' then
            return;
        end if;
        perform pg_advisory_xact_lock(hashtextextended(entry.namespace || ' ' || entry.user_id, 2710));
        if (select count(*) >= most from sessions.session as s
            where s.namespace = entry.namespace and s.user_id = entry.user_id and s.ended_at is null) then
            return;
        end if;
    end if;
    return query insert into sessions.session values (entry.*) returning *;
end
$$
"""
INDEXES = (
    "create index session_live on sessions.session (namespace, user_id) where ended_at is null",
    "create index session_idle on sessions.session (namespace, last_seen_at) where ended_at is null",
    "create index session_ended on sessions.session (namespace, ended_in) where ended_at is not null",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in (SESSION, EPOCH, SIGN_IN, *INDEXES):
        op.execute(statement)
