"""What people decide is kept once, for good, and told to those concerned, also when something is in the way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from pydantic import JsonValue
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_auth import AccessDenied, Role, UserId
from netra_fixtures import (
    Goal,
    HalfOpen,
    PostgresEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)
from netra_workflows import (
    Analysis,
    Bills,
    Collaboration,
    InvalidText,
    NoSuchStep,
    NotFound,
    PlanChanged,
    Record,
    Report,
    StoreUnavailable,
    analyse,
    recommend,
)
from netra_workflows.generator import Bill
from netra_workflows.judging import Proofs, proofs

from .installation import Installation, Person

pytestmark = business_value(
    tier=Tier.ENTERPRISE, goals={Goal.SECURITY, Goal.EFFICIENCY},
    impact="an auditor can rely on who decided what, and nobody works on what somebody else has changed",
)  # fmt: skip

Draft = Callable[[Person], Awaitable[UUID]]


class Refusing:
    """A sink that takes nothing while it is told to."""

    def __init__(self) -> None:
        self.refuses = True
        self.taken: list[tuple[str, str]] = []

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None:
        """Take an event, or raise."""
        if self.refuses:
            raise ConnectionError
        self.taken.append((user, event_id.partition("/")[2]))


class Judged(NamedTuple):
    """What is found in a generated bill, and what each row that proves it was billed at."""

    analysis: Analysis
    billed: Proofs


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Judge a bill, once for all who decide on what is found in it."""
    path = tmp_path_factory.mktemp("bills") / "bill.csv"
    Bill(3, rows=200, days=31, accounts=1).write(path)
    with Bills.opened(memory_mb=512, threads=1) as bills:
        bills.ingest(path)
        analysis = analyse(bills)
        return Judged(analysis, proofs(bills, analysis))


@pytest.fixture
def draft(engine: AsyncEngine, namespace: str, judged: Judged) -> Draft:
    """Draw up a plan as the agents do, without them."""
    analysis, billed = judged

    async def drawn(person: Person) -> UUID:
        id, tenant = uuid4(), person.principal.tenant
        record = Record(engine=engine, namespace=namespace)
        await record.add(id, analysis, billed, tenant=tenant, user=person.user, sources=["bill.csv"])
        await record.draft(id, recommend(analysis), tenant=tenant, user=person.user)
        return id

    return drawn


ALTERATIONS = (
    "update workflows.trail set actor = 'nobody'",
    "delete from workflows.trail",
    "truncate workflows.trail cascade",
    "insert into workflows.trail select plan, 1, 'me', act, became, step, said, at from workflows.trail",
    "insert into workflows.trail select plan, 2, 'me', act, became, step, said, at from workflows.trail",
    "update workflows.comment set said = 'never'",
    "delete from workflows.comment",
    "update workflows.finding set saving = 0",
    "delete from workflows.proof",
    "insert into workflows.proof select * from workflows.proof limit 1",
    "update workflows.step set a_month = 0",
    "delete from workflows.plan",
    "truncate workflows.plan cascade",
    "update workflows.plan set tenant = 'globex', revision = 2",
    "update workflows.plan set state = 'approved', approved_by = 'me', revision = 2",
    "update workflows.plan set left_out = '{1}'",
    "update workflows.plan set state = 'in_review', revision = 2",
)


async def test_what_was_decided_and_found_can_not_be_altered(
    installation: Installation, draft: Draft, engine: AsyncEngine
) -> None:
    """PostgreSQL itself refuses, whoever asks, and a plan changes only along with an entry of its trail."""
    apo = await installation.person("apo", "acme")
    plan = await draft(apo)
    await installation.collaboration.comment(apo.principal, plan, "hello")
    kept = "select p::text, t::text from workflows.plan p, workflows.trail t"
    before = await installation.rows(kept)

    refused = []
    for statement in ALTERATIONS:
        try:
            async with engine.begin() as connection:
                await connection.execute(text(statement))
        except DBAPIError:
            refused.append(statement)

    assert refused == [*ALTERATIONS]
    assert await installation.rows(kept) == before


async def test_of_acts_at_once_on_one_revision_one_counts(
    installation: Installation, draft: Draft, engine: AsyncEngine
) -> None:
    """Two who decide at the same instant never both believe that they did."""
    apo = await installation.person("apo", "acme")
    plan = await draft(apo)
    shared = installation.collaboration

    async def all_wait() -> None:
        assert len(await installation.rows("select 1 from pg_locks where not granted")) == 4

    async with engine.connect() as connection:
        await connection.execute(text("select 1 from workflows.plan for update"))
        acting = asyncio.gather(
            *(shared.revise(apo.principal, plan, base=1, without=[n], said="mine") for n in (1, 2, 3, 4)),
            return_exceptions=True,
        )
        await eventually(all_wait, seconds=20)
    acts = await acting

    won = [act for act in acts if not isinstance(act, BaseException)]
    lost = [act for act in acts if isinstance(act, PlanChanged)]
    assert (len(won), len(lost)) == (1, 3)
    assert {(one.based_on, one.revision) for one in lost} == {(1, 2)}
    assert (await shared.plan(apo.principal, plan)).left_out == won[0].left_out
    assert [entry.revision for entry in await shared.trail(apo.principal, plan)] == [1, 2]


