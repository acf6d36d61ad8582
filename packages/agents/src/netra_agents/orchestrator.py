"""Begin, follow, cancel and list runs: the class that those who want work done hold."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents.background import Background
from netra_agents.consistency import Consistency, Difference, read_view
from netra_agents.errors import (
    InvalidInput,
    KeyReused,
    NotParked,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunTimedOut,
    StillRunning,
    StoreUnavailable,
)
from netra_agents.notices import Notices
from netra_agents.payload import Misfit, canonical
from netra_agents.plan import Plan
from netra_agents.policy import AgentsPolicy
from netra_agents.run import Caller, Run, RunId, RunState, StepResult, check_name
from netra_agents.store import End, NewRun, RunStore
from netra_agents.view import View

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
_POLL_S: Final = 0.5
_LOOK_S: Final = 0.1


class Orchestrator:
    """The runs of one installation, named by its *namespace*; workers elsewhere carry them.

    The engine and the client stay the caller's. Any call may raise `StoreUnavailable`.
    """

    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, namespace: str, policy: AgentsPolicy | None = None
    ) -> None:
        self._policy = policy or AgentsPolicy()
        namespace = check_name(namespace)
        self._store = RunStore(engine, namespace, deadline=self._policy.deadline)
        self._view = View(redis, namespace, deadline=self._policy.deadline)
        self._consistency = Consistency(self._store, self._view)
        self._notices = Notices(engine, namespace, deadline=self._policy.deadline)
        self._background = Background()
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def __aenter__(self) -> Self:
        self._background.keep(self._notices.listen(self._told))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._background.close()

    async def start(
        self, plan: Plan[I, Any], input: I, *, caller: Caller, within: timedelta | None = None,
        key: str | None = None,
    ) -> RunId:  # fmt: skip
        """Queue a run, and return its id.

        Args:
            within: how long it may take, waiting included; as long as its plan says, if None.
            key: an idempotency key: starts of a tenant with one key are one run.

        Raises:
            InvalidInput: the input is not what the plan takes, or no store would keep it unchanged.
            KeyReused: the key belongs to another plan or input.
            ValueError: `within` is less than a millisecond, or the key can't be kept.
        """
        limit = self._policy.input_limit_bytes
        try:
            written = canonical(plan.takes.plain(input, limit_bytes=limit), limit_bytes=limit)
        except Misfit as error:
            raise InvalidInput(plan.name, error.problems) from None
        patience = plan.within if within is None else within
        if patience < timedelta(milliseconds=1):
            raise ValueError("within is at least one millisecond")
        new = NewRun(
            RunId(uuid4()), caller, plan.name, plan.version, plan.key, written,
            [(step.name, step.agent.name, step.agent.version) for stage in plan.stages for step in stage], patience,
            self._policy.priorities[caller.tier], self._policy.limits[caller.tier],
            key if key is None else check_name(key),
        )  # fmt: skip
        return new.id if await self._store.add(new) else await self._of_key(new)

    async def result(self, plan: Plan[Any, R], run: RunId, *, caller: Caller, within: timedelta) -> R:
        """Wait for the end of a run of the caller's tenant, and return its result.

        Raises:
            RunNotFound: the tenant has no such run.
            RunEnded: it ended without a result.
            StillRunning: it did not end *within* the time.
        """
        end = await self._ended(run, caller, within)
        if end.state is RunState.COMPLETED:
            return plan.gives.read(end.result)
        if end.state is RunState.CANCELLED:
            raise RunCancelled(run)
        if end.state is RunState.TIMED_OUT:
            raise RunTimedOut(run)
        raise RunFailed(run, end.error, end.message)

    async def find(self, run: RunId, *, caller: Caller) -> Run:
        """Return what PostgreSQL keeps of a run of the caller's tenant.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        view = await self._store.view(run, caller.tenant)
        if view is None:
            raise RunNotFound
        return Run.model_validate_json(view)

    async def show(self, run: RunId, *, caller: Caller) -> Run:
        """Return what screens show of a run: its view in Redis, or what PostgreSQL keeps where there is none.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        try:
            [view] = await self._view.read([run])
        except StoreUnavailable:
            view = None
        shown = None if view is None else read_view(view)
        if shown is None:
            return await self.find(run, caller=caller)
        if shown.tenant != caller.tenant:
            raise RunNotFound
        return shown

    async def follow(self, run: RunId, *, caller: Caller) -> AsyncIterator[Run]:
        """Give each state of a run that is seen, from the present one to the end.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        seen = 0
        with self._news_of(run) as news:
            while True:
                news.clear()  # what comes from here on is after what is read now
                found = await self.find(run, caller=caller)
                if found.revision > seen:
                    seen = found.revision
                    yield found
                if found.state.ended:
                    return
                await _woken(news, _LOOK_S)

    async def steps(self, run: RunId, *, caller: Caller) -> list[StepResult]:
        """Return what the steps of a run came to so far; empty where the tenant has no such run."""
        return await self._store.step_results(run, caller.tenant)

    async def list_runs(self, *, caller: Caller, state: RunState | None = None, most: int = 100) -> list[Run]:
        """Return up to *most* runs of the caller's tenant, the newest first."""
        return await self._store.of_tenant(caller.tenant, state, most=most)

    async def cancel(self, run: RunId, *, caller: Caller) -> None:
        """Cancel a run of the caller's tenant, wherever it goes on; one that ended stays as it is.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        view = await self._store.cancel(run, caller.tenant)
        if view is None:
            await self.find(run, caller=caller)
            return
        with suppress(StoreUnavailable):  # what is missing is rebuilt
            await self._view.show([(run, view)])

    async def parked(self, *, most: int = 100) -> list[Run]:
        """Return runs of any tenant that were set aside: their workers died, or nobody knows their plan."""
        return await self._store.parked(most=most)

    async def release(self, run: RunId, *, within: timedelta) -> None:
        """Queue a parked run again; it goes on from where it was.

        Raises:
            NotParked: it isn't.
        """
        view = await self._store.release(run, within=within)
        if view is None:
            raise NotParked(run)
        with suppress(StoreUnavailable):  # what is missing is rebuilt
            await self._view.show([(run, view)])

    async def rebuild_view(self) -> int:
        """Make the view of every run again, and remove those of no run; returns how many there are.

        Safe while workers work.
        """
        return await self._consistency.rebuild()

    async def check_consistency(self) -> list[Difference]:
        """Compare PostgreSQL and Redis, run by run; what changes meanwhile may be behind for a moment."""
        return await self._consistency.check()

    async def _of_key(self, new: NewRun) -> RunId:
        assert new.key is not None, "only a key meets another run"
        found = await self._store.of_key(new.caller.tenant, new.key)
        if found is None:
            raise StoreUnavailable("PostgreSQL")  # it was purged meanwhile
        run, plan_key, written = found
        if (plan_key, written) != (new.plan_key, new.input):
            raise KeyReused(run)
        return run

    async def _ended(self, run: RunId, caller: Caller, within: timedelta) -> End:
        loop = asyncio.get_running_loop()
        due = loop.time() + within.total_seconds()
        with self._news_of(run) as news:
            while True:
                news.clear()  # what comes from here on is after what is read now
                end = await self._store.end(run, caller.tenant)
                if end is None:
                    raise RunNotFound
                if end.state.ended:
                    return end
                left = due - loop.time()
                if left <= 0:
                    raise StillRunning(run)
                await _woken(news, min(left, _POLL_S))

    @contextmanager
    def _news_of(self, run: RunId) -> Iterator[asyncio.Event]:
        """Give what is set whenever something is told of a run."""
        news, waiting = asyncio.Event(), self._waiting.setdefault(str(run), set())
        waiting.add(news)
        try:
            yield news
        finally:
            waiting.discard(news)
            if not waiting:
                self._waiting.pop(str(run), None)

    def _told(self, _kind: str, run: str) -> None:
        """Wake those who wait for this run, and nobody else: each of them asks PostgreSQL."""
        for news in self._waiting.get(run, ()):
            news.set()


async def _woken(news: asyncio.Event, seconds: float) -> None:
    """Wait for a notice, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
