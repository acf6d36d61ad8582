"""Runs of plans, their steps and events, the workers that carry them, and what a run may become."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A run that runs is carried by its `executor`; where that is null it is adrift, and any worker's to take up.
# `claims` counts who took it up, `attempts` those of them since a step of it was last done.
# `sent` is the number of the last event that the sink took, of `told` that there are.
RUN = """
create table agents.run (
    id uuid primary key,
    namespace text not null,
    tenant text not null,
    user_id text not null,
    tier text not null,
    priority integer not null,
    tenant_limit integer not null check (tenant_limit > 0),
    plan text not null,
    version text not null,
    plan_key text not null,
    input json not null,
    idempotency_key text,
    state text not null check (state in
        ('queued', 'running', 'parked', 'completed', 'failed', 'timed_out', 'cancelled')),
    executor uuid,
    claims integer not null default 0,
    attempts integer not null default 0,
    cancel_requested boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    partial boolean not null default false,
    result json,
    error text,
    message text,
    revision bigint not null default 1,
    told integer not null default 0,
    sent integer not null default 0 check (sent <= told),
    check ((ended_at is null) = (state in ('queued', 'running', 'parked'))),
    check ((result is not null) = (state = 'completed')),
    check (state not in ('failed', 'timed_out', 'cancelled', 'parked') or error is not null)
)
"""
STEP = """
create table agents.step (
    run uuid not null references agents.run on delete cascade,
    name text not null,
    position integer not null,
    agent text not null,
    version text not null,
    state text not null default 'pending' check (state in ('pending', 'running', 'completed', 'failed', 'skipped')),
    attempts integer not null default 0,
    result json,
    error text,
    message text,
    started_at timestamptz,
    ended_at timestamptz,
    primary key (run, name)
)
"""
EVENT = """
create table agents.event (
    run uuid not null references agents.run on delete cascade,
    number integer not null,
    event_id text not null,
    kind text not null,
    data json not null,
    at timestamptz not null default clock_timestamp(),
    primary key (run, number),
    unique (run, event_id)
)
"""
EXECUTOR = """
create table agents.executor (
    id uuid primary key,
    namespace text not null,
    host text not null,
    pid integer not null,
    plans text[] not null,
    lapse interval not null,
    beat_at timestamptz not null,
    steady_since timestamptz not null
)
"""
INDEXES = (
    "create unique index run_key on agents.run (namespace, tenant, idempotency_key) where idempotency_key is not null",
    "create index run_waiting on agents.run (namespace, state) where ended_at is null",
    "create index run_carried on agents.run (executor) where state = 'running'",
    "create index run_untold on agents.run (namespace) where sent < told",
    "create index run_ended on agents.run (namespace, ended_at) where ended_at is not null",
    "create index run_of_tenant on agents.run (namespace, tenant, created_at)",
    "create unique index event_start on agents.event (run) where kind = 'agent_started'",
    "create unique index event_end on agents.event (run) where kind in ('agent_completed', 'agent_failed')",
)
# What ended stays as it is, but for what the sink took.
GUARD_RUN = """
create function agents.guard_run() returns trigger language plpgsql as $$
begin
    if old.ended_at is not null then
        if new.state <> old.state or new.result::text is distinct from old.result::text then
            raise check_violation using message = 'a run that ended stays as it is';
        end if;
    elsif old.state = 'queued' and new.state in ('parked', 'completed', 'failed')
        or old.state = 'parked' and new.state not in ('parked', 'queued', 'cancelled')
    then
        raise check_violation using message = 'a run does not go from ' || old.state || ' to ' || new.state;
    end if;
    return new;
end
$$
"""
GUARD_STEP = """
create function agents.guard_step() returns trigger language plpgsql as $$
begin
    if old.state in ('completed', 'failed', 'skipped') then
        raise check_violation using message = 'a step is recorded once';
    end if;
    return new;
end
$$
"""
TRIGGERS = (
    "create trigger guard_run before update on agents.run for each row execute function agents.guard_run()",
    "create trigger guard_step before update on agents.step for each row execute function agents.guard_step()",
)
# What screens show of a run; Redis holds this text.
VIEW = """
create function agents.view_of(agents.run) returns text stable language sql as $$
select json_build_object(
    'id', $1.id, 'tenant', $1.tenant, 'user', $1.user_id, 'tier', $1.tier, 'plan', $1.plan, 'version', $1.version,
    'state', $1.state, 'partial', $1.partial, 'attempts', $1.attempts, 'cancel_requested', $1.cancel_requested,
    'created_at', extract(epoch from $1.created_at), 'due_at', extract(epoch from $1.due_at),
    'started_at', extract(epoch from $1.started_at), 'ended_at', extract(epoch from $1.ended_at),
    'error', $1.error, 'message', $1.message, 'revision', $1.revision,
    'steps', (
        select coalesce(json_agg(json_build_object(
            'name', s.name, 'agent', s.agent, 'version', s.version, 'state', s.state, 'attempts', s.attempts,
            'error', s.error, 'message', s.message,
            'started_at', extract(epoch from s.started_at), 'ended_at', extract(epoch from s.ended_at)
        ) order by s.position), '[]') from agents.step s where s.run = $1.id)
)::text
$$
"""
# Events that are new, in the order given, after those there are; returns how many there are then.
TELL = """
create function agents.tell(which uuid, after integer, events json) returns integer language sql as $$
with given as (
    select e.*, o.place from json_array_elements(events) with ordinality as o(one, place),
        json_to_record(o.one) as e(id text, kind text, data json)
), fresh as (
    select *, row_number() over (order by place) as n from given
    where not exists (select from agents.event k where k.run = which and k.event_id = given.id)
), added as (
    insert into agents.event (run, number, event_id, kind, data)
    select which, after + n, id, kind, data from fresh returning 1
)
select after + count(*)::integer from added
$$
"""
# What the executor of a run writes, all at once: what steps came to, what is to be told, and how the run ended.
# Nothing where the run is not its to carry any more.
NOTE = """
create function agents.note(which uuid, me uuid, steps json, events json, ending json)
returns table (told integer, before integer, view text) language plpgsql as $$
declare
    r agents.run;
    known integer;
    got_on boolean;
