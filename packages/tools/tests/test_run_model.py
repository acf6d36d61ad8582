"""Whatever workers do in whatever order, a run is where a page of plain rules says it is."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy.ext.asyncio import create_async_engine

from netra_fixtures import Goal, PostgresEndpoint, Tier, business_value
from netra_tools import Caller, RunId, RunState, TenantId, UserId
from netra_tools.store import Claim, Ending, NewRun, RunStore

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="no sequence of events lets a run end twice, or be held by two workers",
)

CALLER = Caller(tenant=TenantId("acme"), user=UserId("alice"))
ENDS = {
    RunState.COMPLETED: Ending(RunState.COMPLETED, result=b"1"),
    RunState.FAILED: Ending(RunState.FAILED, error="x", message="x"),
    RunState.TIMED_OUT: Ending(RunState.TIMED_OUT, error="x", message="x"),
    RunState.CANCELLED: Ending(RunState.CANCELLED, error="x", message="x"),
}


@dataclass
class Model:
    """Where one run should be."""

    state: RunState
    holder: Any
    lapsed: bool
    cancel: bool = False


class Stores:
    """Two workers' ways to the runs: the leases of one are over at once, those of the other never."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.runner = runner
        self.engine = create_async_engine(url)
        self.namespace = str(uuid4())
        deadline = timedelta(seconds=30)
        self.by_lapsing = {
            lapsing: RunStore(
                self.engine, self.namespace, deadline=deadline, lease=timedelta(0 if lapsing else 3600)
            )
            for lapsing in (True, False)
        }

    async def close(self) -> None:
        """Close what the stores opened."""
        for store in self.by_lapsing.values():
            store.close()
        await self.engine.dispose()


@contextmanager
def stores(url: str) -> Iterator[Stores]:
    """Open the stores, and close them."""
    with asyncio.Runner() as runner:
        opened = Stores(runner, url)
        yield opened
        runner.run(opened.close())


def machine(opened: Stores) -> type[RuleBasedStateMachine]:
    """Give the machine that drives the stores and the model alike."""

    class Runs(RuleBasedStateMachine):
        claims = Bundle("claims")

        def __init__(self) -> None:
            super().__init__()
            self.models: dict[RunId, Model] = {}
            self.keys: dict[str, RunId] = {}
            opened.runner.run(self._forget())
            self.done = opened.runner.run

        async def _forget(self) -> None:
            opened.namespace = str(uuid4())
            for store in opened.by_lapsing.values():
                store._namespace = opened.namespace

        @rule(
            target=claims, lapsing=st.booleans(), at_once=st.booleans(), key=st.sampled_from([None, "a", "b"])
        )
        def write(self, lapsing: bool, at_once: bool, key: str | None) -> Any:
            store = opened.by_lapsing[lapsing]
            new = NewRun(CALLER, "x", "1", b"{}", timedelta(hours=1), key)
            claim = self.done(store.begin(new) if at_once else store.add(new))
            assert (claim is None) == (key in self.keys)
            if claim is None:
                found = self.done(store.find_key(CALLER.tenant, "x", key or ""))
                assert found is not None
                assert found.run.id == self.keys[key or ""]
                return None
            state = RunState.RUNNING if at_once else RunState.PENDING
            self.models[claim.id] = Model(state, claim.holder, lapsed=lapsing or not at_once)
            if key is not None:
                self.keys[key] = claim.id
            return claim

        @rule(claim=claims, lapsing=st.booleans())
        def start(self, claim: Claim | None, lapsing: bool) -> None:
            if claim is None:
                return
            model = self.models[claim.id]
            told = self.done(opened.by_lapsing[lapsing].start(claim))
            if model.state.ended or model.holder != claim.holder:
                assert told is None
            else:
                assert told is model.cancel
                model.state, model.lapsed = RunState.RUNNING, lapsing

        @rule(claim=claims, end=st.sampled_from(list(ENDS)))
        def finish(self, claim: Claim | None, end: RunState) -> None:
            if claim is None:
                return
            model = self.models[claim.id]
            done = self.done(opened.by_lapsing[True].finish(claim, ENDS[end]))
            assert done == (model.state is RunState.RUNNING and model.holder == claim.holder)
            if done:
                model.state = end

        @rule(claim=claims, lapsing=st.booleans())
        def renew(self, claim: Claim | None, lapsing: bool) -> None:
            if claim is None:
                return
            model = self.models[claim.id]
            kept = self.done(opened.by_lapsing[lapsing].renew([claim]))
            if model.state.ended or model.holder != claim.holder:
                assert kept == {}
            else:
                assert kept == {claim.id: model.cancel}
                model.lapsed = lapsing

        @rule(claim=claims)
        def cancel(self, claim: Claim | None) -> None:
            if claim is None:
                return
            model = self.models[claim.id]
            assert (
                self.done(opened.by_lapsing[True].request_cancel(claim.id, CALLER.tenant))
                != model.state.ended
            )
            model.cancel = model.cancel or not model.state.ended

        @rule(target=claims, lapsing=st.booleans())
        def take(self, lapsing: bool) -> Any:
            free = {run for run, model in self.models.items() if model.lapsed and not model.state.ended}
            taken = self.done(opened.by_lapsing[lapsing].take([("x", "1")], most=1))
            assert {claim.id for claim in taken} <= free
            assert bool(taken) == bool(free)
            for claim in taken:
                model = self.models[claim.id]
                assert (claim.state, claim.cancel_requested) == (model.state, model.cancel)
                model.holder, model.lapsed = claim.holder, lapsing
                return claim
            return None

        @invariant()
        def runs_are_where_the_model_says(self) -> None:
            for run, model in self.models.items():
                found = self.done(opened.by_lapsing[True].find(run, CALLER.tenant))
                assert found is not None
                assert found.run.state is model.state

    return Runs


@pytest.mark.timeout(900)
@pytest.mark.parametrize("examples", [15, pytest.param(1_000, marks=pytest.mark.soak)])
def test_runs_keep_to_the_model(postgres_endpoint: PostgresEndpoint, examples: int) -> None:
    """Claims, ends, cancellations and lapsed leases, mixed by chance, end as the rules say."""
    with stores(postgres_endpoint.url()) as opened:
        run_state_machine_as_test(
            machine(opened),
            settings=settings(
                max_examples=examples, stateful_step_count=25, deadline=None, database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
