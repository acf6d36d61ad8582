"""Runs of tools, and what a run may become."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# `holder` is drawn anew for each claim: who was held up and lost its claim can't write any more. A pending run
# is held too, by the process that is about to start it, so that a claim is the same for both: the lease lapsed.
RUN = """
create table tools.run (
    id uuid primary key,
    namespace text not null,
    tenant text not null,
    user_id text not null,
    work text,
    tool text not null,
    version text not null,
    arguments json not null,
    idempotency_key text,
    state text not null check (state in ('pending', 'running', 'completed', 'failed', 'timed_out', 'cancelled')),
    holder uuid not null,
    lease_until timestamptz not null,
    claims integer not null default 0,
    attempts integer not null default 0,
    cancel_requested boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null check (due_at > created_at),
    started_at timestamptz,
    ended_at timestamptz,
    result json,
    error text,
    message text,
    check ((state = 'pending') = (started_at is null)),
    check ((state in ('pending', 'running')) = (ended_at is null)),
    check ((state = 'completed') = (result is not null)),
    check ((state in ('failed', 'timed_out', 'cancelled')) = (error is not null))
)
"""
# What ended stays as it is; a run changes hands only once its holder's lease is over.
GUARD = """
create function tools.guard_run() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.state <> 'pending' then
            raise check_violation using message = 'a run begins as pending, not as ' || new.state;
        end if;
        return new;
    end if;
    if old.state = new.state and new.state in ('pending', 'running')
        or old.state = 'pending' and new.state = 'running'
        or old.state = 'running' and new.state in ('completed', 'failed', 'timed_out', 'cancelled')
    then
        if old.holder <> new.holder and old.lease_until > clock_timestamp() then
            raise check_violation using message = 'a run is taken over only after its lease lapsed';
        end if;
        return new;
    end if;
    raise check_violation using message = 'a run does not go from ' || old.state || ' to ' || new.state;
end
$$
"""
TRIGGER = """
create trigger guard_run before insert or update on tools.run
for each row execute function tools.guard_run()
"""
# A run that is called at once is pending and running within one round trip; no row where the key is another's.
BEGIN = """
create function tools.begin_run(
    uuid, text, text, text, text, text, text, json, text, uuid, lease interval, patience interval
) returns setof uuid language plpgsql as $$
begin
    insert into tools.run (id, namespace, tenant, user_id, work, tool, version, arguments, idempotency_key, holder,
        state, lease_until, due_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
        'pending', clock_timestamp() + lease, clock_timestamp() + patience)
    on conflict (namespace, tenant, tool, idempotency_key) where idempotency_key is not null do nothing;
    if found then
        update tools.run set state = 'running', claims = 1, started_at = clock_timestamp() where id = $1;
        return next $1;
    end if;
end
$$
"""
INDEXES = (
    "create unique index run_key on tools.run (namespace, tenant, tool, idempotency_key)"
    " where idempotency_key is not null",
    "create index run_lapsed on tools.run (namespace, lease_until) where ended_at is null",
    "create index run_ended on tools.run (namespace, ended_at) where ended_at is not null",
)


def upgrade() -> None:
    """Create the table and what guards it."""
    for statement in (RUN, GUARD, TRIGGER, *INDEXES, BEGIN):
        op.execute(statement)
