"""What a worker does beside its runs holds up none of it, however much there is and whoever stands in the way."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_agents import Agent, Caller, Orchestrator, Plan, RunCancelled, RunId, RunState, Step, Turn, Worker
from netra_agents.claims import Claims
from netra_agents.payload import DEEPEST
from netra_agents.screen import Screen as Views
from netra_agents.view import View
from netra_fixtures import (
    Goal,
    HalfOpen,
    PostgresEndpoint,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)

from .computing import ADD, Number
from .conftest import PATIENT, Screen

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="a long queue or a slow moment costs nobody their work"
)

OpenWorker = Callable[..., Awaitable[Worker]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
SOON = timedelta(seconds=30)
BEATING = PATIENT.model_copy(update={"beat_every": timedelta(milliseconds=20)})
QUICK = Plan("quick", Number, Number, [Step("a", ADD)])

# A beat that waits for a lock, and that is late where it is to be cancelled, as on a busy server.
HELD_UP = """create function wait() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(1);
    return new;
exception when query_canceled then
    perform pg_sleep(0.3);
    return new;
end
$$"""
BEATS = (
    "select pid from pg_stat_activity where datname = current_database() and state = 'active'"
    " and query like '%agents.beat%' and pid <> pg_backend_pid()"
)
COLUMNS = "namespace, tenant, user_id, tier, priority, tenant_limit, plan, version, plan_key, input, due_at"


def claims_of(engine: AsyncEngine, namespace: str) -> Claims:
    """Return what a worker of its own would claim by."""
    return Claims(
        engine, namespace, uuid4(), [QUICK.key], deadline=timedelta(seconds=30), lapse=timedelta(seconds=30),
        most_attempts=3,
    )  # fmt: skip


async def beats(rows: Rows, times: int) -> None:
    """Wait until the one worker has told so often that it lives."""
    seen = set()

    async def told() -> None:
        [row] = await rows("select beat_at from agents.executor")
        seen.add(row["beat_at"])
        assert len(seen) > times

    await eventually(told, seconds=10)


async def test_a_worker_tells_that_it_lives_while_it_waits_for_its_turn_to_take_up_runs(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, engine: AsyncEngine, namespace: str,
    rows: Rows,
) -> None:  # fmt: skip
    """A crowd before the queue is no death: nobody takes away the runs of whoever stands in it."""
    await open_worker(QUICK, policy=BEATING)
    lock = text("select pg_advisory_xact_lock(hashtextextended('agents.claim ' || :space, 0))")

    async with engine.begin() as other:
        await other.execute(lock, {"space": namespace})
        run = await orchestrator.start(QUICK, Number(n=1), caller=alice)
        await beats(rows, 5)
    result = await orchestrator.result(QUICK, run, caller=alice, within=SOON)

    assert result.n == 2


@pytest.mark.fresh_database
async def test_a_worker_that_left_gives_no_sign_of_life(
    engine: AsyncEngine, redis_client: Redis, namespace: str, rows: Rows
) -> None:
    """Whoever takes over from a worker that left does so at once, and not when it would be given up for dead."""
    async with engine.begin() as connection:
        await connection.execute(text(HELD_UP))
        await connection.execute(
            text("create trigger wait before insert on agents.executor for each row execute function wait()")
        )

    async def beating() -> None:
        assert await rows(f"{BEATS} and wait_event = 'advisory'")

    async def over() -> None:
        assert not await rows(BEATS)

    async with AsyncExitStack() as opened:
        await opened.enter_async_context(
            Worker(plans=[QUICK], engine=engine, redis=redis_client, namespace=namespace, policy=BEATING)
        )
        async with engine.begin() as other:
            await other.execute(text("select pg_advisory_xact_lock(1)"))
            await eventually(beating, seconds=10)
            leaving = asyncio.create_task(opened.aclose())
            await asyncio.wait(
                {leaving}, timeout=0.1
            )  # who leaves without waiting for the beat is gone by then
        await leaving
    await eventually(over, seconds=10)

    assert await rows("select id from agents.executor") == []


async def test_a_queue_that_expired_is_ended_a_part_at_a_time(
    engine: AsyncEngine, namespace: str, orchestrator: Orchestrator, alice: Caller, rows: Rows
) -> None:
    """However many waited in vain, telling them fits into the time that one question to PostgreSQL has."""
    await orchestrator.start(QUICK, Number(n=1), caller=alice, within=timedelta(milliseconds=1))
    more = f"insert into agents.run (id, state, {COLUMNS}) select gen_random_uuid(), state, {COLUMNS} from agents.run"
    async with engine.begin() as connection:
        await connection.execute(text(f"{more}, generate_series(1, 249)"))
    claims = claims_of(engine, namespace)
    await claims.beat()

    changed = [[what for _, what, _ in await claims.recover()].count("changed") for _ in range(4)]

    assert changed == [100, 100, 50, 0]
    assert await rows("select state, count(*) as n from agents.run group by state") == [
        {"state": "timed_out", "n": 250}
    ]


async def test_what_dead_workers_left_unsent_is_taken_over_a_part_at_a_time(
    engine: AsyncEngine, namespace: str, orchestrator: Orchestrator, alice: Caller
) -> None:
    """Also where PostgreSQL last counted the runs before they were there, and so plans for one."""
    await orchestrator.start(QUICK, Number(n=1), caller=alice)
    ended = (
        f"insert into agents.run (id, state, ended_at, error, told, {COLUMNS})"
        f" select gen_random_uuid(), 'cancelled', clock_timestamp(), 'Cancelled', 1, {COLUMNS} from agents.run"
    )
    async with engine.begin() as connection, engine.connect() as other:
        await connection.execute(text(f"{ended}, generate_series(1, 250)"))
        await other.execute(text("analyze agents.run"))
    claims = claims_of(engine, namespace)
    await claims.beat()

    taken = [[what for _, what, _ in await claims.recover()].count("untold") for _ in range(4)]

    assert taken == [100, 100, 50, 0]


async def test_a_run_that_is_cancelled_before_its_work_began_has_a_start_and_an_end(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, engine: AsyncEngine, screen: Screen,
    rows: Rows,
) -> None:  # fmt: skip
    """A screen that shows an end has shown a beginning, however early the user changed their mind."""
    await open_worker(QUICK, sink=screen, policy=BEATING)

    async with engine.begin() as other:
        await other.execute(text("lock table agents_engine.workflow_status in exclusive mode"))
        run = await orchestrator.start(QUICK, Number(n=1), caller=alice)

        async def taken_up() -> None:
            assert await rows("select 1 from agents.run where state = 'running'")

        await eventually(taken_up, seconds=10)
        await orchestrator.cancel(run, caller=alice)
        await beats(rows, 3)
    with pytest.raises(RunCancelled):
        await orchestrator.result(QUICK, run, caller=alice, within=SOON)

    async def seen() -> None:
        assert screen.kinds(run) == ["agent_started", "agent_failed"]

    await eventually(seen, seconds=10)


async def test_a_result_that_is_as_deep_as_may_be_is_kept(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, screen: Screen
) -> None:
    """What the rules allow an agent to give is written down, shown and returned like any other result."""
    deep: JsonValue = 1
    for _ in range(DEEPEST):
        deep = [deep]

    async def dig(given: Number, turn: Turn) -> JsonValue:
        return deep

    plan: Plan[Number, Any] = Plan(
        "deep", Number, JsonValue, [Step("dig", Agent("dig", dig, Number, JsonValue))]
    )  # type: ignore[arg-type]
    await open_worker(plan, sink=screen)

    run = await orchestrator.start(plan, Number(n=1), caller=alice)

    assert await orchestrator.result(plan, run, caller=alice, within=SOON) == deep

    async def seen() -> None:
        assert [data["result"] for data in screen.data(run, "agent_completed")] == [deep]

    await eventually(seen, seconds=10)


@pytest.mark.fresh_database
async def test_a_run_whose_steps_can_not_be_written_down_does_not_go_on_without_a_record(
    open_worker: OpenWorker, orchestrator: Orchestrator, alice: Caller, engine: AsyncEngine
) -> None:
    """Where PostgreSQL refuses what a run came to, it is set aside, and doesn't end with a hole in its record."""

    async def wait(given: Number, turn: Turn) -> Number:
        await asyncio.Event().wait()
        return given

    plan = Plan(
        "unwritten", Number, Number, [Step("a", ADD), Step("b", Agent("wait", wait, Number, Number), "a")]
    )
    async with engine.begin() as connection:
        await connection.execute(
            text("alter table agents.step add check (name <> 'a' or state <> 'completed')")
        )
    await open_worker(plan)

    run = await orchestrator.start(plan, Number(n=1), caller=alice)

    async def set_aside() -> None:
        assert (await orchestrator.find(run, caller=alice)).state is RunState.PARKED

    await eventually(set_aside, seconds=20)


