"""Bills, what was found in them with the rows that prove it, plans, and who decided what about them."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BILL = """
create table workflows.bill (
    namespace text not null,
    tenant text not null,
    name text not null,
    kind text not null check (kind in ('bill', 'inventory', 'requests', 'prices')),
    sha256 text not null,
    size_bytes bigint not null,
    uploaded_by text not null,
    uploaded_at timestamptz not null default clock_timestamp(),
    primary key (namespace, tenant, name),
    unique (namespace, tenant, sha256)
)
"""
# Its id is that of the run that made it; `document` is all that was found but for the findings, as JSON that holds
# infinite scores too, so it is text.
ANALYSIS = """
create table workflows.analysis (
    id uuid primary key,
    namespace text not null,
    tenant text not null,
    asked_by text not null,
    sources text[] not null,
    document text not null,
    made_at timestamptz not null default clock_timestamp()
)
"""
FINDING = """
create table workflows.finding (
    id uuid primary key,
    analysis uuid not null references workflows.analysis,
    place integer not null,
    rule text not null,
    published text not null,
    terms json not null,
    provider text not null,
    account text not null,
    currency text not null,
    resources text[] not null,
    billed numeric not null,
    at_stake numeric not null,
    saving numeric not null check (saving >= 0 and saving <= greatest(billed, 0)),
    months integer not null check (months > 0),
    why text not null,
    unique (analysis, place)
)
"""
# The key lets no row of a bill stand for two findings, and no answer of an inventory for one resource twice: `part` is
# the resource that an answer is about, and empty where all of a row is meant.
PROOF = """
create table workflows.proof (
    analysis uuid not null references workflows.analysis,
    source text not null,
    record bigint not null,
    part text not null,
    finding uuid not null references workflows.finding,
    billed numeric not null,
    primary key (analysis, source, record, part)
)
"""
REPORT = """
create table workflows.report (
    analysis uuid primary key references workflows.analysis,
    markdown text not null,
    html text not null,
    findings_csv text not null,
    made_at timestamptz not null default clock_timestamp()
)
"""
# `revision` is that of the last act, which the trail holds: the key below lets no change be without one.
PLAN = """
create table workflows.plan (
    id uuid primary key references workflows.analysis,
    namespace text not null,
    tenant text not null,
    state text not null check (state in ('draft', 'in_review', 'in_approval', 'approved', 'rejected', 'executed')),
    revision integer not null check (revision > 0),
    left_out integer[] not null default '{}',
    done integer[] not null default '{}',
    submitted_by text,
    endorsed_by text,
    approved_by text,
    made_at timestamptz not null default clock_timestamp(),
    check (endorsed_by <> submitted_by),
    check (approved_by <> submitted_by and approved_by <> endorsed_by),
    check (state not in ('approved', 'executed') or approved_by is not null)
)
"""
STEP = """
create table workflows.step (
    plan uuid not null references workflows.plan,
    number integer not null,
    wave text not null,
    rule text not null,
    title text not null,
    provider text not null,
    currency text not null,
    action text not null,
    risk text not null,
    effort text not null,
    certainty text not null,
    saving numeric not null,
    a_month numeric not null,
    a_year numeric not null,
    cost numeric not null,
    years_return numeric,
    primary key (plan, number)
)
"""
TRAIL = """
create table workflows.trail (
    plan uuid not null references workflows.plan deferrable initially deferred,
    revision integer not null,
    actor text not null,
    act text not null,
    became text not null,
    step integer,
    said text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (plan, revision)
)
"""
NO_CHANGE_WITHOUT_TRAIL = """
alter table workflows.plan add foreign key (id, revision) references workflows.trail (plan, revision)
deferrable initially deferred
"""
COMMENT = """
create table workflows.comment (
    id bigint generated always as identity primary key,
    plan uuid not null references workflows.plan,
    author text not null,
    said text not null,
    at timestamptz not null default clock_timestamp()
)
"""
CONCERNED = """
create table workflows.concerned (
    plan uuid not null references workflows.plan,
    user_id text not null,
    primary key (plan, user_id)
)
"""
# What is still to be told, in the order in which it happened; a row goes once its screens' history has it.
NOTICE = """
create table workflows.notice (
    id bigint generated always as identity primary key,
    namespace text not null,
    plan uuid not null references workflows.plan,
    user_id text not null,
    event_id text not null,
    content json not null
)
"""
INDEXES = (
    "create index analysis_of_tenant on workflows.analysis (namespace, tenant, made_at)",
    "create index proof_of_finding on workflows.proof (finding)",
    "create index plan_of_tenant on workflows.plan (namespace, tenant, made_at)",
    "create index comment_of_plan on workflows.comment (plan, id)",
    "create index notice_to_send on workflows.notice (namespace, id)",
)
KEEP = """
create function workflows.keep() returns trigger language plpgsql as $$
begin
    raise exception 'workflows.% only grows: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege';
end
$$
"""
KEPT = ("trail", "comment", "finding", "proof", "step", "analysis", "report")
GUARD_PLAN = """
create function workflows.guard_plan() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' then
        raise exception 'a plan stays: % is refused', tg_op using errcode = 'insufficient_privilege';
    end if;
    if (new.id, new.namespace, new.tenant) is distinct from (old.id, old.namespace, old.tenant)
        or new.revision <> old.revision + 1
        or not (old.state, new.state) in (
            ('draft', 'draft'), ('draft', 'in_review'),
            ('in_review', 'in_approval'), ('in_review', 'draft'), ('in_review', 'rejected'),
            ('in_approval', 'approved'), ('in_approval', 'draft'), ('in_approval', 'rejected'),
            ('approved', 'approved'), ('approved', 'executed'))
    then
        raise check_violation using message = 'a plan does not go from ' || old.state || ' to ' || new.state;
    end if;
    return new;
end
$$
"""
# An entry is of a change that was made along with it, and follows the entry before.
GUARD_TRAIL = """
create function workflows.guard_trail() returns trigger language plpgsql as $$
begin
    if not exists (select from workflows.plan p where p.id = new.plan and (p.revision > new.revision
            or p.revision = new.revision and p.state = new.became))
        or new.revision > 1 and not exists (select from workflows.trail t
            where t.plan = new.plan and t.revision = new.revision - 1)
    then
        raise check_violation using message = 'an entry of a trail is of a change that was made';
    end if;
    return null;
end
$$
"""
ENTRY_OF_A_CHANGE = """
create constraint trigger entry_of_a_change after insert on workflows.trail deferrable initially deferred
for each row execute function workflows.guard_trail()
"""


def upgrade() -> None:
    """Create the tables and what guards them."""
    tables = (BILL, ANALYSIS, FINDING, PROOF, REPORT, PLAN, STEP, TRAIL, COMMENT, CONCERNED, NOTICE)
    for statement in (
        *tables,
        NO_CHANGE_WITHOUT_TRAIL,
        *INDEXES,
        KEEP,
        GUARD_PLAN,
        GUARD_TRAIL,
        ENTRY_OF_A_CHANGE,
    ):
        op.execute(statement)
    for table in KEPT:
        op.execute(
            f"create trigger {table}_kept before update or delete on workflows.{table}"
            " for each row execute function workflows.keep()"
        )
        op.execute(
            f"create trigger {table}_not_truncated before truncate on workflows.{table}"
            " for each statement execute function workflows.keep()"
        )
    op.execute(
        "create trigger guard_plan before update or delete on workflows.plan"
        " for each row execute function workflows.guard_plan()"
    )
    op.execute(
        "create trigger plan_not_truncated before truncate on workflows.plan"
        " for each statement execute function workflows.keep()"
    )
