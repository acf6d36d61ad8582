"""Both stores as one: the record in PostgreSQL, its entries in Redis, and the order in which they change.

A change of the record first fences the entry, then commits, then puts the new entry in. A fence says "ask
PostgreSQL" and keeps out what somebody read before the commit. Where Redis can't be told, the same
transaction moves the epoch on instead.
"""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from netra_sessions.cache import Cache
from netra_sessions.deadline import due_within
from netra_sessions.errors import SessionEnded, SessionNotFound, StoreUnavailable
from netra_sessions.lane import CacheUnavailable
from netra_sessions.record import FENCE, Activity, Page, Record
from netra_sessions.session import Ending, EndReason, Session
from netra_sessions.store import Store, Work
from netra_sessions.trust import Trust

_DUE = ord("1")


@dataclass(slots=True)
class Change:
    """One transaction on the record and what Redis and listeners hear of it once it is committed."""

    work: Work
    mark: bytes
    fresh: list[Record] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)


class Ledger:
    """What the operations on sessions are made of."""

    def __init__(self, cache: Cache, store: Store, trust: Trust, *, deadline: timedelta) -> None:
        self.cache = cache
        self.store = store
        self.trust = trust
        self._deadline = deadline

    async def touch(
        self, digest: bytes, now_ms: int, epoch: bytes, device: str | None, address: str | None
    ) -> Session | None:
        """Use the session as Redis has it; None where the record must be asked."""
        try:
            reply = await self.cache.touch(digest, now_ms, epoch, device, address)
        except CacheUnavailable as error:
            self.trust.lose(error)
            return None
        if reply is None:
            return None
        try:
            session = Session.model_validate_json(reply[1:])
        except ValidationError:
            return None  # somebody else wrote there; `reconcile` drops it
        if reply[0] == _DUE and not await self._saved(digest, now_ms, session):
            return None
        return session

    async def use(
        self, digest: bytes, now_ms: int, epoch: bytes | None, device: str | None, address: str | None
    ) -> Session:
        """Use the session as the record has it, and put it back into Redis if *epoch* is given."""
        read_at = time.monotonic()
        record = await self.store.find(digest)
        if record is None:
            raise SessionNotFound
        if record.ended is not None:
            raise SessionEnded(record.ended)
        if epoch is not None and now_ms < record.expires_ms:
            await self.install([record], epoch, read_at=read_at)
            if self.trust.current() is not None:
                session = await self.touch(digest, now_ms, epoch, device, address)
                if session is not None:
                    return session
        if (over := record.over(now_ms, self.cache.idle_ms)) is not None:
            raise over
        used = record.used(now_ms, device, address)
        coarse = now_ms - record.activity.last_seen_ms >= self.cache.coarse_ms
        if coarse or epoch is not None:  # Redis answers, and a fence or a new epoch keeps the session out
            await self.store.save_one(digest, used.activity)
        return used.session()

    async def install(
        self, records: Sequence[Record], epoch: bytes | None, *, read_at: float, mark: bytes = b""
    ) -> int | None:
        """Put records, read at *read_at* (monotonic) in *epoch*, into Redis; count those that went in.

        Returns None where they were read too long ago, or Redis is in another epoch or out of reach.
        """
        if epoch is None or self._stale(read_at):
            return None
        entries = [(record, record.activity.last_seen_ms) for record in records]
        return (
            await self._installed(self.cache.install(entries, epoch, lifting=FENCE + mark)) if entries else 0
        )

    async def install_page(self, page: Page, epoch: bytes, *, read_at: float) -> int | None:
        """Put a page into Redis, as `install` does."""
        if self._stale(read_at):
            return None
        return await self._installed(self.cache.install_page(page, epoch)) if page.digests else 0

    async def _installed(self, installing: Awaitable[int]) -> int | None:
        try:
            installed = await installing
        except CacheUnavailable as error:
            self.trust.lose(error)
            return None
        if installed < 0:
            self.trust.lapse()
            return None
        return installed

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """Change the record, and then what Redis holds and who listens."""
        mark = secrets.token_hex(8).encode()
        with due_within(self._deadline):
            epoch = await self.trust.epoch()
            async with self.store.work() as work:
                change = Change(work, mark)
                yield change
            await self.install(change.fresh, epoch, read_at=time.monotonic(), mark=mark)
            await self.announce(change.endings)

    async def fence(self, change: Change, records: Sequence[Record]) -> list[Record] | None:
        """Fence the entries of locked records; return the records with what the entries knew of their use.

        Returns None where Redis is out of reach.
        """
        try:
            found = await self.cache.fence([record.digest for record in records], change.mark)
        except CacheUnavailable as error:
            self.trust.lose(error)
            return None
        return [_joined(record, seen) for record, seen in zip(records, found, strict=True)]

    async def fence_or_advance(self, change: Change, records: Sequence[Record]) -> list[Record]:
        """Fence, or void all that Redis holds where it can't be told of this change."""
        fenced = await self.fence(change, records)
        if fenced is None:
            await change.work.advance_epoch()
            return list(records)
        return fenced

    async def end(
        self, change: Change, records: Sequence[Record], reason: EndReason, now: datetime
    ) -> list[Ending]:
        """End locked records; those that had ended are fenced once more."""
        if not records:
            return []
        await self.fence_or_advance(change, records)
        endings = await change.work.end([record.id for record in records], reason, now)
        change.endings += endings
        return endings

    async def with_activity(self, records: Sequence[Record]) -> list[Record]:
        """Return the records with what Redis, if it answers, knows of their use."""
        try:
            found = await self.cache.activities(record.digest for record in records)
        except CacheUnavailable as error:
            self.trust.lose(error)
            return list(records)
        return [_joined(record, seen) for record, seen in zip(records, found, strict=True)]

    async def announce(self, endings: Sequence[Ending]) -> None:
        """Announce endings; where that fails, listeners read them in PostgreSQL."""
        if not endings:
            return
        try:
            await self.cache.announce(endings)
        except CacheUnavailable as error:
            self.trust.lose(error)

    async def _saved(self, digest: bytes, now_ms: int, session: Session) -> bool:
        """Write the activity to PostgreSQL; False if the record has no such live session."""
        seen = Activity(now_ms, session.requests, session.device, session.address)
        try:
            with due_within(self._deadline / 2):  # the user has an answer already
                live = await self.store.save_one(digest, seen) is not None
            if live:
                await self.cache.saved({digest: now_ms})
            else:
                await self.cache.fence([digest], b" not live")  # never a deletion: a fence may stand there
            return live
        except StoreUnavailable:
            return True  # a later use is told again that a write is due
        except CacheUnavailable as error:
            self.trust.lose(error)
            return False

    def _stale(self, read_at: float) -> bool:
        return time.monotonic() - read_at > self.cache.fence_lasts.total_seconds() / 2


def _joined(record: Record, seen: Activity | None) -> Record:
    return replace(record, activity=record.activity.joined(seen))
