"""What keeps the two stores alike over all sessions: recovery, reconciliation, expiry, activity."""

import time
from datetime import datetime

from netra_sessions.errors import StoreUnavailable
from netra_sessions.lane import CacheUnavailable
from netra_sessions.ledger import Change, Ledger
from netra_sessions.record import FENCE, Activity, Entry, Record
from netra_sessions.session import (
    Difference,
    EndReason,
    Mended,
    Purge,
    Reconciliation,
    SessionId,
    SessionPolicy,
    to_ms,
)

_PAGE = 500  # one script writes a page: about 2 ms in which Redis serves nobody else
_ATTEMPTS = 5


class Upkeep:
    """Work over all sessions of the namespace, a page at a time, each within the policy's deadline."""

    def __init__(self, ledger: Ledger, policy: SessionPolicy) -> None:
        self._ledger = ledger
        self._policy = policy

    async def recover(self, now: datetime) -> int:
        """Put all live sessions into Redis; a page that meets another loss of Redis is read again."""
        installed, after, failures = 0, None, 0
        while failures < _ATTEMPTS:
            epoch = await self._epoch()  # before the page is read: what ends after that is fenced in it
            read_at = time.monotonic()
            page = await self._ledger.store.page(now, now - self._policy.idle_lifetime, after, _PAGE)
            count = await self._ledger.install_page(page, epoch, read_at=read_at)
            if count is None:
                failures += 1
                continue
            installed += count
            if len(page.digests) < _PAGE:
                return installed
            after = page.last
        raise StoreUnavailable("Redis")

    async def reconcile(self, now: datetime) -> Reconciliation:
        """Drop what PostgreSQL does not confirm, then put in what is missing."""
        compared, mended = 0, list[Mended]()
        try:
            async for keys in self._ledger.cache.scan(size=_PAGE):
                values = await self._ledger.cache.read(keys)
                held = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
                entries = {key: value for key, value in held.items() if not value.startswith(FENCE)}
                compared += len(entries)
                mended += await self._mend(entries, now)
        except CacheUnavailable as error:
            self._ledger.trust.lose(error)
            raise StoreUnavailable("Redis") from error
        return Reconciliation(compared=compared, mended=tuple(mended), warmed=await self.recover(now))

    async def flush_activity(self) -> int:
        """Write to PostgreSQL the activity that entries have and it has not."""
        flushed = 0
        try:
            async for keys in self._ledger.cache.scan(size=_PAGE):
                unsaved = self._unsaved(keys, await self._ledger.cache.read(keys))
                if unsaved:
                    await self._ledger.store.save(unsaved)
                    await self._ledger.cache.saved({d: seen.last_seen_ms for d, seen in unsaved.items()})
                flushed += len(unsaved)
        except CacheUnavailable as error:
            self._ledger.trust.lose(error)
            raise StoreUnavailable("Redis") from error
        return flushed

    async def purge_expired(self, now: datetime) -> Purge:
        """End sessions past a lifetime, and delete those that ended before `ended_kept`."""
        expired, after = list[SessionId](), None
        while True:
            async with self._ledger.change() as change:
                page = await change.work.lock_overdue(now, now - self._policy.idle_lifetime, after, _PAGE)
                expired += await self.end_overdue(change, page, now)
            if len(page) < _PAGE:
                break
            after = page[-1].id
        deleted = await self._ledger.store.delete_ended(now - self._policy.ended_kept)
        return Purge(expired=tuple(expired), deleted=deleted)

    async def end_overdue(self, change: Change, locked: list[Record], now: datetime) -> set[SessionId]:
        """End the locked records that Redis, too, knows to be past a lifetime, and return which.

        PostgreSQL hears of a session's use late by up to the coarse step: without Redis a session counts as
        idle only after that much longer.
        """
        now_ms, idle_ms = to_ms(now), self._ledger.cache.idle_ms
        overdue = [record for record in locked if record.over(now_ms, idle_ms) is not None]
        if not overdue:
            return set()
        fenced = await self._ledger.fence(change, overdue)
        if fenced is None:
            idle_ms += self._ledger.cache.coarse_ms
        doomed, used = list[SessionId](), list[Record]()
        for record in overdue if fenced is None else fenced:
            if record.over(now_ms, idle_ms) is None:
                used.append(record)
            else:
                doomed.append(record.id)
        if doomed and fenced is None:
            await change.work.advance_epoch()
        if used and fenced is not None:
            await change.work.save({record.digest: record.activity for record in used})
            change.fresh += used
        endings = await change.work.end(doomed, EndReason.EXPIRED, now)
        change.endings += endings
        return {ending.session for ending in endings}

    async def _epoch(self) -> bytes:
        epoch = await self._ledger.trust.epoch(insist=True)
        if epoch is None:
            raise StoreUnavailable("Redis")
        return epoch

    def _unsaved(self, keys: list[bytes], values: list[bytes | None]) -> dict[bytes, Activity]:
        unsaved = {}
        for key, value in zip(keys, values, strict=True):
            entry, digest = _entry(value), self._ledger.cache.digest(key)
            if entry is not None and digest and entry.activity.last_seen_ms > entry.persisted_ms:
                unsaved[digest] = entry.activity
        return unsaved

    async def _mend(self, held: dict[bytes, bytes], now: datetime) -> list[Mended]:
        digests = {key: self._ledger.cache.digest(key) for key in held}
        records = await self._ledger.store.find_many([digest for digest in digests.values() if digest])
        mended = []
        for key, value in held.items():
            entry = _entry(value)
            record = records.get(digests[key] or b"")
            difference = self._difference(entry, record, to_ms(now))
            if difference is None:
                continue
            dropped = await self._drop(key, entry)
            if dropped:
                mended.append(Mended(session=entry.id if entry else None, difference=difference))
        return mended

    async def _drop(self, key: bytes, entry: Entry | None) -> bool:
        """Drop an entry unless somebody changed it since it was read."""
        cache = self._ledger.cache
        return await (cache.delete(key) if entry is None else cache.drop(key, entry.body))

    def _difference(self, entry: Entry | None, record: Record | None, now_ms: int) -> Difference | None:
        if entry is None:
            return Difference.UNREADABLE
        if record is None:
            return Difference.UNKNOWN
        if record.ended is not None:
            return Difference.ENDED
        seen = record.activity.joined(entry.activity)
        if now_ms >= record.expires_ms or now_ms - seen.last_seen_ms >= self._ledger.cache.idle_ms:
            return Difference.EXPIRED
        if entry.body != record.body or entry.version != record.version:
            return Difference.OUTDATED
        return None


def _entry(value: bytes | None) -> Entry | None:
    try:
        return None if value is None else Entry.read(value)
    except ValueError:
        return None
