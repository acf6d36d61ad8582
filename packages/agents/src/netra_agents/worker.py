"""Carry runs: the class that a worker process holds. More of them share the work through PostgreSQL."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from pydantic_core import from_json
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents.agent import Tools
from netra_agents.background import Background
from netra_agents.carrying import CANCELLED, Carrying
from netra_agents.claims import Claim, Claims
from netra_agents.engine import DbosEngine, Engine
from netra_agents.errors import StoreUnavailable
from netra_agents.events import EventSink
from netra_agents.journal import Journal
from netra_agents.notices import Notices
from netra_agents.outbox import Outbox
from netra_agents.plan import Plan
from netra_agents.policy import AgentsPolicy
from netra_agents.run import RunId, check_name
from netra_agents.screen import Screen
from netra_agents.turn import StepRecord
from netra_agents.view import View

_AGAIN_S: Final = 0.1
_log: Final = logging.getLogger(__name__)


class Worker:
    """Carry the runs of *plans* for one installation, named by its *namespace*, while the block is entered.

    One a process: the durable engine below is. The engine and the client stay the caller's. Runs that still go on
    when the block is left get `grace` to end, and are then left to other workers.

    Raises:
        ValueError: the namespace can't be used, or two plans have one name and version.
    """

    def __init__(
        self,
        *,
        plans: Iterable[Plan[Any, Any]],
        engine: AsyncEngine,
        redis: Redis,
        namespace: str,
        sink: EventSink | None = None,
        tools: Tools | None = None,
        policy: AgentsPolicy | None = None,
        durable: Engine | None = None,
    ) -> None:
        self._policy = policy = policy or AgentsPolicy()
        self._plans = {plan.key: plan for plan in plans}
        if len({(plan.name, plan.version) for plan in self._plans.values()}) < len(self._plans):
            raise ValueError("two plans have one name and version; give the changed one another version")
        namespace = check_name(namespace)
        self.id = uuid4()
        self._tools = tools
        self._claims = Claims(
            engine, namespace, self.id, list(self._plans), deadline=policy.deadline, lapse=policy.lapse,
            most_attempts=policy.most_attempts,
        )  # fmt: skip
        self._durable = durable or DbosEngine(engine.url, self.id, deadline=policy.deadline)
        self._notices = Notices(engine, namespace, deadline=policy.deadline)
        self._outbox = Outbox(sink, self._claims, deadline=policy.deadline)
        self._view = View(redis, namespace, deadline=policy.deadline)
        self._screen = Screen(self._view)
        self._background = Background()
        self._carried: dict[RunId, Carrying] = {}
        self._tasks: dict[RunId, asyncio.Task[None]] = {}
        self._poked = asyncio.Event()
        self._beating = asyncio.Lock()
        self._closing = False
        self._unknown: set[RunId] = set()

    async def __aenter__(self) -> Self:
        await self._durable.open(self._work)
        try:
            await self._claims.beat()
        except BaseException:
            await self._durable.close()
            raise
        self._background.keep(self._notices.listen(self._told))
        self._background.keep(self._outbox.acknowledge())
        self._background.keep(self._screen.draw())
        self._background.keep(self._live())
        self._background.keep(self._tend())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        try:
            await self._leave()
        finally:
            await self._background.close()
            await self._durable.close()

    async def failed(self) -> None:
        """Wait until the worker can't go on, and raise why.

        Raises:
            RuntimeError: with the reason as its cause.
        """
        await self._background.broken()

    async def purge(self, *, kept: timedelta) -> int:
        """Delete up to 1,000 runs that ended longer ago than *kept*; returns how many it deleted."""
        runs = await self._claims.old(kept=kept)
        if not runs:
            return 0
        await self._durable.forget(runs)
        await self._view.drop(runs)
        return await self._claims.purge(runs)

    async def _leave(self) -> None:
        grace = self._policy.grace.total_seconds()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for run in list(self._carried):
            self._durable.drop(run)
        if self._tasks:
            dropping = max(grace, self._policy.deadline.total_seconds())
            await asyncio.wait(list(self._tasks.values()), timeout=dropping)
        for task in self._tasks.values():
            task.cancel()  # its agent won't be stopped
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        async with self._beating:  # one that is cut off may come after the farewell, as a life sign of nobody
            await self._background.close()
        await self._outbox.drain(min(grace, self._policy.deadline.total_seconds()))
        await self._screen.finish()
        with suppress(StoreUnavailable):  # it lapses
            await self._claims.leave()

    async def _live(self) -> None:
        """Tell that this worker lives, for ever; nothing else that it does holds this up."""
        beat_s, loop = self._policy.beat_every.total_seconds(), asyncio.get_running_loop()
        while True:
            due = loop.time() + beat_s
            try:
                await self._beat()
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
            await asyncio.sleep(due - loop.time())

    async def _tend(self) -> None:
        """Look after the runs of others, and take up what waits, for ever."""
        beat_s, loop = self._policy.beat_every.total_seconds(), asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                if loop.time() >= due:
                    due = loop.time() + beat_s
                    await self._recover()
                await self._take()
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
            try:
                async with asyncio.timeout_at(due):
                    await self._poked.wait()
            except TimeoutError:
                pass
            self._poked.clear()

    async def _beat(self) -> None:
        carried = list(self._carried.items())  # the answer may be older than what is taken up meanwhile
        async with self._beating:
            held = await self._claims.beat()
        for run, carrying in carried:
            if self._carried.get(run) is not carrying:
                continue
            if run not in held and not carrying.journal.ending:
                self._lose(carrying)
            elif held.get(run):
                self._cancel(run)
        before, self._unknown = self._unknown, held.keys() - self._tasks.keys()
        if forgotten := list(
            before & self._unknown
        ):  # the answer to a claim got lost, or the run could not be left
            self._begin(await self._claims.mine(forgotten), before=True)

    async def _recover(self) -> None:
        for run, what, view in await self._claims.recover():
            if view is not None:
                self._screen.show(run, view)
            if what in ("changed", "untold"):
                self._outbox.put(run, await self._claims.untold(run))
                self._outbox.close_line(run)

    async def _take(self) -> None:
        room = self._policy.carried_at_once - len(self._tasks)
        if room > 0 and not self._closing:
            self._begin(await self._claims.claim(room=room))

    def _begin(self, claims: Sequence[Claim], *, before: bool = False) -> None:
        """Carry runs, unless this worker is about to leave; *before* where they may have been begun here."""
        for claim in claims:
            if claim.id not in self._tasks and not self._closing:
                self._screen.show(claim.id, claim.view)
                carry = self._carry(claim, before=before or claim.claims > 1)
                self._tasks[claim.id] = asyncio.create_task(carry, name=f"run {claim.id}")

    async def _carry(self, claim: Claim, *, before: bool) -> None:
        """Carry one run, and leave it to others where it did not end here."""
        try:
            carrying = await self._prepared(claim, before=before)
            writing = asyncio.create_task(carrying.journal.write())
            writing.add_done_callback(lambda _: self._durable.drop(claim.id))  # no work without a record
            try:
                await self._durable.carry(claim.id, before=before)
                if carrying.cancelled and not carrying.lost:
                    await carrying.end(CANCELLED)
            finally:
                writing.cancel()
                [failure] = await asyncio.gather(writing, return_exceptions=True)
                del self._carried[claim.id]
            if isinstance(failure, Exception):
                raise failure
            if not carrying.journal.over:
                await self._let_go(claim.id)
        except Exception as error:
            _log.warning(
                "a run could not be carried", extra={"run": str(claim.id), "error": type(error).__name__}
            )
            await self._let_go(claim.id)
        finally:
            del self._tasks[claim.id]
            self._outbox.close_line(claim.id)
            self._poked.set()

    async def _prepared(self, claim: Claim, *, before: bool) -> Carrying:
        def lost() -> None:
            self._lose(carrying)

        journal = Journal(
            claim, self._claims, self._outbox, self._screen, linger=self._policy.linger, lost=lost
        )
        done: list[StepRecord] = []
        if before:
            self._outbox.put(claim.id, await self._claims.untold(claim.id))
            done = [_record(row) for row in await self._claims.done(claim.id)]
        carrying = Carrying(
            claim, self._plans[claim.plan_key], journal, done, self._tools,
            limit_bytes=self._policy.result_limit_bytes,
        )  # fmt: skip
        self._carried[claim.id] = carrying
        return carrying

    async def _work(self, run: RunId) -> None:
        carrying = self._carried.get(run)
        if carrying is None or carrying.lost:
            raise asyncio.CancelledError
        await carrying.go(self._durable.once)

    async def _let_go(self, run: RunId) -> None:
        with suppress(StoreUnavailable):  # the next beat finds that it is held, and that nobody carries it
            await self._claims.let_go([run], counted=not self._closing)

    def _lose(self, carrying: Carrying) -> None:
        carrying.lost = carrying.journal.over = True
        self._durable.drop(carrying.claim.id)

    def _cancel(self, run: RunId) -> None:
        carrying = self._carried.get(run)
        if carrying is not None and not carrying.cancelled and not carrying.journal.ending:
            carrying.cancelled = True
            self._durable.drop(run)

    def _told(self, kind: str, run: str) -> None:
        if kind == "new":
            self._poked.set()
        elif kind == "cancel":
            for carried in [one for one in self._carried if str(one) == run]:
                self._cancel(carried)


def _record(row: dict[str, Any]) -> StepRecord:
    result = None if row["result"] is None else from_json(row["result"])
    return StepRecord.model_validate(row | {"result": result})