begin
    select * into r from agents.run where id = which and executor = me and state = 'running' for update;
    if not found then  -- unless this very end was written before, and its answer got lost
        return query select u.told, -1, agents.view_of(u) from agents.run u
            where u.id = which and u.executor = me and u.state = ending->>'state';
        return;
    end if;
    with changed as (
        update agents.step s set
            state = n.state, agent = n.agent, version = n.version, attempts = n.attempts, result = n.result,
            error = n.error, message = n.message, started_at = coalesce(n.started_at, s.started_at),
            ended_at = n.ended_at
        from json_to_recordset(steps) as n(
            name text, state text, agent text, version text, attempts integer, result json, error text, message text,
            started_at timestamptz, ended_at timestamptz)
        where s.run = which and s.name = n.name and s.state in ('pending', 'running')
        returning s.state
    )
    select exists (select from changed where changed.state = 'completed') into got_on;
    if ending is not null then
        perform agents.leave_out(which);
        perform pg_notify('agents', r.namespace || ' ended ' || which);
    end if;
    known := r.told;
    update agents.run u set
        revision = u.revision + 1,
        told = agents.tell(which, known, events),
        attempts = case when got_on then 1 else u.attempts end,
        state = coalesce(ending->>'state', u.state),
        ended_at = case when ending is null then null else clock_timestamp() end,
        partial = coalesce((ending->>'partial')::boolean, false),
        result = case when ending->>'state' = 'completed' then ending->'result' end,
        error = ending->>'error',
        message = ending->>'message'
    where u.id = which returning * into r;
    return query select r.told, known, agents.view_of(r);
end
$$
"""
# Steps that were not done when their run ended never will be.
LEAVE_OUT = """
create function agents.leave_out(which uuid) returns void language sql as $$
update agents.step set state = 'skipped', error = 'RunEnded', message = 'the run ended before it was done',
    ended_at = clock_timestamp()
where run = which and state in ('pending', 'running')
$$
"""
# Ends a run that nobody carries, with both its events.
END_IDLE = """
create function agents.end_idle(which uuid, became text, kind text, sentence text) returns text
language plpgsql as $$
declare
    r agents.run;
begin
    select * into r from agents.run where id = which and ended_at is null
        and (state in ('queued', 'parked') or executor is null) for update;
    if not found then
        return null;
    end if;
    perform agents.leave_out(which);
    perform pg_notify('agents', r.namespace || ' ended ' || which);
    update agents.run u set
        revision = u.revision + 1, state = became, ended_at = clock_timestamp(), error = kind, message = sentence,
        executor = null,
        told = agents.tell(which, u.told, json_build_array(
            json_build_object('id', which || '/agent_started', 'kind', 'agent_started',
                'data', json_build_object('agent', u.plan, 'version', u.version)),
            json_build_object('id', which || '/end', 'kind', 'agent_failed',
                'data', json_build_object('agent', u.plan, 'state', became, 'error', sentence))))
    where u.id = which returning * into r;
    return agents.view_of(r);
end
$$
"""
# Says that an executor lives. One that was silent for longer than its lapse is steady anew, and may not judge others
# until it has been steady for so long: after an outage of PostgreSQL everybody looks dead to whoever comes back first.
BEAT = """
create function agents.beat(me uuid, space text, machine text, process integer, known text[], patience interval)
returns table (run uuid, cancel boolean) language plpgsql as $$
begin
    insert into agents.executor as e (id, namespace, host, pid, plans, lapse, beat_at, steady_since)
    values (me, space, machine, process, known, patience, clock_timestamp(), clock_timestamp())
    on conflict (id) do update set
        steady_since = case when e.beat_at + e.lapse < clock_timestamp() then clock_timestamp() else e.steady_since end,
        beat_at = clock_timestamp();
    return query select r.id, r.cancel_requested from agents.run r where r.executor = me and r.state = 'running';
