"""The runs in PostgreSQL: every SQL statement about them. Leases and deadlines are by PostgreSQL's clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from netra_tools.database import Database, Statement
from netra_tools.run import Caller, Run, RunId, RunState, TenantId

_CLAIM: Final = (
    "r.id, holder, tenant, user_id, work, tool, version, arguments::text, state, claims, cancel_requested,"
    " extract(epoch from due_at - clock_timestamp())::float8 as left_s"
)
_RUN: Final = (
    'id, tenant, user_id as "user", work, tool, version, state, claims, attempts, created_at, due_at, started_at,'
    " ended_at, result::text as result, arguments::text as arguments, error, message"
)


def _statement(sql: str) -> Statement:
    """Write out what several statements share."""
    return Statement(sql.replace("@claim", _CLAIM).replace("@run", _RUN))


_ADD = Statement(
    "insert into tools.run (id, namespace, tenant, user_id, work, tool, version, arguments, idempotency_key,"
    " state, holder, lease_until, due_at) values (:id, :namespace, :tenant, :user, :work, :tool, :version,"
    " cast(:arguments as json), :key, 'pending', :holder, clock_timestamp() + cast(:lease as interval),"
    " clock_timestamp() + cast(:patience as interval)) on conflict (namespace, tenant, tool, idempotency_key)"
    " where idempotency_key is not null do nothing returning id"
)
_BEGIN = Statement(
    "select begin_run as id from tools.begin_run(:id, :namespace, :tenant, :user, :work, :tool, :version,"
    " cast(:arguments as json), :key, :holder, cast(:lease as interval), cast(:patience as interval))"
)
_START = Statement(
    "update tools.run set state = 'running', claims = claims + 1,"
    " started_at = coalesce(started_at, clock_timestamp()),"
    " lease_until = clock_timestamp() + cast(:lease as interval)"
    " where id = :id and holder = :holder and state in ('pending', 'running') returning cancel_requested"
)
_FINISH = Statement(
    "update tools.run set state = :state, result = cast(:result as json), error = :error, message = :message,"
    " attempts = attempts + :attempts, ended_at = clock_timestamp()"
    " where id = :id and holder = :holder and state = 'running' returning id"
)
_RENEW = Statement(
    "update tools.run set lease_until = clock_timestamp() + cast(:lease as interval)"
    " where ended_at is null and (id, holder) in"
    " (select * from unnest(cast(cast(:ids as text[]) as uuid[]), cast(cast(:holders as text[]) as uuid[])))"
    " returning id, cancel_requested"
)
_TAKE = _statement(
    "with lapsed as (select id from tools.run where namespace = :namespace and ended_at is null"
    " and lease_until <= clock_timestamp()"
    " and (tool || '@' || version = any(cast(:tools as text[])) or due_at <= clock_timestamp())"
    " order by lease_until limit :most for update skip locked)"
    " update tools.run as r set holder = gen_random_uuid(),"
    " lease_until = clock_timestamp() + cast(:lease as interval)"
    " from lapsed where r.id = lapsed.id returning @claim"
)
_FIND = _statement(
    "select @run from tools.run where id = :id and tenant = :tenant and namespace = :namespace"
)
_FIND_KEY = _statement(
    "select @run from tools.run where namespace = :namespace and tenant = :tenant and tool = :tool"
    " and idempotency_key = :key"
)
_CANCEL = Statement(
    "update tools.run set cancel_requested = true"
    " where id = :id and tenant = :tenant and namespace = :namespace and ended_at is null returning id"
)
_PURGE = Statement(
    "with doomed as (select id from tools.run where namespace = :namespace"
    " and ended_at < clock_timestamp() - cast(:kept as interval) limit 1000 for update skip locked)"
    " delete from tools.run as r using doomed where r.id = doomed.id returning r.id"
)


class NewRun(NamedTuple):
    """A run about to be written."""

    caller: Caller
    tool: str
    version: str
    arguments: bytes
    patience: timedelta
    key: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is held here, until its lease is over; `awaited` where another process may wait for its end."""

    id: RunId
    holder: UUID
    caller: Caller
    tool: str
    version: str
    arguments: bytes
    state: RunState
    claims: int
    cancel_requested: bool
    left: timedelta
    awaited: bool = True


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    state: RunState
    result: bytes | None = None
    error: str | None = None
    message: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A run as it is kept, with what it was called with."""

    run: Run
    arguments: bytes
    result: bytes | None


class RunStore:
    """The runs of one namespace; a call that PostgreSQL does not answer raises `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine, namespace: str, *, lease: timedelta, deadline: timedelta) -> None:
        self._database = Database(engine, deadline=deadline)
        self._namespace = namespace
        self._lease = lease

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    async def begin(self, new: NewRun) -> Claim | None:
        """Write a run that is held here and running; None where the key is another run's."""
        return await self._add(_BEGIN, new, self._lease, RunState.RUNNING)

    async def add(self, new: NewRun) -> Claim | None:
        """Write a pending run for whoever comes; None where the key is another run's."""
        return await self._add(_ADD, new, timedelta(0), RunState.PENDING)

    async def _add(
        self, statement: Statement, new: NewRun, lease: timedelta, state: RunState
    ) -> Claim | None:
        run, holder, caller = RunId(uuid4()), uuid4(), new.caller
        rows = await self._ask(
            statement, id=run, tenant=caller.tenant, user=caller.user, work=caller.work, tool=new.tool,
            version=new.version, arguments=new.arguments.decode(), key=new.key, holder=holder,
            lease=lease, patience=new.patience,
        )  # fmt: skip
        if not rows:
            return None
        return Claim(
            id=run, holder=holder, caller=caller, tool=new.tool, version=new.version,
            arguments=new.arguments, state=state, claims=1, cancel_requested=False,
            left=new.patience, awaited=new.key is not None or state is RunState.PENDING,
        )  # fmt: skip

    async def start(self, claim: Claim) -> bool | None:
        """Set a claimed run running; tell whether it is to be cancelled, or None where it is another's now."""
        rows = await self._ask(_START, id=claim.id, holder=claim.holder, lease=self._lease)
        return bool(rows[0]["cancel_requested"]) if rows else None

    async def finish(self, claim: Claim, ending: Ending) -> bool:
        """Write how a run ended; False where it is another's now."""
        result = None if ending.result is None else ending.result.decode()
        rows = await self._ask(
            _FINISH, id=claim.id, holder=claim.holder, state=ending.state.value, result=result,
            error=ending.error, message=ending.message, attempts=ending.attempts,
        )  # fmt: skip
        return bool(rows)

    async def renew(self, claims: Sequence[Claim]) -> dict[RunId, bool]:
        """Hold runs for another lease; gives those still held here, and whether they are to be cancelled."""
        # as texts: for other arrays asyncpg asks the server first, on each connection
        ids, holders = [str(claim.id) for claim in claims], [str(claim.holder) for claim in claims]
        rows = await self._ask(_RENEW, ids=ids, holders=holders, lease=self._lease)
        return {RunId(row["id"]): row["cancel_requested"] for row in rows}

    async def take(self, tools: Iterable[tuple[str, str]], *, most: int) -> list[Claim]:
        """Claim runs whose lease is over: of these tools, and of any once their time is over."""
        names = [f"{name}@{version}" for name, version in tools]
        return [_claim(row) for row in await self._ask(_TAKE, tools=names, most=most, lease=self._lease)]

    async def find(self, run: RunId, tenant: TenantId) -> Stored | None:
        """Return a run of the tenant's."""
        rows = await self._ask(_FIND, id=run, tenant=tenant)
        return _stored(rows[0]) if rows else None

    async def find_key(self, tenant: TenantId, tool: str, key: str) -> Stored | None:
        """Return the run that has an idempotency key."""
        rows = await self._ask(_FIND_KEY, tenant=tenant, tool=tool, key=key)
        return _stored(rows[0]) if rows else None

    async def request_cancel(self, run: RunId, tenant: TenantId) -> bool:
        """Ask whoever holds a run to cancel it; False where it ended, or is no run of the tenant's."""
        return bool(await self._ask(_CANCEL, id=run, tenant=tenant))

    async def purge(self, kept: timedelta) -> int:
        """Delete up to 1,000 runs that ended longer ago than *kept*."""
        return len(await self._ask(_PURGE, kept=kept))

    async def _ask(self, statement: Statement, **values: object) -> list[Any]:
        return await self._database.execute(statement, namespace=self._namespace, **values)


def _claim(values: Any) -> Claim:
    return Claim(
        id=RunId(values["id"]), holder=values["holder"],
        caller=Caller(tenant=values["tenant"], user=values["user_id"], work=values["work"]),
        tool=values["tool"], version=values["version"], arguments=values["arguments"].encode(),
        state=RunState(values["state"]), claims=values["claims"],
        cancel_requested=values["cancel_requested"], left=timedelta(seconds=values["left_s"]),
    )  # fmt: skip


def _stored(row: Any) -> Stored:
    values = dict(row)
    arguments, result = values.pop("arguments").encode(), values.pop("result")
    return Stored(Run.model_validate(values), arguments, None if result is None else result.encode())
