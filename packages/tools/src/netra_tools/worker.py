"""The runs that a process holds: start them, keep their leases, take up those that others left."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from netra_tools.attempts import Attempts
from netra_tools.errors import StoreUnavailable, ToolNotFound
from netra_tools.events import Announcer
from netra_tools.policy import ExecutorPolicy
from netra_tools.registry import ToolRegistry
from netra_tools.run import RunId, RunState
from netra_tools.signals import Signals, Waiters
from netra_tools.store import Claim, Ending, RunStore
from netra_tools.tool import Tool, WhenLost

CANCEL: Final = b"cancel"
ENDED: Final = b"ended"
WAITING: Final = b"waiting"
CANCELLED: Final = Ending(RunState.CANCELLED, error="Cancelled", message="it was cancelled")
_TIMED_OUT: Final = Ending(RunState.TIMED_OUT, error="TimedOut", message="no answer in time")
_LOST: Final = Ending(RunState.FAILED, error="WorkerLost", message="its worker was lost while the tool ran")
_AGAIN_S = 0.1


@dataclass(eq=False)
class _Held:
    """A run that goes on here; what is set in `stop` ends it, None where another process has it now."""

    claim: Claim
    held_until: float
    stop: "asyncio.Future[Ending | None]" = field(default_factory=lambda: asyncio.Future())

    def end(self, ending: Ending | None) -> None:
        if not self.stop.done():
            self.stop.set_result(ending)


class Worker:
    """Carry runs from claim to end; every task is kept here until it is done."""

    def __init__(
        self, store: RunStore, registry: ToolRegistry, attempts: Attempts, announcer: Announcer,
        signals: Signals, policy: ExecutorPolicy,
    ) -> None:  # fmt: skip
        self.ended = Waiters()
        self._store = store
        self._registry = registry
        self._attempts = attempts
        self._announcer = announcer
        self._signals = signals
        self._policy = policy
        self._lease_s = policy.lease.total_seconds()
        self._held: dict[RunId, _Held] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._strays: set[asyncio.Task[Any]] = set()
        self._taken: set[asyncio.Task[Ending | None]] = set()
        self._poked = asyncio.Event()
        signals.on(CANCEL, self._cancel_told)
        signals.on(ENDED, self.ended.wake)
        signals.on(WAITING, lambda _: self._poked.set())

    def begin(self, claim: Claim, tool: Tool[Any, Any]) -> "asyncio.Task[Ending | None]":
        """Carry a run to its end in a task of its own, which gives how it ended; None where it was lost."""
        held = self._hold(claim)
        return self._kept(self._carried(held, tool))

    def cancel(self, run: RunId) -> None:
        """Cancel a run if it is held here."""
        if run in self._held:
            self._held[run].end(CANCELLED)

    def poke(self) -> None:
        """Look at once for runs that nobody holds."""
        self._poked.set()

    async def close(self) -> None:
        """Cancel what goes on, and wait until it is written down."""
        for held in list(self._held.values()):
            held.end(CANCELLED)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        for stray in set(self._strays):
            stray.cancel()
        if self._strays:
            await asyncio.wait(set(self._strays), timeout=self._policy.grace.total_seconds())

    async def keep_leases(self) -> None:
        """Renew the leases of held runs, for ever; a run whose lease can't be kept is ended in time."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            claims = [held.claim for held in self._held.values()]
            if not claims:
                continue
            asked = asyncio.get_running_loop().time()
            try:
                kept = await self._store.renew(claims)
            except StoreUnavailable:
                kept = None
            for claim in claims:
                held = self._held.get(claim.id)
                if held is not None and held.claim is claim:
                    self._judge(held, kept, asked)

    async def take_over(self) -> None:
        """Take up runs whose lease is over, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._policy.poll_every.total_seconds()):
                    await self._poked.wait()
            except TimeoutError:
                pass
            self._poked.clear()
            try:
                await self._take()
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)

    async def _take(self) -> None:
        room = self._policy.taken_at_once - len(self._taken)
        while room > 0:
            tools = [(tool.name, tool.version) for tool in self._registry]
            claims = await self._store.take(tools, most=room)
            for claim in claims:
                task = self._kept(self._resume(claim))
                self._taken.add(task)
                task.add_done_callback(self._taken_done)
            if len(claims) < room:
                return
            room = self._policy.taken_at_once - len(self._taken)

    def _taken_done(self, task: "asyncio.Task[Ending | None]") -> None:
        self._taken.discard(task)
        self._poked.set()  # there is room again

    async def _resume(self, claim: Claim) -> Ending | None:
        try:
            tool = self._registry.find(claim.tool, claim.version)
        except ToolNotFound:
            return await self._end(claim, _TIMED_OUT)  # only claimed because its time is over
        if claim.cancel_requested:
            return await self._end(claim, CANCELLED)
        if claim.left <= timedelta(0):
            return await self._end(claim, _TIMED_OUT)
        repeatable = tool.when_lost is WhenLost.REPEAT and claim.claims < self._policy.most_claims
        if claim.state is RunState.RUNNING and not repeatable:
            return await self._end(claim, _LOST)
        cancelled = await self._store.start(claim)
        if cancelled is None:
            return None
        held = self._hold(claim)
        if cancelled:
            held.end(CANCELLED)
        return await self._carried(held, tool)

    async def _end(self, claim: Claim, ending: Ending) -> Ending | None:
        """End a run without calling its tool."""
        if await self._store.start(claim) is None:
            return None
        return await self._written(claim, ending, asyncio.get_running_loop().time() + self._lease_s)

    def _hold(self, claim: Claim) -> _Held:
        held = self._held[claim.id] = _Held(claim, asyncio.get_running_loop().time() + self._lease_s)
        return held

    async def _carried(self, held: _Held, tool: Tool[Any, Any]) -> Ending | None:
        """Call the tool for a running run, and write how it ended."""
        claim = held.claim
        try:
            await self._announcer.executing(claim)
            ending = await self._called(held, tool)
            return None if ending is None else await self._written(claim, ending, held.held_until)
        finally:
            del self._held[claim.id]

    async def _called(self, held: _Held, tool: Tool[Any, Any]) -> Ending | None:
        """Call the tool; a tool that does not stop when it is told to is waited for no longer than `grace`."""
        if held.stop.done():
            return held.stop.result()
        calling = asyncio.create_task(self._attempts.make(tool, held.claim), name=f"tool {tool.name}")
        left = max(0.0, held.claim.left.total_seconds())
        either: set[asyncio.Future[Any]] = {calling, held.stop}
        await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            calling.cancel()
            await asyncio.wait({calling}, timeout=self._policy.grace.total_seconds())
            if not calling.done():
                self._strays.add(calling)
                calling.add_done_callback(self._strays.discard)
            return held.stop.result() if held.stop.done() else _TIMED_OUT
        if calling.cancelled():
            return Ending(RunState.FAILED, error="CancelledError", message="it gave up by itself")
        return calling.result()

    async def _written(self, claim: Claim, ending: Ending, until: float) -> Ending | None:
        """Write how the run ended, and again while PostgreSQL is away and the lease lasts."""
        while True:
            try:
                if not await self._store.finish(claim, ending):
                    return None
                break
            except StoreUnavailable:
                if asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(_AGAIN_S)
        name = str(claim.id).encode()
        self.ended.wake(name)
        await self._announcer.completed(claim, ending)
        telling = asyncio.create_task(self._signals.send(ENDED, name))
        self._tasks.add(telling)
        telling.add_done_callback(self._tasks.discard)
        return ending

    def _judge(self, held: _Held, kept: dict[RunId, bool] | None, asked: float) -> None:
        if kept is None:
            if asked > held.held_until - self._lease_s / 3:
                held.end(None)  # before another may take it up
        elif held.claim.id not in kept:
            held.end(None)
        else:
            held.held_until = asked + self._lease_s
            if kept[held.claim.id]:
                held.end(CANCELLED)

    def _cancel_told(self, about: bytes) -> None:
        for run in [run for run in self._held if str(run).encode() == about]:
            self.cancel(run)

    def _kept(self, work: Coroutine[Any, Any, Ending | None]) -> "asyncio.Task[Ending | None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Ending | None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who waits for it hears of it; a run that was taken up is taken up again
