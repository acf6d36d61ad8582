"""Users' sessions: the class that a caller holds."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import uuid4

from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_sessions.cache import Cache
from netra_sessions.deadline import due_within
from netra_sessions.endings import Endings
from netra_sessions.errors import (
    SessionEnded,
    SessionNotFound,
    TooManySessions,
    VersionConflict,
)
from netra_sessions.ledger import Ledger
from netra_sessions.record import Record
from netra_sessions.session import (
    EndReason,
    IssuedSession,
    Purge,
    Reconciliation,
    Session,
    SessionId,
    SessionPolicy,
    SessionToken,
    UserId,
    WhenFull,
    check_user,
    digest_of,
    encode_data,
    issue_token,
    printable,
    to_ms,
)
from netra_sessions.store import NewSession, Store
from netra_sessions.trust import Trust
from netra_sessions.upkeep import Upkeep


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


class Sessions:
    """Create, validate and end the sessions of one installation, named by its *namespace*.

    The engine and the client stay the caller's; `close`, or leaving the block, closes the one connection
    that this object opens beside them. Any call may raise `StoreUnavailable`, and then nothing can be said
    about whether a change was made.
    """

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        redis: Redis,
        namespace: str,
        policy: SessionPolicy | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        policy = policy or SessionPolicy()
        cache = Cache(redis, namespace, policy)
        store = Store(engine, namespace, deadline=policy.deadline)
        trust = Trust(cache, store, lasting=policy.cache_trust, deadline=policy.deadline)
        self._ledger = Ledger(cache, store, trust, deadline=policy.deadline)
        self._upkeep = Upkeep(self._ledger, policy)
        self._redis = redis
        self._policy = policy
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection to Redis that this object opened."""
        await self._ledger.cache.close()

    async def create(
        self,
        user: UserId,
        *,
        device: str | None = None,
        address: str | None = None,
        data: Mapping[str, JsonValue] | None = None,
    ) -> IssuedSession:
        """Sign *user* in.

        Raises:
            TooManySessions: the user has as many as allowed, and the policy is to refuse.
            ValueError: the user id or the data can't be stored unchanged.
        """
        check_user(user)
        written = encode_data(data or {}, limit_bytes=self._policy.data_limit_bytes)
        token, now, limit = issue_token(), self._now(), self._policy.limit_per_user
        new = NewSession(
            id=SessionId(uuid4()),
            user=user,
            digest=digest_of(token),
            data=written,
            now=now,
            expires=now + self._policy.absolute_lifetime,
            device=printable(device),
            address=printable(address),
        )
        with due_within(self._policy.deadline):
            epoch = await self._ledger.trust.epoch()
            record = await self._ledger.store.sign_in(new, most=limit)
            if record is None:
                record = await self._sign_in_crowded(new)
            else:
                await self._ledger.install([record], epoch, read_at=time.monotonic())
        return IssuedSession(token=token, session=record.session())

    async def validate(
        self, token: SessionToken | str, *, device: str | None = None, address: str | None = None
    ) -> Session:
        """Return the session that *token* opens, and count this as its use.

        Args:
            device: what the client says it is; kept until another request says otherwise.
            address: where the request came from; kept likewise.

        Raises:
            SessionNotFound: no session knows the token.
            SessionExpired: a lifetime is over.
            SessionEnded: it was ended.
        """
        digest, now_ms = digest_of(token), to_ms(self._clock())
        device, address = printable(device), printable(address)
        epoch = self._ledger.trust.current()
        if epoch is not None:
            session = await self._ledger.touch(digest, now_ms, epoch, device, address)
            if session is not None:
                return session
        with due_within(self._policy.deadline / 2):  # a quarter is Redis's before, and another one after
            if epoch is None and (epoch := await self._ledger.trust.epoch()) is not None:
                session = await self._ledger.touch(digest, now_ms, epoch, device, address)
                if session is not None:
                    return session
            epoch = await self._ledger.trust.epoch()
            return await self._ledger.use(digest, now_ms, epoch, device, address)

    async def rotate(self, token: SessionToken | str) -> IssuedSession:
        """Trade *token* for a new one of the same session; the old one is dead at once.

        Raises:
            SessionRefused: as `validate`.
        """
        await self.validate(token)
        new = issue_token()
        async with self._ledger.change() as change:
            record = _live(await change.work.lock_token(digest_of(token)))
            [record] = await self._ledger.fence_or_advance(change, [record])
            record = await change.work.rotate(record.id, digest_of(new), record.activity)
            change.fresh.append(record)
        return IssuedSession(token=new, session=record.session())

    async def update(
        self, token: SessionToken | str, data: Mapping[str, JsonValue], *, expected_version: int
    ) -> Session:
        """Replace the session's data, if it still is at *expected_version*.

        Raises:
            VersionConflict: somebody changed it since; it holds the version expected and what is there now.
            ValueError: the data can't be stored unchanged.
            SessionRefused: as `validate`.
        """
        written = encode_data(data, limit_bytes=self._policy.data_limit_bytes)
        await self.validate(token)
        async with self._ledger.change() as change:
            record = _live(await change.work.lock_token(digest_of(token)))
            if record.version != expected_version:
                raise VersionConflict(expected_version, record.session())
            [record] = await self._ledger.fence_or_advance(change, [record])
            record = await change.work.update(record.id, written, record.activity)
            change.fresh.append(record)
        return record.session()

    async def end(self, token: SessionToken | str, *, reason: EndReason = EndReason.SIGNED_OUT) -> None:
        """Sign out; ending an ended session again changes nothing.

        Raises:
            SessionNotFound: no session knows the token.
        """
        async with self._ledger.change() as change:
            record = await change.work.lock_token(digest_of(token))
            if record is None:
                raise SessionNotFound
            await self._ledger.end(change, [record], reason, self._now())

    async def end_by_id(
        self, session: SessionId, *, user: UserId, reason: EndReason = EndReason.REVOKED
    ) -> None:
        """End a session of *user*, from a list of devices for example.

        Raises:
            SessionNotFound: the user has no such session.
        """
        async with self._ledger.change() as change:
            record = await change.work.lock_id(session, user)
            if record is None:
                raise SessionNotFound
            await self._ledger.end(change, [record], reason, self._now())

    async def end_others(
        self, token: SessionToken | str, *, reason: EndReason = EndReason.REVOKED
    ) -> tuple[SessionId, ...]:
        """End all sessions of the token's user but the token's own, and return which.

        Raises:
            SessionRefused: as `validate`.
        """
        kept = await self.validate(token)
        async with self._ledger.change() as change:
            await change.work.lock_user(kept.user)
            others = [record for record in await change.work.lock_live(kept.user) if record.id != kept.id]
            endings = await self._ledger.end(change, others, reason, self._now())
        return tuple(ending.session for ending in endings)

    async def end_all(self, user: UserId, *, reason: EndReason = EndReason.REVOKED) -> tuple[SessionId, ...]:
        """End all sessions of *user*, and return which."""
        async with self._ledger.change() as change:
            await change.work.lock_user(user)
            live = await change.work.lock_live(user)
            endings = await self._ledger.end(change, live, reason, self._now())
        return tuple(ending.session for ending in endings)

    async def list(self, user: UserId) -> tuple[Session, ...]:
        """Return the live sessions of *user*, oldest first; looking at them is no use of them."""
        now_ms = to_ms(self._now())
        with due_within(self._policy.deadline):
            records = await self._ledger.with_activity(await self._ledger.store.live(user))
        idle_ms = self._ledger.cache.idle_ms
        return tuple(record.session() for record in records if record.over(now_ms, idle_ms) is None)

    def endings(self) -> Endings:
        """Listen for ended sessions: `async with sessions.endings() as endings`, then iterate.

        The block is entered once the server confirmed the subscription: what ends from then on arrives.
        """
        return Endings(
            self._redis,
            self._ledger.cache.channel,
            self._ledger.store,
            replay_every=self._policy.cache_trust,
            deadline=self._policy.deadline,
        )

    async def recover(self) -> int:
        """Put all live sessions into Redis, after it was lost for example, and count those put in."""
        return await self._upkeep.recover(self._now())

    async def reconcile(self) -> Reconciliation:
        """Find entries in Redis that PostgreSQL does not confirm, drop them, and put in what is missing."""
        return await self._upkeep.reconcile(self._now())

    async def flush_activity(self) -> int:
        """Write to PostgreSQL what Redis alone knows of the sessions' use, and count the sessions."""
        return await self._upkeep.flush_activity()

    async def purge_expired(self) -> Purge:
        """End what is past its lifetime, and delete what ended longer ago than the policy keeps it."""
        return await self._upkeep.purge_expired(self._now())

    async def _sign_in_crowded(self, new: NewSession) -> Record:
        """Make room for a new session as the policy says, and write it."""
        limit = self._policy.limit_per_user
        assert limit is not None, "without a limit there is room"
        async with self._ledger.change() as change:
            await change.work.lock_user(new.user)
            live = await change.work.lock_live(new.user)
            expired = await self._upkeep.end_overdue(change, live, new.now)
            left = sorted((record for record in live if record.id not in expired), key=_age)
            excess = max(0, len(left) + 1 - limit)
            if excess and self._policy.when_full is WhenFull.REFUSE:
                raise TooManySessions(new.user, limit)
            await self._ledger.end(change, left[:excess], EndReason.REPLACED, new.now)
            record = await change.work.sign_in(new)
            change.fresh.append(record)
        return record

    def _now(self) -> datetime:
        """Return the instant in whole milliseconds, as both stores keep it."""
        now = self._clock()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _live(record: Record | None) -> Record:
    if record is None:
        raise SessionNotFound
    if record.ended is not None:
        raise SessionEnded(record.ended)
    return record


def _age(record: Record) -> tuple[int, str]:
    return record.created_ms, str(record.id)
