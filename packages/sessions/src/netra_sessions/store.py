"""The record in PostgreSQL: every SQL statement of this package."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import Row, TextClause, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from netra_sessions.deadline import due_after
from netra_sessions.errors import StoreUnavailable
from netra_sessions.record import Activity, Page, Record
from netra_sessions.session import Ending, EndReason, SessionId, UserId, from_ms

STORE = "PostgreSQL"

_MS: Final = "(extract(epoch from {}) * 1000)::bigint"
_CREATED, _EXPIRES, _SEEN, _ENDED = (
    _MS.format(column) for column in ("created_at", "expires_at", "last_seen_at", "ended_at")
)
_ACTIVE: Final = (
    " last_seen_at = greatest(last_seen_at, :seen), requests = greatest(requests, :requests),"
    " device = :device, address = :address"
)
_COLUMNS: Final = f"""
    id, user_id, token_digest, version, device, address, requests, end_reason,
    {_EXPIRES} as expires_ms, {_CREATED} as created_ms, {_SEEN} as seen_ms,
    ',"id":"' || id || '","user":' || to_json(user_id) || ',"version":' || version || ',"data":' || data
    || ',"created_at":' || {_CREATED} || ',"expires_at":' || {_EXPIRES} || '}}' as body
"""  # fmt: skip


_ENTRY: Final = (  # what Record.entry writes
    "lpad(expires_ms::text, 15) || lpad(seen_ms::text, 15) || lpad(version::text, 12)"
    " || '{\"last_seen_at\":' || lpad(seen_ms::text, 15) || ',\"requests\":' || lpad(requests::text, 12)"
    " || ',\"device\":' || coalesce(to_json(device)::text, 'null')"
    " || ',\"address\":' || coalesce(to_json(address)::text, 'null') || body"
)
_SHARED: Final = {"@columns": _COLUMNS, "@active": _ACTIVE, "@ended_ms": _ENDED, "@entry": _ENTRY}


def _statement(sql: str) -> TextClause:
    """Write out what several statements share."""
    for name, written in _SHARED.items():
        sql = sql.replace(name, written)
    return text(sql)


_FIND = _statement(
    "select @columns from sessions.session where token_digest = :digest and namespace = :namespace"
)
_FIND_MANY = _statement(
    "select @columns from sessions.session"
    " where token_digest = any(cast(cast(:digests as text[]) as bytea[])) and namespace = :namespace"
)
_LIVE = _statement(
    "select @columns from sessions.session"
    " where namespace = :namespace and user_id = :user and ended_at is null order by created_at, id"
)
_PAGE = _statement(
    "select array_agg(encode(token_digest, 'hex') order by id) as digests,"
    " array_agg(convert_to(entry, 'UTF8') order by id) as entries, (array_agg(id order by id desc))[1] as last"
    " from (select id, token_digest, @entry as entry from (select @columns from sessions.session"
    " where namespace = :namespace and ended_at is null and id > :after and expires_at > :now"
    " and last_seen_at > :idle_since order by id limit :size) as live) as page"
)
_LOCK_TOKEN = _statement(_FIND.text + " for update")
_LOCK_ID = _statement(
    "select @columns from sessions.session"
    " where id = :id and user_id = :user and namespace = :namespace for update"
)
_LOCK_LIVE = _statement(
    "select @columns from sessions.session"
    " where namespace = :namespace and user_id = :user and ended_at is null order by id for update"
)
_LOCK_OVERDUE = _statement(
    "select @columns from sessions.session where namespace = :namespace and ended_at is null and id > :after"
    " and (expires_at <= :now or last_seen_at <= :idle_since)"
    " order by id limit :size for update skip locked"
)
_LOCK_USER = text("select pg_advisory_xact_lock(hashtextextended(:namespace || ' ' || :user, 2710))")
_SIGN_IN = _statement(
    "select @columns from sessions.sign_in(:most, row(:id, :namespace, :user, :digest, 1,"
    " cast(:data as json), :now, :expires, :now, 0, :device, :address, null, null, null))"
)
_UPDATE = _statement(
    "update sessions.session set data = cast(:data as json), version = version + 1, @active"
    " where id = :id returning @columns"
)
_ROTATE = _statement(
    "update sessions.session set token_digest = :digest, @active where id = :id returning @columns"
)
_SAVE_ONE = _statement(
    "update sessions.session set @active where token_digest = :digest"
    " and namespace = :namespace and ended_at is null returning @columns"
)
_SAVE = text(
    "with seen as materialized (select s.id, seen.* from sessions.session as s"
    " join unnest(cast(:digests as bytea[]), cast(:at as timestamptz[]), cast(:requests as bigint[]),"
    " cast(:devices as text[]), cast(:addresses as text[])) as seen (digest, at, requests, device, address)"
    " on s.token_digest = seen.digest and s.namespace = :namespace and s.ended_at is null"
    " order by s.id for update of s)"  # in the order in which everybody locks
    " update sessions.session as s set last_seen_at = greatest(s.last_seen_at, seen.at),"
    " requests = greatest(s.requests, seen.requests), device = seen.device, address = seen.address"
    " from seen where s.id = seen.id"
)
_END = text(
    "update sessions.session set ended_at = :now, end_reason = :reason,"
    " ended_in = pg_current_xact_id()::text::bigint"
    " where id = any(cast(cast(:ids as text[]) as uuid[])) and ended_at is null returning id, user_id, ended_in"
)
_DELETE_ENDED = text("delete from sessions.session where namespace = :namespace and ended_at < :before")
_HORIZON = text("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_ENDED_SINCE = _statement(
    "select id, user_id, end_reason, @ended_ms as ended_ms, ended_in from sessions.session"
    " where namespace = :namespace and ended_in >= :position order by ended_in, id"
)
_EPOCH = text("select epoch from sessions.cache_epoch where namespace = :namespace")
_ADVANCE_EPOCH = text(
    "insert into sessions.cache_epoch (namespace, epoch) values (:namespace, greatest(1, :floor) + 1)"
    " on conflict (namespace) do update set epoch = greatest(cache_epoch.epoch, :floor) + 1 returning epoch"
)
_NIL = UUID(int=0)

_UNREACHABLE = (
    OSError,  # TimeoutError is one
    exc.InterfaceError,
    exc.OperationalError,
    exc.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.TransactionRollbackError,  # as by a deadlock: it may be asked again
)


def _is_unreachable(error: BaseException) -> bool:
    """Tell an absent server from a wrong statement."""
    if isinstance(error, exc.DBAPIError):
        cause = error.orig.__cause__ if error.orig is not None else None
        return error.connection_invalidated or any(isinstance(one, _UNREACHABLE) for one in (error, cause))
    return isinstance(error, _UNREACHABLE)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session about to be written."""

    id: SessionId
    user: UserId
    digest: bytes
    data: str
    now: datetime
    expires: datetime
    device: str | None
    address: str | None

    def values(self) -> dict[str, object]:
        """Return what the statement takes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Work:
    """One transaction: locks, changes, and what it says to the epoch; it commits when its block ends."""

    def __init__(self, connection: AsyncConnection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def lock_user(self, user: UserId) -> None:
        """Wait for other sign-ins of *user*."""
        await self._connection.execute(_LOCK_USER, {"namespace": self._namespace, "user": user})

    async def lock_token(self, digest: bytes) -> Record | None:
        """Lock the session of a token, ended or not."""
        return _first(await self._all(_LOCK_TOKEN, digest=digest))

    async def lock_id(self, session: SessionId, user: UserId) -> Record | None:
        """Lock the user's session, ended or not."""
        return _first(await self._all(_LOCK_ID, id=session, user=user))

    async def lock_live(self, user: UserId) -> list[Record]:
        """Lock the sessions of *user* that did not end."""
        return await self._all(_LOCK_LIVE, user=user)

    async def lock_overdue(
        self, now: datetime, idle_since: datetime, after: SessionId | None, size: int
    ) -> list[Record]:
        """Lock sessions that are past a lifetime, as far as PostgreSQL knows."""
        return await self._all(_LOCK_OVERDUE, now=now, idle_since=idle_since, after=after or _NIL, size=size)

    async def sign_in(self, new: NewSession) -> Record:
        """Write a new session; the user is locked and has room."""
        [record] = await self._all(_SIGN_IN, most=None, **new.values())
        return record

    async def update(self, session: SessionId, data: str, activity: Activity) -> Record:
        """Replace the data of a locked session and count its version on."""
        [record] = await self._all(_UPDATE, id=session, data=data, **_active(activity))
        return record

    async def rotate(self, session: SessionId, digest: bytes, activity: Activity) -> Record:
        """Give a locked session another token."""
        [record] = await self._all(_ROTATE, id=session, digest=digest, **_active(activity))
        return record

    async def save(self, activities: Mapping[bytes, Activity]) -> None:
        """Write what locked sessions were last used for, by digest."""
        await self._connection.execute(_SAVE, {"namespace": self._namespace, **_seen(activities)})

    async def end(self, sessions: Sequence[SessionId], reason: EndReason, now: datetime) -> list[Ending]:
        """End locked sessions."""
        ids = [str(one) for one in sessions]  # for arrays but of texts, asyncpg asks the server first
        rows = await self._connection.execute(_END, {"ids": ids, "reason": reason.value, "now": now})
        return [
            Ending(session=id_, user=user, reason=reason, ended_at=now, position=position)
            for id_, user, position in rows
        ]

    async def advance_epoch(self) -> None:
        """Make void what Redis holds: it could not be told of this work."""
        await self._connection.execute(_ADVANCE_EPOCH, {"namespace": self._namespace, "floor": 0})

    async def _all(self, statement: TextClause, **values: object) -> list[Record]:
        rows = await self._connection.execute(statement, {"namespace": self._namespace, **values})
        return [_record(row) for row in rows]