end
$$
"""
# One worker at a time sets the runs of dead executors adrift, or parks them; the others find nothing to do. What it
# returns is what changed: runs whose view is stale, and those whose last events are now its to send. A hundred of each
# at a time: the rest is for the next beat, or a long queue would never be done by the deadline of one call.
RECOVER = """
create function agents.recover(me uuid, space text, most integer)
returns table (run uuid, what text, view text) language plpgsql as $$
declare
    r agents.run;
    live uuid[];
    known text[];
    steady boolean;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('agents.recover ' || space, 0)) then
        return;
    end if;
    for r in select * from agents.run q where q.namespace = space and q.state = 'queued'
        and q.due_at < clock_timestamp() limit 100 for update skip locked
    loop
        return query select r.id, 'changed', agents.end_idle(r.id, 'timed_out', 'TimedOut', 'it was not begun in time');
    end loop;
    select exists (select from agents.executor e where e.id = me and e.steady_since + e.lapse < clock_timestamp())
        into steady;
    select array_agg(e.id) into live from agents.executor e
        where e.namespace = space and (not steady or e.beat_at + e.lapse >= clock_timestamp());
    select array_agg(distinct p) into known from agents.executor e, unnest(e.plans) p where e.id = any(live);
    for r in select * from agents.run q where q.namespace = space and q.state = 'running'
        and (q.executor is null or q.executor <> all(live))
        and (q.executor is not null or q.cancel_requested or q.due_at < clock_timestamp() or q.attempts >= most
            or q.plan_key <> all(known))
        limit 100 for update skip locked
    loop
        if r.cancel_requested or r.due_at < clock_timestamp() then
            update agents.run u set executor = null where u.id = r.id;
            if r.cancel_requested then
                return query select r.id, 'changed',
                    agents.end_idle(r.id, 'cancelled', 'Cancelled', 'it was cancelled');
            else
                return query select r.id, 'changed',
                    agents.end_idle(r.id, 'timed_out', 'TimedOut', 'it was not done in time');
            end if;
        elsif r.attempts >= most or r.plan_key <> all(known) then
            update agents.run u set state = 'parked', executor = null, revision = u.revision + 1,
                error = case when u.attempts >= most then 'WorkersLost' else 'PlanChanged' end,
                message = case when u.attempts >= most then 'its workers died with it'
                    else 'no worker knows the version of its plan that it was begun with' end
                where u.id = r.id returning * into r;
            return query select r.id, 'changed', agents.view_of(r);
        elsif r.executor is not null then
            update agents.run u set executor = null where u.id = r.id;
            perform pg_notify('agents', space || ' new ' || r.id);
            return query select r.id, 'adrift', null::text;
        end if;
    end loop;
    for r in with left_behind as materialized (
            select q.id from agents.run q where q.namespace = space and q.sent < q.told and q.state <> 'running'
            and (q.executor is null or q.executor <> all(live)) limit 100 for update skip locked)
        update agents.run u set executor = me from left_behind l where u.id = l.id returning u.*
    loop
        return query select r.id, 'untold', null::text;
    end loop;
    delete from agents.executor e where e.namespace = space and e.beat_at + e.lapse * 20 < clock_timestamp()
        and not exists (select from agents.run u where u.executor = e.id and u.state = 'running');
end
$$
"""
# Takes up runs: those adrift first, then queued ones by priority and age, none beyond its tenant's limit. One claim at
# a time, so that two workers don't fill one tenant's last place twice.
CLAIM = """
create function agents.claim(me uuid, space text, known text[], most integer, room integer)
returns setof agents.run language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('agents.claim ' || space, 0));
    return query
    with busy as (
        select r.tenant, count(*) as n from agents.run r where r.namespace = space and r.state = 'running'
        group by r.tenant
    ), waiting as (
        select r.id, r.tenant, r.tenant_limit, r.priority, r.created_at,
            row_number() over (partition by r.tenant order by r.priority desc, r.created_at, r.id) as place
        from agents.run r
        where r.namespace = space and r.state = 'queued' and r.plan_key = any(known)
            and r.due_at >= clock_timestamp()
    ), picked as (
        select r.id, 0 as rank, r.priority, r.created_at from agents.run r
        where r.namespace = space and r.state = 'running' and r.executor is null and r.plan_key = any(known)
            and r.attempts < most
        union all
        select w.id, 1, w.priority, w.created_at from waiting w left join busy b on b.tenant = w.tenant
        where w.place + coalesce(b.n, 0) <= w.tenant_limit
        order by rank, priority desc, created_at limit room
    )
    update agents.run u set state = 'running', executor = me, claims = u.claims + 1,
        attempts = u.attempts + 1, revision = u.revision + 1, started_at = coalesce(u.started_at, clock_timestamp())
    from picked p where u.id = p.id returning u.*;
end
$$
"""


def upgrade() -> None:
    """Create the tables, what guards them, and what workers do in one round trip."""
    functions = (VIEW, TELL, LEAVE_OUT, NOTE, END_IDLE, BEAT, RECOVER, CLAIM)
    tables = (RUN, STEP, EVENT, EXECUTOR)
    for statement in (*tables, *INDEXES, GUARD_RUN, GUARD_STEP, *TRIGGERS, *functions):
        op.execute(statement)
