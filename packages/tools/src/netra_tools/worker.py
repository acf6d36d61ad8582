"""The runs that a process holds: begin them, keep their leases, and write how they end."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from netra_tools.attempts import Attempts
from netra_tools.errors import StoreUnavailable
from netra_tools.events import Announcer
from netra_tools.policy import ExecutorPolicy
from netra_tools.run import RunId, RunState
from netra_tools.signals import Signals, Waiters
from netra_tools.store import Claim, Ending, NewRun, RunStore
from netra_tools.tool import Tool

T = TypeVar("T")
CANCEL: Final = b"cancel"
ENDED: Final = b"ended"
CANCELLED: Final = Ending(RunState.CANCELLED, error="Cancelled", message="it was cancelled")
TIMED_OUT: Final = Ending(RunState.TIMED_OUT, error="TimedOut", message="no answer in time")
_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was begun here, and how it ended; None where its lease could not be kept."""

    run: RunId
    ending: Ending | None


class Stop:
    """Ends a run that goes on here, once; with None where another process may have it now."""

    def __init__(self) -> None:
        self.told: asyncio.Future[Ending | None] = asyncio.get_running_loop().create_future()

    @property
    def lost(self) -> bool:
        """Whether another process may have the run."""
        return self.told.done() and self.told.result() is None

    def end(self, ending: Ending | None) -> None:
        """Let the run end so, unless it ends already."""
        if not self.told.done():
            self.told.set_result(ending)


@dataclass(eq=False, slots=True)
class _Held:
    """A run that goes on here, and how long it is held, by this process's clock."""

    claim: Claim
    stop: Stop
    held_until: float


class Worker:
    """Carry runs from claim to end; every task is kept here until it is done."""

    def __init__(
        self,
        store: RunStore,
        attempts: Attempts,
        announcer: Announcer,
        signals: Signals,
        policy: ExecutorPolicy,
    ) -> None:
        self.ended = Waiters()
        self._store = store
        self._attempts = attempts
        self._announcer = announcer
        self._signals = signals
        self._lease_s = policy.lease.total_seconds()
        self._grace_s = policy.grace.total_seconds()
        self._closing = False
        self._held: dict[RunId, _Held] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._strays: set[asyncio.Task[Any]] = set()
        signals.on(CANCEL, self._cancel_told)
        signals.on(ENDED, self.ended.wake)

    def begin(self, new: NewRun, tool: Tool[Any, Any], stop: Stop) -> "asyncio.Task[Begun | None]":
        """Write a run and carry it to its end, in a task of its own; None where its key is another run's."""
        return self.keep(self._begun(new, tool, stop))

    def cancel(self, run: RunId) -> None:
        """Cancel a run if it is held here."""
        if run in self._held:
            self._held[run].stop.end(CANCELLED)

    async def close(self) -> None:
        """Cancel what goes on, and wait until it is written down."""
        self._closing = True
        for held in list(self._held.values()):
            held.stop.end(CANCELLED)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        for stray in set(self._strays):
            stray.cancel()
        if self._strays:
            await asyncio.wait(set(self._strays), timeout=self._grace_s)

    async def keep_leases(self) -> None:
        """Renew the leases of held runs, for ever."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            claims = [held.claim for held in self._held.values() if not held.stop.lost]
            if not claims:
                continue
            asked = asyncio.get_running_loop().time()
            try:
                kept = await self._store.renew(claims)
            except StoreUnavailable:
                continue  # each run watches its own lease
            for claim in claims:
                held = self._held.get(claim.id)
                if held is not None and held.claim is claim:
                    self._judge(held, kept, asked)

    async def carry(self, claim: Claim, tool: Tool[Any, Any], stop: Stop, asked: float) -> Ending | None:
        """Call the tool for a running run, and write how it ended; its lease was *asked* for then."""
        held = _Held(claim, stop, asked + self._lease_s)
        self._held[claim.id] = held
        if self._closing:
            stop.end(CANCELLED)
        try:
            await self._announcer.executing(claim)
            ending = await self._called(held, tool)
            return None if ending is None else await self.write(claim, ending, until=held.held_until)
        finally:
            if self._held.get(claim.id) is held:  # it may be held here anew
                del self._held[claim.id]

    async def write(self, claim: Claim, ending: Ending, *, until: float) -> Ending | None:
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
        self._told(claim)
        await self._announcer.completed(claim, ending)
        return ending

    def keep(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do *work* in a task that `close` waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def _begun(self, new: NewRun, tool: Tool[Any, Any], stop: Stop) -> Begun | None:
        asked = asyncio.get_running_loop().time()
        claim = await self._store.begin(new)
        return None if claim is None else Begun(claim.id, await self.carry(claim, tool, stop, asked))

    async def _called(self, held: _Held, tool: Tool[Any, Any]) -> Ending | None:
        """Call the tool; a tool that does not stop when it is told to is waited for no longer than `grace`."""
        told = held.stop.told
        if told.done():
            return told.result()
        calling = asyncio.create_task(self._attempts.make(tool, held.claim), name=f"tool {tool.name}")
        await self._watched(held, calling)
        if not calling.done():
            calling.cancel()
            await asyncio.wait({calling}, timeout=self._grace_s)
            if not calling.done():
                self._strays.add(calling)
                calling.add_done_callback(self._strays.discard)
            return told.result()
        if calling.cancelled():
            return Ending(RunState.FAILED, error="CancelledError", message="it gave up by itself")
        return calling.result()

    async def _watched(self, held: _Held, calling: "asyncio.Task[Ending]") -> None:
        """Wait for the tool, until it is to stop: in time before another may take the run up, for one."""
        loop = asyncio.get_running_loop()
        due = loop.time() + held.claim.left.total_seconds()
        either: set[asyncio.Future[Any]] = {calling, held.stop.told}
        margin_s = min(self._grace_s, self._lease_s / 3)
        while not any(one.done() for one in either):
            lapses = held.held_until - margin_s
            if (now := loop.time()) >= due:
                held.stop.end(TIMED_OUT)
            elif now >= lapses:
                held.stop.end(None)
            else:
                left = min(due, lapses) - now
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _told(self, claim: Claim) -> None:
        """Wake who waits for the end of a run, elsewhere too if anybody may."""
        name = str(claim.id).encode()
        self.ended.wake(name)
        if claim.awaited:
            self.keep(self._signals.send(ENDED, name))

    def _judge(self, held: _Held, kept: dict[RunId, bool], asked: float) -> None:
        if held.claim.id not in kept:
            held.stop.end(None)
            return
        held.held_until = asked + self._lease_s
        if kept[held.claim.id]:
            held.stop.end(CANCELLED)

    def _cancel_told(self, about: bytes) -> None:
        for run in [run for run in self._held if str(run).encode() == about]:
            self.cancel(run)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who waits for it hears of it; a run that was taken up is taken up again
