"""Run tools: the class that a caller holds."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_tools.attempts import Attempts
from netra_tools.background import Background
from netra_tools.breaker import Breakers
from netra_tools.cache import CacheUse, ResultCache
from netra_tools.call import (
    Call,
    CheckedCall,
    Outcome,
    canonical_arguments,
    checked_terms,
    ending_of,
    result_of,
)
from netra_tools.errors import PermissionDenied, ResultRefused, StoreUnavailable, ToolsError
from netra_tools.events import Announcer, EventSink
from netra_tools.memory import Memory
from netra_tools.payload import Misfit
from netra_tools.policy import ExecutorPolicy
from netra_tools.registry import ToolRegistry
from netra_tools.run import Caller, Run, RunId
from netra_tools.runs import Runs
from netra_tools.signals import Signals, woken
from netra_tools.store import NewRun, RunStore
from netra_tools.takeover import Takeover
from netra_tools.tool import Tool
from netra_tools.worker import Worker

R = TypeVar("R")
_AGAIN_S = 0.1


class Permits(Protocol):
    """Says what a caller may do."""

    async def allowed(self, caller: Caller, permission: str) -> bool:
        """Tell whether *caller* has *permission*."""


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


class ToolExecutor:
    """Run the tools of *registry* for the callers of one installation, named by its *namespace*.

    While the block is entered, runs of dead workers and submitted ones are taken up. The engine and the client stay
    the caller's. What goes on when the block is left is cancelled. Any call may raise `StoreUnavailable`.
    """

    def __init__(
        self,
        *,
        registry: ToolRegistry,
        engine: AsyncEngine,
        redis: Redis,
        namespace: str,
        sink: EventSink | None = None,
        permits: Permits | None = None,
        policy: ExecutorPolicy | None = None,
        clock: Callable[[], datetime] = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        policy = policy or ExecutorPolicy()
        self._policy = policy
        self._deadline_s = policy.deadline.total_seconds()
        self._registry = registry
        self._permits = permits
        self._memory = Memory(redis, deadline=policy.deadline)
        self._signals = Signals(redis, self._memory, f"{namespace}:tools", deadline=policy.deadline)
        self._breakers = Breakers(self._memory, self._signals, namespace)
        self._cache = ResultCache(self._memory, self._signals, namespace, lease=policy.lease, now=clock)
        self._store = RunStore(engine, namespace, lease=policy.lease, deadline=policy.deadline)
        chance = rng or random.SystemRandom()
        attempts = Attempts(self._breakers, chance, limit_bytes=policy.result_limit_bytes)
        announcer = Announcer(sink, deadline=policy.deadline)
        self._worker = Worker(self._store, attempts, announcer, self._signals, policy)
        self._takeover = Takeover(self._store, registry, self._worker, self._signals, policy)
        self._runs = Runs(self._store, self._worker, self._takeover, self._breakers, self._signals, policy)
        self._background = Background()
        self._missed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._background.keep(self._signals.listen(self._connected))
        self._background.keep(self._catch_up())
        self._background.keep(self._worker.keep_leases())
        self._background.keep(self._takeover.go_on())
        try:
            await woken(self._signals.connected, self._deadline_s)  # without Redis tools run all the same
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._takeover.close()
        try:
            await self._worker.close()
        finally:
            await self._background.close()
            self._store.close()
            await self._memory.close()

    async def run(self, call: Call[R], *, caller: Caller) -> Outcome[R]:
        """Run a tool and return its result, or that of an equal call.

        Raises:
            CallRefused: the tool, the arguments, the permission, the key or the breaker; nothing ran.
            RunEnded: it failed, was not done in time, or was cancelled.
            StillRunning: another call, which computes the same, is not done in time.
        """
        checked = await self._check(call, caller)
        policy = checked.tool.cache
        if policy is None or call.bypass or call.key is not None:
            return await self._past_the_cache(checked)
        runs: list[RunId] = []

        async def compute() -> bytes:
            run, data = await self._runs.result(checked)
            runs.append(run)
            return data

        asked = self._cache.asked(
            checked.tool, policy, caller.tenant, checked.new.arguments, max_age=call.max_age, due=checked.due
        )
        kept = await self._cache.result(asked, compute)
        try:
            result = checked.tool.result.read(kept.data)
        except Misfit:  # it was kept by other code of the same version
            await self._cache.forget(asked)
            return await self._past_the_cache(checked)
        return Outcome(result, runs[0] if runs else None, kept.use, self._cache.age(kept))

    async def run_many(
        self, calls: Sequence[Call[Any]], *, caller: Caller, limit: int = 8
    ) -> tuple[Outcome[Any] | ToolsError, ...]:
        """Run several tools, at most *limit* at once; gives a result or an error for each, in the order asked.

        Raises:
            ValueError: *limit* is less than one.
        """
        if limit < 1:
            raise ValueError("limit is at least one call at once")
        room = asyncio.Semaphore(limit)

        async def one(call: Call[Any]) -> Outcome[Any] | ToolsError:
            async with room:
                try:
                    return await self.run(call, caller=caller)
                except ToolsError as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call)) for call in calls]
        return tuple(task.result() for task in tasks)

    async def submit(self, call: Call[Any], *, caller: Caller) -> RunId:
        """Leave a run to whichever worker is free, past the cache, and return its id.

        Raises:
            CallRefused: as in `run`.
        """
        checked = await self._check(call, caller)
        return await self._runs.submit(checked)

    async def result(self, run: RunId, *, caller: Caller, within: timedelta) -> Any:
        """Wait for the end of a run of the caller's tenant, and return its result.

        Raises:
            RunNotFound: the tenant has no such run.
            RunEnded: it ended without a result, or with one that its tool, as it is here, can't read.
            StillRunning: it did not end *within* the time.
            ToolNotFound: its tool is not registered here.
        """
        self._background.check()
        due = asyncio.get_running_loop().time() + within.total_seconds()
        stored = await self._runs.ended(run, caller.tenant, due)
        data = result_of(run, ending_of(stored))
        return _read(self._registry.find(stored.run.tool, stored.run.version), run, data)

    async def find(self, run: RunId, *, caller: Caller) -> Run:
        """Return what is kept of a run of the caller's tenant.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        self._background.check()
        return (await self._runs.find(run, caller.tenant)).run

    async def cancel(self, run: RunId, *, caller: Caller) -> None:
        """Cancel a run of the caller's tenant, wherever it goes on; one that ended stays as it is.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        self._background.check()
        await self._runs.cancel(run, caller.tenant)

    async def invalidate(self, tool: str, *, version: str | None = None) -> None:
        """Void the cached results of a tool, or of one version, of every tenant."""
        self._background.check()
        await self._cache.invalidate(tool, version)

    async def purge(self, *, kept: timedelta) -> int:
        """Delete up to 1,000 runs that ended longer ago than *kept*; returns how many it deleted."""
        self._background.check()
        return await self._store.purge(kept)

    async def _check(self, call: Call[Any], caller: Caller) -> CheckedCall:
        self._background.check()
        named = call.tool
        tool = self._registry.find(*((named,) if isinstance(named, str) else (named.name, named.version)))
        if tool.permission is not None:
            await self._permit(tool.name, tool.permission, caller)
        limit_bytes = self._policy.arguments_limit_bytes
        arguments = canonical_arguments(tool, call.arguments, limit_bytes=limit_bytes)
        patience = checked_terms(tool, call)
        new = NewRun(caller, tool.name, tool.version, arguments, patience, call.key)
        return CheckedCall(tool, new, asyncio.get_running_loop().time() + patience.total_seconds())

    async def _past_the_cache(self, checked: CheckedCall) -> Outcome[Any]:
        run, data = await self._runs.result(checked)
        return Outcome(_read(checked.tool, run, data), run, CacheUse.BYPASSED, timedelta(0))

    async def _permit(self, tool: str, permission: str, caller: Caller) -> None:
        if self._permits is None:
            raise PermissionDenied(tool, permission)
        try:
            async with asyncio.timeout(self._deadline_s):
                allowed = await self._permits.allowed(caller, permission)
        except Exception as error:
            raise StoreUnavailable("who grants permissions") from error
        if not allowed:
            raise PermissionDenied(tool, permission)

    def _connected(self) -> None:
        self._missed.set()
        self._cache.filled.wake_all()
        self._worker.ended.wake_all()
        self._takeover.poke()

    async def _catch_up(self) -> None:
        while True:
            await self._missed.wait()
            self._missed.clear()
            try:
                await self._breakers.refresh(self._registry)
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
                self._missed.set()


def _read(tool: Tool[Any, Any], run: RunId, data: bytes) -> Any:
    try:
        return tool.result.read(data)
    except Misfit:
        raise ResultRefused(run, "it was kept by other code of the same version") from None
