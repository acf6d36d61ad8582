"""Servers come and go while runs go on; nothing hangs, and nothing that was done is lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_agents import (
    Agent,
    AgentsPolicy,
    Caller,
    Orchestrator,
    Plan,
    Step,
    StoreUnavailable,
    Turn,
    Worker,
)
from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    IsolatedEnvironment,
    PostgresEndpoint,
    PrivatePostgres,
    PrivateRedis,
    Program,
    RedisEndpoint,
    Reset,
    ServiceLink,
    StartProgram,
    Tier,
    business_value,
    eventually,
    within,
)

from .at_work import Piece, outcome, plans
from .computing import ADD, Number
from .conftest import PATIENT, Screen, forget_all
from .without_network import REFUSED

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="an outage costs time, and neither work nor its record"
)

OpenWorker = Callable[..., Awaitable[Worker]]
StartWorker = Callable[..., Awaitable[Program]]
BEATING = PATIENT.model_copy(
    update={"beat_every": timedelta(milliseconds=20)}
)  # so that beats meet the outage
HASTY = AgentsPolicy(deadline=timedelta(seconds=1))
SOON = timedelta(seconds=50)


class Gates:
    """A chain of agents that wait each until they are let through, and count how often they were asked."""

    def __init__(self, length: int) -> None:
        self.calls = [0] * length
        self.reached = [asyncio.Event() for _ in range(length)]
        self.open = [asyncio.Event() for _ in range(length)]
        agent = Agent("gate", self._pass, Number, Number)
        steps = [Step("g0", agent), *(Step(f"g{n}", agent, f"g{n - 1}") for n in range(1, length))]
        self.plan = Plan("gates", Number, Number, steps)

    async def _pass(self, given: Number, turn: Turn) -> Number:
        place = int(turn.step[1:])
        self.calls[place] += 1
        self.reached[place].set()
        await self.open[place].wait()
        return Number(n=given.n + 1)


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_run_outlives_a_restart_of_postgresql(
    private_postgres: PrivatePostgres, own_engine: AsyncEngine, redis_client: Redis, namespace: str,
    alice: Caller, screen: Screen, how: str,
) -> None:  # fmt: skip
    """The record is away for a moment in the middle of a run: the run waits for it, and repeats nothing."""
    gates = Gates(3)
    given: dict[str, Any] = {"engine": own_engine, "redis": redis_client, "namespace": namespace}
    async with (
        Orchestrator(**given, policy=PATIENT) as orchestrator,
        Worker(plans=[gates.plan], sink=screen, policy=BEATING, **given),
        within(seconds=50),
    ):
        run = await orchestrator.start(gates.plan, Number(n=1), caller=alice)
        gates.open[0].set()
        await gates.reached[1].wait()

        if how == "restart":
            await private_postgres.restart()
            gates.open[1].set()
        else:
            await private_postgres.kill()
            gates.open[1].set()  # what this step comes to can't be written now
            await asyncio.sleep(0.2)
            await private_postgres.start()
        gates.open[2].set()

        async def done() -> None:
            try:
                assert (await orchestrator.find(run, caller=alice)).state.ended
            except StoreUnavailable as error:
                raise AssertionError("it is not back yet") from error

        await eventually(done, seconds=40)
        result = await orchestrator.result(gates.plan, run, caller=alice, within=SOON)

        async def seen() -> None:
            assert screen.kinds(run) == ["agent_started", "agent_completed"]

        await eventually(seen, seconds=10)
        calls, gates.calls = gates.calls, [0, 0, 0]
        again = await orchestrator.start(gates.plan, Number(n=2), caller=alice)
        after = await orchestrator.result(gates.plan, again, caller=alice, within=SOON)
    assert (result.n, after.n) == (4, 5)
    assert calls == [1, 1, 1]


@pytest.mark.parametrize("flushes", [5, pytest.param(200, marks=pytest.mark.soak)])
async def test_a_flushed_redis_loses_no_run_and_its_views_are_made_again(
    open_worker: OpenWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    rng: random.Random, flushes: int,
) -> None:  # fmt: skip
    """Whenever Redis forgets, runs go on, and one call shows again what the record says."""
    plan = Plan("chain", Number, Number, [Step("a", ADD), Step("b", ADD, "a"), Step("c", ADD, "b")])
    await open_worker(plan)

    async def consistent() -> None:
        assert await orchestrator.check_consistency() == []

    for _ in range(flushes):
        runs = [await orchestrator.start(plan, Number(n=n), caller=alice) for n in range(3)]
        await asyncio.sleep(rng.uniform(0, 0.05))
        await forget_all(redis_client, namespace)
        for n, run in enumerate(runs):
            result = await orchestrator.result(plan, run, caller=alice, within=SOON)
            assert result.n == n + 3
        await orchestrator.rebuild_view()
        await eventually(consistent, seconds=10)


@pytest.mark.timeout(180)
async def test_runs_go_on_without_redis(
    private_redis: PrivateRedis, engine: AsyncEngine, namespace: str, alice: Caller
) -> None:
    """Screens stand still while Redis is away, and the work does not."""
    gates = Gates(2)
    redis = private_redis.endpoint.client()
    given: dict[str, Any] = {"engine": engine, "redis": redis, "namespace": namespace}
    async with (
        Orchestrator(**given, policy=HASTY) as orchestrator,
        Worker(plans=[gates.plan], policy=PATIENT.model_copy(update={"deadline": HASTY.deadline}), **given),
        within(seconds=50),
    ):
        run = await orchestrator.start(gates.plan, Number(n=1), caller=alice)
        await gates.reached[0].wait()
        await private_redis.kill()
        for gate in gates.open:
            gate.set()

        async def done() -> None:
            try:
                assert (await orchestrator.show(run, caller=alice)).state.ended
            except StoreUnavailable as error:
                raise AssertionError from error

        await eventually(done, seconds=30)
        with pytest.raises(StoreUnavailable, match="Redis"):
            await orchestrator.rebuild_view()
        await private_redis.start()

        async def shown_again() -> None:
            assert await orchestrator.check_consistency() == []

        await eventually(shown_again, seconds=30)
    await redis.aclose()


@pytest.mark.parametrize("fault", [Cut(), Reset(), HalfOpen()], ids=str)
async def test_a_store_that_does_not_answer_is_given_up_in_time(
    postgres_link: ServiceLink[PostgresEndpoint], redis_link: ServiceLink[RedisEndpoint], alice: Caller,
    namespace: str, fault: Any,
) -> None:  # fmt: skip
    """Whoever asks is told which store is away, before the deadline, and is served once it is back."""
    engine = create_async_engine(postgres_link.endpoint.url())
    redis = redis_link.endpoint.client()
    orchestrator, patient = [
        Orchestrator(engine=engine, redis=redis, namespace=namespace, policy=policy)
        for policy in (HASTY, PATIENT)  # a busy machine is no outage
    ]
    plan = Plan("quick", Number, Number, [Step("a", ADD)])
    run = await patient.start(plan, Number(n=1), caller=alice)
    await patient.rebuild_view()

    async with postgres_link.fault(fault), within(seconds=30):
        refused = await asyncio.gather(
            orchestrator.start(plan, Number(n=1), caller=alice),
            orchestrator.find(run, caller=alice),
            orchestrator.cancel(run, caller=alice),
            orchestrator.list_runs(caller=alice),
            orchestrator.check_consistency(),
            return_exceptions=True,
        )
        for error in refused:
            with pytest.raises(StoreUnavailable, match="PostgreSQL"):
                raise error
        assert (await patient.show(run, caller=alice)).id == run
    async with redis_link.fault(fault), within(seconds=30):
        answers: list[Any] = await asyncio.gather(
            orchestrator.check_consistency(), orchestrator.rebuild_view(),
            orchestrator.show(run, caller=alice), orchestrator.cancel(run, caller=alice), return_exceptions=True,
        )  # fmt: skip
        *refused, shown, cancelled = answers
        for error in refused:
            with pytest.raises(StoreUnavailable, match="Redis"):
                raise error
        assert (shown.id, cancelled) == (run, None)

    async def back() -> None:
        try:
            await orchestrator.rebuild_view()
            assert await orchestrator.check_consistency() == []
        except StoreUnavailable as error:
            raise AssertionError("it is not back yet") from error

    await eventually(back, seconds=10)
    await redis.aclose()
    await engine.dispose()


@pytest.mark.timeout(180)
async def test_a_worker_speaks_to_its_servers_and_to_nobody_else(
    start_worker: StartWorker, orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller,
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint,
) -> None:  # fmt: skip
    """No engine phones home: of all that the worker connects to, nothing is outside."""
    mixed = plans(redis_client, namespace)[0]
    await start_worker(TELLS_CONNECTIONS="1")

    run = await orchestrator.start(mixed, Piece(n=1), caller=alice)
    result = await orchestrator.result(mixed, run, caller=alice, within=SOON)

    assert result.n == outcome(1)
    connected = {one.decode() for one in await redis_client.smembers(f"{namespace}:connected")}
    servers = f"{postgres_endpoint.url()} {redis_endpoint.url}"
    assert connected
    assert [one for one in connected if one not in servers] == []


@pytest.mark.timeout(180)
async def test_a_worker_needs_no_network(
    orchestrator: Orchestrator, redis_client: Redis, namespace: str, alice: Caller, start_program: StartProgram,
    worker_environment: IsolatedEnvironment, postgres_endpoint: PostgresEndpoint,
) -> None:  # fmt: skip
    """Cut off from every network, but for the sockets of its servers, a worker does its work."""
    if not str(make_url(postgres_endpoint.url()).query.get("host", "")).startswith("/"):
        pytest.skip("the servers are reached by the network; use --services=embedded")
    mixed = plans(redis_client, namespace)[0]
    worker = await start_program(Path(__file__).with_name("without_network.py"), imports=["dbos"])
    async with within(seconds=60):
        ready = await worker.stdout.readline()
    if not ready and await worker.wait() == REFUSED:
        pytest.skip("no network namespace can be had; allow unprivileged user namespaces")

    run = await orchestrator.start(mixed, Piece(n=2), caller=alice)
    result = await orchestrator.result(mixed, run, caller=alice, within=SOON)

    assert result.n == outcome(2)
