"""What makes a run durable: DBOS, behind a `Protocol`. No other module knows it.

DBOS is one a process, and keeps what each act of a run gave in a schema of its own, so that who goes on with the run
is given it instead of acting again. Who goes on owns the run: what the one before still does is not recorded.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from sqlalchemy import URL

from netra_agents.errors import EngineUnavailable
from netra_agents.run import RunId

if TYPE_CHECKING:
    from dbos import DBOS, DBOSConfig

SCHEMA: Final = "agents_engine"
Work = Callable[[RunId], Awaitable[None]]
_POLL_S: Final = 0.2
_GRACE_S: Final = 5.0
_NAME: Final = "netra-agents"
_log: Final = logging.getLogger(__name__)
# With a handler there, DBOS adds none of its own: what it logs goes where all of the process does, and not to what
# standard error was when the first worker opened.
logging.getLogger("dbos").addHandler(logging.NullHandler())


class Engine(Protocol):
    """Carries runs, so that what was done of them is not done again."""

    async def open(self, work: Work) -> None:
        """Begin; *work* is called for each run that is carried here.

        Raises:
            EngineUnavailable: it can't carry runs in this process.
        """

    async def close(self) -> None:
        """End; runs that go on are dropped."""

    async def carry(self, run: RunId, *, before: bool) -> None:
        """Do the work of a run, and return once it is done or dropped; *before* where it may have been begun."""

    def drop(self, run: RunId) -> None:
        """Stop the work of a run here; another may go on with it."""

    async def once(self, name: str, act: Callable[[], Awaitable[str]]) -> str:
        """Within the work of a run: act, or give what the act of this place in the run gave before."""

    async def forget(self, runs: Sequence[RunId]) -> None:
        """Remove what is kept of runs that ended."""


class DbosEngine:
    """Runs as workflows of DBOS, one step of it an act.

    Args:
        url: the database that `netra_agents.migrations.migrate` prepared, as SQLAlchemy has it.
        executor: who carries; drawn anew for each process.
        deadline: what connecting may take, and what the network may leave unanswered.
        connections: how many acts can be recorded at once.
    """

    _here: "DbosEngine | None" = None
    _dbos: "type[DBOS]"

    def __init__(
        self, url: URL, executor: UUID, *, deadline: timedelta = timedelta(seconds=2), connections: int = 8
    ) -> None:
        self._url = _synchronous(url)
        self._executor = str(executor)
        self._deadline = deadline
        self._connections = connections
        self._queue = f"{_NAME}-{executor}"
        self._work: Work | None = None
        self._begun: dict[RunId, asyncio.Future[asyncio.Task[Any] | None]] = {}

    async def open(self, work: Work) -> None:
        if DbosEngine._here is not None:
            raise EngineUnavailable("this process carries runs already; start another process")
        from dbos import DBOS  # heavy, and nothing that those who only ask for runs need

        DbosEngine._here = self
        self._dbos, self._work = DBOS, work
        try:
            DBOS(config=self._config())
            self._workflow = DBOS.workflow(name="run")(_carried)
            DBOS.listen_queues([self._queue])
            DBOS.launch()  # in this thread: it takes up the loop that it finds running
            await DBOS.register_queue_async(self._queue, polling_interval_sec=_POLL_S)
        except Exception as error:
            await self.close()
            raise EngineUnavailable(
                "the engine's tables are missing, old or out of reach; run netra_agents.migrations.migrate"
            ) from error

    async def close(self) -> None:
        if DbosEngine._here is not self:
            return
        begun = [future.result() for future in self._begun.values() if future.done()]
        tasks = [task for task in begun if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE_S)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as apart:  # its threads may need this loop to end
            with suppress(Exception):
                await loop.run_in_executor(apart, self._dbos.delete_queue, self._queue)
            await loop.run_in_executor(apart, partial(self._dbos.destroy, destroy_registry=True))
        loop.set_default_executor(ThreadPoolExecutor())  # DBOS left the loop its own, which is closed
        DbosEngine._here = None

    async def carry(self, run: RunId, *, before: bool) -> None:
        from dbos import SetWorkflowID

        began = self._begun[run] = asyncio.get_running_loop().create_future()
        try:
            if before and await self._dbos.get_workflow_status_async(str(run)) is not None:
                await self._dbos.resume_workflow_async(str(run), queue_name=self._queue)
            else:
                with SetWorkflowID(str(run)):
                    await self._dbos.start_workflow_async(self._workflow, str(run))
            task = await began
            if task is not None:
                await asyncio.wait({task})
        finally:
            del self._begun[run]

    def drop(self, run: RunId) -> None:
        began = self._begun.get(run)
        if began is None:
            return
        if not began.done():
            began.set_result(None)
        elif (task := began.result()) is not None:
            task.cancel()

    async def once(self, name: str, act: Callable[[], Awaitable[str]]) -> str:
        async def step() -> str:
            return await act()

        return await self._dbos.run_step_async({"name": name}, step)

    async def forget(self, runs: Sequence[RunId]) -> None:
        await self._dbos.delete_workflows_async([str(run) for run in runs])

    async def _do(self, run: RunId) -> None:
        """Do the work in DBOS's own task, whose end is also that of what it records."""
        began, task = self._begun.get(run), asyncio.current_task()
        if began is None or began.done() or task is None or self._work is None:
            raise asyncio.CancelledError  # it was dropped before it began
        began.set_result(task)
        try:
            await self._work(run)
        except Exception as error:  # recorded, it would end the run for good
            _log.warning("the work of a run failed", exc_info=error)
            raise asyncio.CancelledError from error

    def _config(self) -> "DBOSConfig":
        from dbos import DBOSPortableJSONSerializer

        seconds = max(1, round(self._deadline.total_seconds()))
        return {
            "name": _NAME,
            "system_database_url": self._url.render_as_string(hide_password=False),
            "dbos_system_schema": SCHEMA,
            "executor_id": self._executor,
            "application_version": "1",  # whether a worker knows a run's plan is judged when it is claimed
            "run_migrations": False,
            "enable_otlp": False,
            "log_level": "ERROR",
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.1,  # how late its thread finds that it is to end
            "serializer": DBOSPortableJSONSerializer(),
            "sys_db_pool_size": self._connections,
            "db_engine_kwargs": {
                "pool_pre_ping": True,
                "connect_args": {
                    "connect_timeout": seconds,
                    "tcp_user_timeout": seconds * 1000,
                    "keepalives_idle": seconds,
                    "keepalives_interval": seconds,
                    "keepalives_count": 2,
                },
            },
        }


async def migrate_engine(url: URL) -> None:
    """Bring the engine's tables to the version that it needs; safe to call again, and by many at once."""
    from dbos import DBOS

    address = _synchronous(url).render_as_string(hide_password=False)
    await asyncio.get_running_loop().run_in_executor(None, lambda: DBOS.migrate(address, schema=SCHEMA))


async def _carried(run: str) -> None:
    """Do the work of a run; DBOS knows it by name."""
    engine = DbosEngine._here
    if engine is None:
        raise asyncio.CancelledError
    await engine._do(RunId(UUID(run)))


def _synchronous(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")