async def test_who_waits_for_a_run_asks_nothing_when_others_begin_and_end(
    postgres_endpoint: PostgresEndpoint, redis_client: Redis, namespace: str, alice: Caller
) -> None:
    """A hundred users who wait for a hundred runs cost PostgreSQL what a hundred do, and not ten thousand."""
    engine, asked = create_async_engine(postgres_endpoint.url()), 0

    @event.listens_for(engine.sync_engine, "checkout")
    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    stores: dict[str, Any] = {"redis": redis_client, "namespace": namespace, "policy": PATIENT}
    other = create_async_engine(postgres_endpoint.url(), isolation_level="AUTOCOMMIT")
    async with Orchestrator(engine=engine, **stores) as waits, other.connect() as tells, within(seconds=20):
        run = await waits.start(QUICK, Number(n=1), caller=alice)
        waiting = asyncio.create_task(waits.result(QUICK, run, caller=alice, within=SOON))
        for _ in range(100):
            await tells.execute(
                text("select pg_notify('agents', :space || ' ended ' || gen_random_uuid())"),
                {"space": namespace},
            )
        await Orchestrator(engine=other, **stores).cancel(run, caller=alice)
        with pytest.raises(RunCancelled):
            await waiting

    await engine.dispose()
    await other.dispose()
    assert asked < 20


