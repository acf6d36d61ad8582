"""The runs in PostgreSQL, as those who carry them see them: beats, claims, notes and ends."""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import JsonValue
from pydantic_core import from_json
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents.course import Ending
from netra_agents.database import Database, Statement
from netra_agents.events import Event
from netra_agents.payload import DEEPEST, canonical
from netra_agents.run import Caller, RunId, TenantId, Tier, UserId

_ANY: Final = 2**30
_AROUND: Final = 3  # levels around a result, which itself may be as deep as may be
_BEAT = Statement(
    "select run, cancel from agents.beat(:me, :namespace, :host, :pid, :plans, cast(:lapse as interval))"
)
_RECOVER = Statement("select run, what, view from agents.recover(:me, :namespace, :most)")
_COLUMNS: Final = (
    "c.id, c.tenant, c.user_id, c.tier, c.plan, c.version, c.plan_key, c.input::text as input, c.claims,"
    " c.cancel_requested, c.told, c.sent,"
    " extract(epoch from c.due_at - clock_timestamp())::float8 as left_s"
)


def _statement(sql: str) -> Statement:
    """Write out what two statements share."""
    return Statement(sql.replace("@columns", _COLUMNS))


_CLAIM = _statement(
    "select @columns, agents.view_of(cast(row(c.*) as agents.run)) as view"
    " from agents.claim(:me, :namespace, :plans, :most, :room) c"
)
_MINE = _statement(
    "select @columns, agents.view_of(c) as view from agents.run c"
    " where c.executor = :me and c.state = 'running' and c.id = any(cast(cast(:runs as text[]) as uuid[]))"
)
_NOTE = Statement(
    "select told, before, view from agents.note(:run, :me, cast(:steps as json), cast(:events as json),"
    " cast(:ending as json))"
)
_DONE = Statement(
    "select name, state, agent, version, attempts, result::text as result, error, message, started_at, ended_at"
    " from agents.step where run = :run and state in ('completed', 'failed')"
)
_UNTOLD = Statement(
    "select e.number, e.event_id, e.kind, e.data::text as data, r.user_id from agents.event e"
    " join agents.run r on r.id = e.run where e.run = :run and e.number > r.sent order by e.number"
)
_SENT = Statement(
    "update agents.run r set sent = greatest(r.sent, s.number) from"
    " unnest(cast(cast(:runs as text[]) as uuid[]), cast(cast(:numbers as text[]) as integer[])) as s(id, number)"
    " where r.id = s.id"
)
_LET_GO = Statement(
    "update agents.run set executor = null, attempts = attempts - :counted"
    " where id = any(cast(cast(:runs as text[]) as uuid[]))"
    " and executor = :me and state = 'running' returning pg_notify('agents', namespace || ' new ' || id)"
)
_GONE = Statement(
    "with freed as (update agents.run set executor = null, attempts = attempts - 1 where executor = :me"
    " and state = 'running' returning pg_notify('agents', namespace || ' new ' || id)),"
    " gone as (delete from agents.executor where id = :me returning 1)"
    " select (select count(*) from freed), (select count(*) from gone)"
)
_OLD = Statement(
    "select id from agents.run where namespace = :namespace and ended_at < clock_timestamp() - cast(:kept as interval)"
    " and sent >= told order by ended_at limit 1000"
)
_PURGE = Statement(
    "delete from agents.run where id = any(cast(cast(:runs as text[]) as uuid[])) and ended_at is not null"
    " returning id"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker carries."""

    id: RunId
    caller: Caller
    plan: str
    version: str
    plan_key: str
    input: JsonValue
    claims: int
    cancel_requested: bool
    left: timedelta
    told: int
    sent: int
    view: str


@dataclass(frozen=True, slots=True)
class Untold:
    """An event that the sink has not taken yet; `number` is its place among the events of its run."""

    number: int
    user: str
    event: Event


@dataclass(frozen=True, slots=True)
class Noted:
    """What a note made: how many events there are now, how many there were, and what screens show."""

    told: int
    before: int
    view: str


class Claims:
    """What one worker holds; any call may raise `StoreUnavailable`."""

    def __init__(
        self, engine: AsyncEngine, namespace: str, me: UUID, plans: Sequence[str], *,
        deadline: timedelta, lapse: timedelta, most_attempts: int,
    ) -> None:  # fmt: skip
        self._database = Database(engine, deadline=deadline)
        self._namespace = namespace
        self._me = me
        self._plans = list(plans)
        self._lapse = lapse
        self._most = most_attempts

    async def beat(self) -> dict[RunId, bool]:
        """Tell that this worker lives; gives the runs that it holds, and whether each is to be cancelled."""
        rows = await self._database.execute(
            _BEAT, me=self._me, namespace=self._namespace, host=socket.gethostname(), pid=os.getpid(),
            plans=self._plans, lapse=self._lapse,
        )  # fmt: skip
        return {RunId(row["run"]): row["cancel"] for row in rows}

    async def recover(self) -> list[tuple[RunId, str, str | None]]:
        """Set the runs of dead workers adrift, or aside; gives what changed: a run, what, and its view."""
        rows = await self._database.execute(_RECOVER, me=self._me, namespace=self._namespace, most=self._most)
        return [(RunId(row["run"]), row["what"], row["view"]) for row in rows]

    async def claim(self, *, room: int) -> list[Claim]:
        """Take up to *room* runs."""
        rows = await self._database.execute(
            _CLAIM, me=self._me, namespace=self._namespace, plans=self._plans, most=self._most, room=room
        )
        return [_claim(row) for row in rows]

    async def mine(self, runs: Sequence[RunId]) -> list[Claim]:
        """Read runs that this worker holds, though it never heard of its claim."""
        return [_claim(row) for row in await self._database.execute(_MINE, me=self._me, runs=_texts(runs))]

    async def note(
        self,
        run: RunId,
        steps: Sequence[dict[str, JsonValue]],
        events: Sequence[Event],
        ending: Ending | None,
    ) -> Noted | None:
        """Write what steps came to, what is told, and how the run ended; None where it is another's now."""
        end = None if ending is None else {
            "state": ending.state.value, "partial": ending.partial, "result": ending.result,
            "error": ending.error, "message": ending.message,
        }  # fmt: skip
        rows = await self._database.execute(
            _NOTE, run=run, me=self._me, steps=_written(list(steps)),
            events=_written([event.model_dump() for event in events]),
            ending=None if end is None else _written(end),
        )  # fmt: skip
        return Noted(rows[0]["told"], rows[0]["before"], rows[0]["view"]) if rows else None

    async def done(self, run: RunId) -> list[dict[str, Any]]:
        """Return the steps of a run that were taken before."""
        return [dict(row) for row in await self._database.execute(_DONE, run=run)]

    async def untold(self, run: RunId) -> list[Untold]:
        """Return the events of a run that the sink has not taken, in order."""
        rows = await self._database.execute(_UNTOLD, run=run)
        return [
            Untold(
                row["number"], row["user_id"],
                Event(id=row["event_id"], kind=row["kind"], data=from_json(row["data"])),
            )
            for row in rows
        ]  # fmt: skip

    async def sent(self, numbers: dict[RunId, int]) -> None:
        """Write up to which event the sink took those of each run."""
        await self._database.execute(_SENT, runs=_texts(numbers), numbers=_texts(numbers.values()))

    async def let_go(self, runs: Sequence[RunId], *, counted: bool) -> None:
        """Leave runs to any worker; *counted* where this attempt was the run's own fault."""
        await self._database.execute(_LET_GO, runs=_texts(runs), me=self._me, counted=0 if counted else 1)

    async def leave(self) -> None:
        """Tell that this worker is gone, and leave what it still holds to any other."""
        await self._database.execute(_GONE, me=self._me)

    async def old(self, *, kept: timedelta) -> list[RunId]:
        """Return up to 1,000 runs that ended longer ago, and whose events were all taken."""
        rows = await self._database.execute(_OLD, namespace=self._namespace, kept=kept)
        return [RunId(row["id"]) for row in rows]

    async def purge(self, runs: Sequence[RunId]) -> int:
        """Delete runs; returns how many it deleted."""
        return len(await self._database.execute(_PURGE, runs=_texts(runs)))


def _texts(values: Iterable[object]) -> list[str]:
    """Write what a statement casts to an array of its own: for arrays but of texts, asyncpg asks the server first."""
    return [str(value) for value in values]


def _written(value: JsonValue | list[dict[str, Any]]) -> str:
    return canonical(value, limit_bytes=_ANY, deepest=DEEPEST + _AROUND)


def _claim(row: Any) -> Claim:
    caller = Caller(tenant=TenantId(row["tenant"]), user=UserId(row["user_id"]), tier=Tier(row["tier"]))
    return Claim(
        RunId(row["id"]), caller, row["plan"], row["version"], row["plan_key"], from_json(row["input"]),
        row["claims"], row["cancel_requested"], timedelta(seconds=row["left_s"]), row["told"], row["sent"],
        row["view"],
    )  # fmt: skip