class Store:
    """The sessions of one namespace; a call that PostgreSQL does not answer raises `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine, namespace: str, *, deadline: timedelta) -> None:
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._joint = engine.execution_options(isolation_level="READ COMMITTED")
        self._namespace = namespace
        self._deadline = deadline

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        """Open a transaction that commits when the block ends, and not when it raises."""
        async with self._connected(self._joint) as connection, connection.begin():
            yield Work(connection, self._namespace)

    async def sign_in(self, new: NewSession, *, most: int | None) -> Record | None:
        """Write a new session, unless its user has *most* already."""
        rows = await self._execute(_SIGN_IN, most=most, **new.values())
        return _record(rows[0]) if rows else None

    async def find(self, digest: bytes) -> Record | None:
        """Return the session of a token, ended or not."""
        rows = await self._execute(_FIND, digest=digest)
        return _record(rows[0]) if rows else None

    async def find_many(self, digests: Sequence[bytes]) -> dict[bytes, Record]:
        """Return the sessions of several tokens, by digest."""
        written = [rf"\x{digest.hex()}" for digest in digests]
        records = (_record(row) for row in await self._execute(_FIND_MANY, digests=written))
        return {record.digest: record for record in records}

    async def live(self, user: UserId) -> list[Record]:
        """Return the sessions of *user* that did not end, oldest first."""
        return [_record(row) for row in await self._execute(_LIVE, user=user)]

    async def page(self, now: datetime, idle_since: datetime, after: SessionId | None, size: int) -> Page:
        """Return up to *size* live sessions of anybody, in order of id, as entries."""
        [row] = await self._execute(_PAGE, now=now, idle_since=idle_since, after=after or _NIL, size=size)
        return Page(row.digests or (), row.entries or (), row.last)

    async def save_one(self, digest: bytes, activity: Activity) -> Record | None:
        """Write what a live session was last used for, and return None if it is not live."""
        rows = await self._execute(_SAVE_ONE, digest=digest, **_active(activity))
        return _record(rows[0]) if rows else None

    async def save(self, activities: Mapping[bytes, Activity]) -> None:
        """Write what live sessions were last used for, by digest."""
        await self._execute(_SAVE, **_seen(activities))

    async def delete_ended(self, before: datetime) -> int:
        """Delete the rows of sessions that ended before *before*, and count them."""
        async with self._connected(self._single) as connection:
            result = await connection.execute(_DELETE_ENDED, {"namespace": self._namespace, "before": before})
            return result.rowcount

    async def position(self) -> int:
        """Return the position that no ending committed from now on comes before."""
        async with self._connected(self._single) as connection:
            return int((await connection.execute(_HORIZON)).scalar_one())

    async def ended_since(self, position: int) -> list[Ending]:
        """Return the endings at *position* and after."""
        return [
            Ending(
                session=row.id, user=row.user_id, reason=EndReason(row.end_reason),
                ended_at=from_ms(row.ended_ms), position=row.ended_in,
            )
            for row in await self._execute(_ENDED_SINCE, position=position)
        ]  # fmt: skip

    async def epoch(self) -> int:
        """Return the epoch that entries in Redis must carry."""
        rows = await self._execute(_EPOCH)
        return int(rows[0][0]) if rows else 1

    async def advance_epoch(self, *, floor: int) -> int:
        """Begin an epoch after *floor* and after all before."""
        return int((await self._execute(_ADVANCE_EPOCH, floor=floor))[0][0])

    async def _execute(self, statement: TextClause, **values: object) -> Sequence[Row[Any]]:
        async with self._connected(self._single) as connection:
            result = await connection.execute(statement, {"namespace": self._namespace, **values})
            return result.fetchall() if result.returns_rows else ()

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Lend a connection that is torn down at the deadline.

        Cancelling a statement instead would wait for the server to say goodbye, and a dead link never does.
        """
        due = due_after(self._deadline)
        driver: asyncpg.Connection | None = None

        def tear_down() -> None:
            if driver is not None:
                driver.terminate()

        try:
            async with AsyncExitStack() as opened:
                opened.callback(asyncio.get_running_loop().call_at(due, tear_down).cancel)
                async with asyncio.timeout_at(due):
                    connection = await opened.enter_async_context(engine.connect())
                    while _driver(connection).is_closed():  # the server went away while it lay in the pool
                        await connection.invalidate()
                        await connection.close()
                        connection = await opened.enter_async_context(engine.connect())
                driver = _driver(connection)
                yield connection
        except Exception as error:
            if not _is_unreachable(error):
                raise
            raise StoreUnavailable(STORE) from error


def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    assert connection.sync_connection is not None, "it is open"
    driver = connection.sync_connection.connection.driver_connection
    assert isinstance(driver, asyncpg.Connection), "the engine's driver is asyncpg"
    return driver


def _active(activity: Activity) -> dict[str, object]:
    return {
        "seen": from_ms(activity.last_seen_ms),
        "requests": activity.requests,
        "device": activity.device,
        "address": activity.address,
    }


def _seen(activities: Mapping[bytes, Activity]) -> dict[str, object]:
    seen = activities.values()
    return {
        "digests": list(activities),
        "at": [from_ms(one.last_seen_ms) for one in seen],
        "requests": [one.requests for one in seen],
        "devices": [one.device for one in seen],
        "addresses": [one.address for one in seen],
    }


def _first(records: list[Record]) -> Record | None:
    return records[0] if records else None


def _record(row: Row[Any]) -> Record:
    return Record(
        id=SessionId(row.id),
        user=UserId(row.user_id),
        digest=row.token_digest,
        version=row.version,
        body=row.body,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        activity=Activity(row.seen_ms, row.requests, row.device, row.address),
        ended=None if row.end_reason is None else EndReason(row.end_reason),
    )