async def test_nothing_of_a_worker_goes_on_once_it_is_left(
    engine: AsyncEngine, redis_client: Redis, namespace: str, orchestrator: Orchestrator, alice: Caller
) -> None:
    """An agent that won't be stopped holds its process up for a while, and nothing of it after that."""
    reached, over = asyncio.Event(), asyncio.Event()

    async def stubborn(given: Number, turn: Turn) -> Number:
        reached.set()
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue
        return given

    plan = Plan("stubborn", Number, Number, [Step("a", Agent("stubborn", stubborn, Number, Number))])
    hasty = PATIENT.model_copy(update={"grace": timedelta(0), "deadline": timedelta(milliseconds=500)})
    async with Worker(plans=[plan], engine=engine, redis=redis_client, namespace=namespace, policy=hasty):
        await orchestrator.start(plan, Number(n=1), caller=alice)
        async with within(seconds=30):
            await reached.wait()

    left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("run ")]
    over.set()

    assert left == []


async def test_a_screen_shows_what_was_on_its_way_when_the_worker_left(
    redis_link: ServiceLink[RedisEndpoint], namespace: str
) -> None:
    """A deployment that meets a slow Redis leaves no screen behind that says a run goes on which is over."""
    client = redis_link.endpoint.client()
    view = View(client, namespace, deadline=timedelta(seconds=30))
    screen, run = Views(view), RunId(uuid4())

    async with redis_link.fault(HalfOpen()):
        drawing = asyncio.create_task(screen.draw())
        screen.show(run, '{"revision": 1}')
        for _ in range(5):  # it is taken, and waits for an answer
            await asyncio.sleep(0)
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
    await screen.finish()

    assert await view.read([run]) == ['{"revision": 1}']
    await client.aclose()
