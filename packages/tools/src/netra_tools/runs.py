"""Runs as rows: begun here or left to others, found by their keys, waited for wherever they end."""

import asyncio

from netra_tools.breaker import Breakers
from netra_tools.call import CheckedCall, ending_of, result_of
from netra_tools.errors import CircuitOpen, KeyReused, RunNotFound, StillRunning, StoreUnavailable
from netra_tools.policy import ExecutorPolicy
from netra_tools.run import RunId, TenantId
from netra_tools.signals import Signals, woken
from netra_tools.store import NewRun, RunStore, Stored
from netra_tools.takeover import WAITING, Takeover
from netra_tools.worker import CANCEL, CANCELLED, Begun, Stop, Worker


class Runs:
    """What a process begins and asks of runs."""

    def __init__(
        self, store: RunStore, worker: Worker, takeover: Takeover, breakers: Breakers, signals: Signals,
        policy: ExecutorPolicy,
    ) -> None:  # fmt: skip
        self._store = store
        self._worker = worker
        self._takeover = takeover
        self._breakers = breakers
        self._signals = signals
        self._poll_s = policy.poll_every.total_seconds()

    async def result(self, checked: CheckedCall) -> tuple[RunId, bytes]:
        """Run a tool as a row, or wait for the run that the key belongs to; gives its result.

        Raises:
            CircuitOpen: the tool rests.
            KeyReused: the key belongs to a call with other arguments.
            RunEnded: it ended without a result.
            StillRunning: the run of the key did not end in time.
        """
        breaker = self._breakers.of(checked.tool)
        if breaker is not None:
            breaker.check()
        begun = await self._begun(checked)
        if begun is None:
            stored = await self._of_key(checked.new)
            if not stored.run.state.ended:
                stored = await self.ended(stored.run.id, checked.new.caller.tenant, checked.due)
            return stored.run.id, result_of(stored.run.id, ending_of(stored))
        if begun.ending is None:
            raise StoreUnavailable("PostgreSQL")  # its lease could not be kept
        if breaker is not None and begun.ending.error == CircuitOpen.__name__:
            breaker.check()
        return begun.run, result_of(begun.run, begun.ending)

    async def submit(self, checked: CheckedCall) -> RunId:
        """Leave a run to whichever worker is free.

        Raises:
            KeyReused: the key belongs to a call with other arguments.
        """
        claim = await self._store.add(checked.new)
        if claim is None:
            return (await self._of_key(checked.new)).run.id
        self._takeover.poke()
        await self._signals.send(WAITING, b"")
        return claim.id

    async def ended(self, run: RunId, tenant: TenantId, due: float) -> Stored:
        """Wait until a run ended, announced or found by looking again.

        Args:
            due: by the loop's clock.

        Raises:
            RunNotFound: the tenant has no such run.
            StillRunning: it is *due*, and did not end.
        """
        loop = asyncio.get_running_loop()
        while True:
            with self._worker.ended.waiting(str(run).encode()) as ended:
                stored = await self.find(run, tenant)
                if stored.run.state.ended:
                    return stored
                left = due - loop.time()
                if left <= 0:
                    raise StillRunning(run)
                await woken(ended, min(left, self._poll_s))

    async def find(self, run: RunId, tenant: TenantId) -> Stored:
        """Return what is kept of a run.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        stored = await self._store.find(run, tenant)
        if stored is None:
            raise RunNotFound
        return stored

    async def cancel(self, run: RunId, tenant: TenantId) -> None:
        """Cancel a run, wherever it goes on; one that ended stays as it is.

        Raises:
            RunNotFound: the tenant has no such run.
        """
        if not await self._store.request_cancel(run, tenant):
            await self.find(run, tenant)
            return
        self._worker.cancel(run)
        self._takeover.poke()
        await self._signals.send(CANCEL, str(run).encode())

    async def _begun(self, checked: CheckedCall) -> Begun | None:
        """Begin a run and carry it to its end; where the caller leaves, the run is cancelled first."""
        stop = Stop()
        going = self._worker.begin(checked.new, checked.tool, stop)
        try:
            return await asyncio.shield(going)
        except asyncio.CancelledError:
            stop.end(CANCELLED)
            await asyncio.wait({going})
            raise

    async def _of_key(self, new: NewRun) -> Stored:
        assert new.key is not None, "only a key meets another run"
        stored = await self._store.find_key(new.caller.tenant, new.tool, new.key)
        if stored is None:
            raise StoreUnavailable("PostgreSQL")  # it was purged meanwhile
        if stored.arguments != new.arguments:
            raise KeyReused(stored.run.id)
        return stored
