"""Runs that nobody holds: submitted ones, and those whose worker died."""

import asyncio
from datetime import timedelta
from typing import Any, Final

from netra_tools.errors import StoreUnavailable, ToolNotFound
from netra_tools.policy import ExecutorPolicy
from netra_tools.registry import ToolRegistry
from netra_tools.run import RunState
from netra_tools.signals import Signals
from netra_tools.store import Claim, Ending, RunStore
from netra_tools.tool import WhenLost
from netra_tools.worker import CANCELLED, TIMED_OUT, Stop, Worker

WAITING: Final = b"waiting"
_LOST: Final = Ending(RunState.FAILED, error="WorkerLost", message="its worker was lost while the tool ran")
_AGAIN_S: Final = 0.1


class Takeover:
    """Find runs whose lease is over, and hand them to the worker of this process."""

    def __init__(
        self,
        store: RunStore,
        registry: ToolRegistry,
        worker: Worker,
        signals: Signals,
        policy: ExecutorPolicy,
    ) -> None:
        self._store = store
        self._registry = registry
        self._worker = worker
        self._policy = policy
        self._taken: set[asyncio.Task[Any]] = set()
        self._poked = asyncio.Event()
        self._closing = False
        signals.on(WAITING, lambda _: self._poked.set())

    def poke(self) -> None:
        """Look at once for runs that nobody holds."""
        self._poked.set()

    def close(self) -> None:
        """Take up no more: what waits stays for others."""
        self._closing = True

    async def go_on(self) -> None:
        """Take up runs, for ever."""
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
        while (room := self._policy.taken_at_once - len(self._taken)) > 0 and not self._closing:
            tools = [(tool.name, tool.version) for tool in self._registry]
            claims = await self._store.take(tools, most=room)
            for claim in claims:
                task = self._worker.keep(self._resume(claim))
                self._taken.add(task)
                task.add_done_callback(self._done)
            if len(claims) < room:
                return

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._taken.discard(task)
        self._poked.set()  # there is room again

    async def _resume(self, claim: Claim) -> None:
        asked = asyncio.get_running_loop().time()
        ending = self._ending(claim)
        cancelled = await self._store.start(claim)
        if cancelled is None:
            return
        if ending is not None:
            await self._worker.write(claim, ending, until=asked + self._policy.lease.total_seconds())
            return
        stop = Stop()
        if cancelled:
            stop.end(CANCELLED)
        await self._worker.carry(claim, self._registry.find(claim.tool, claim.version), stop, asked)

    def _ending(self, claim: Claim) -> Ending | None:
        """Tell how a run ends whose tool is not to be called, or not again."""
        try:
            tool = self._registry.find(claim.tool, claim.version)
        except ToolNotFound:
            return TIMED_OUT  # only claimed because its time is over
        if claim.cancel_requested:
            return CANCELLED
        if claim.left <= timedelta(0):
            return TIMED_OUT
        repeatable = tool.when_lost is WhenLost.REPEAT and claim.claims < self._policy.most_claims
        return _LOST if claim.state is RunState.RUNNING and not repeatable else None