async def test_what_an_agent_writes_again_is_there_once(
    installation: Installation, engine: AsyncEngine, namespace: str, judged: Judged
) -> None:
    """A worker that died after it had written, and before anybody knew, is followed by one that writes the same."""
    id, record = uuid4(), Record(engine=engine, namespace=namespace)
    analysis, billed = judged

    for _ in range(2):
        await record.add(id, analysis, billed, tenant="acme", user="apo", sources=["bill.csv"])
        await record.draft(id, recommend(analysis), tenant="acme", user="apo")
        await record.add_report(id, Report(markdown="# Savings", html="<p>", findings_csv="rule"))

    kept = await record.analysis(id, tenant="acme")
    assert kept == analysis
    assert recommend(kept) == recommend(analysis)
    assert await installation.rows("select revision, act from workflows.trail") == [(1, "drafted")]
    assert len(await installation.rows("select 1 from workflows.report")) == 1


async def test_who_may_not_is_refused_and_that_is_on_record(installation: Installation, draft: Draft) -> None:
    """A role that doesn't allow an act changes nothing, and the attempt is among the violations."""
    apo = await installation.person("apo", "acme")
    una = await installation.person("una", "acme", Role.STANDARD_USER)
    plan = await draft(apo)
    shared, may_not = installation.collaboration, una.principal

    for act in (
        shared.submit(may_not, plan, base=1, said="x"),
        shared.revise(may_not, plan, base=1, without=[1], said="x"),
    ):
        with pytest.raises(AccessDenied):
            await act
    await shared.comment(may_not, plan, "I may speak")

    assert len(await shared.trail(may_not, plan)) == 1
    tried = await installation.rows("select kind from auth.violation where user_id = :user", user=una.user)
    assert len(tried) == 2


async def test_nobody_of_another_tenant_is_let_in_on_a_plan(installation: Installation, draft: Draft) -> None:
    """An invitation reaches members alone, so a mistyped name shows nothing to a stranger."""
    apo = await installation.person("apo", "acme")
    mallory = await installation.person("mallory", "globex")
    plan = await draft(apo)

    with pytest.raises(NotFound):
        await installation.collaboration.invite(apo.principal, plan, [UserId(mallory.user)])

    assert await installation.rows("select user_id from workflows.concerned") == [(apo.user,)]


async def test_what_a_sink_did_not_take_is_told_later_in_order(
    installation: Installation, draft: Draft, engine: AsyncEngine, namespace: str
) -> None:
    """A gateway's Redis that is away holds up no decision, and nobody misses one."""
    apo = await installation.person("apo", "acme")
    plan = await draft(apo)
    sink = Refusing()
    shared = Collaboration(engine=engine, namespace=namespace, access=installation.access, sink=sink)

    await shared.revise(apo.principal, plan, base=1, without=[1], said="less")
    await shared.comment(apo.principal, plan, "why?")
    await shared.submit(apo.principal, plan, base=2, said="now")
    sink.refuses = False
    told = await shared.deliver()

    assert told == 3
    kinds = [event.split("/")[0] for _, event in sink.taken]
    assert (kinds, {user for user, _ in sink.taken}) == (["revision", "comment", "revision"], {apo.user})
    assert await shared.deliver() == 0


async def test_what_no_store_keeps_is_refused_before_any_sees_it(
    installation: Installation, draft: Draft
) -> None:
    """The writer is told what is wrong, and nothing is half stored."""
    apo = await installation.person("apo", "acme")
    plan = await draft(apo)
    shared = installation.collaboration

    for said in ("", " \n ", "nul \x00", "half \ud800", "bell \a", "x" * 20_001, "x" * 2**20):
        for act in (
            shared.comment(apo.principal, plan, said),
            shared.submit(apo.principal, plan, base=1, said=said),
            installation.optimization.begin(apo.principal, said),
        ):
            with pytest.raises(InvalidText) as caught:
                await act
            assert len(str(caught.value)) < 100

    assert await shared.comments(apo.principal, plan) == ()
    assert (await shared.plan(apo.principal, plan)).revision == 1


async def test_a_plan_keeps_a_step(installation: Installation, draft: Draft) -> None:
    """What leaves nothing to do is rejected, not approved."""
    apo = await installation.person("apo", "acme")
    plan = await draft(apo)
    every = (await installation.collaboration.plan(apo.principal, plan)).open

    with pytest.raises(NoSuchStep):
        await installation.collaboration.revise(apo.principal, plan, base=1, without=every, said="all")


async def test_a_database_that_does_not_answer_is_given_up_in_time(
    installation: Installation, draft: Draft, postgres_link: ServiceLink[PostgresEndpoint], namespace: str
) -> None:
    """Who decides is told that the store is away, instead of looking at a page that never comes."""
    apo = await installation.person("apo", "acme")
    plan = await draft(apo)
    engine = create_async_engine(postgres_link.endpoint.url())
    shared = Collaboration(
        engine=engine, namespace=namespace, access=installation.access, sink=installation.publisher
    )
    await shared.plan(apo.principal, plan)

    async with postgres_link.fault(HalfOpen()), within(seconds=20):
        with pytest.raises(StoreUnavailable):
            await shared.submit(apo.principal, plan, base=1, said="now")
    await engine.dispose()

    assert (await installation.collaboration.plan(apo.principal, plan)).revision == 1
