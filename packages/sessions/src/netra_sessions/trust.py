"""How far Redis may be believed.

PostgreSQL holds an epoch, every entry carries the one it was made in, and an entry of another epoch than
Redis's is void. The epoch moves on when a session ended that Redis could not be told of, and when Redis
lost its memory: when it is empty, lacks the scripts, or was restarted or promoted since the epoch began.
Whoever asks Redis has read the epoch in PostgreSQL within `lasting`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from netra_sessions.cache import Cache, CacheForgot, epoch_text
from netra_sessions.deadline import due_after
from netra_sessions.errors import StoreUnavailable
from netra_sessions.lane import CacheUnavailable
from netra_sessions.store import STORE, Store

_LONGEST_PAUSE_S = 0.25


class Trust:
    """The epoch to ask Redis with, kept fresh by those who ask."""

    def __init__(self, cache: Cache, store: Store, *, lasting: timedelta, deadline: timedelta) -> None:
        self._cache = cache
        self._store = store
        self._lasting = lasting.total_seconds()
        self._pause = min(_LONGEST_PAUSE_S, deadline.total_seconds() / 4)
        self._patience = deadline
        self._known = epoch_text(0)
        self._renew_at = self._until = self._paused_until = 0.0
        self._forgotten = False
        self._losses = 0
        self._renewing = asyncio.Lock()

    def current(self) -> bytes | None:
        """Return the epoch if nothing needs to be asked for it."""
        return self._known if time.monotonic() < self._renew_at else None

    def lapse(self) -> None:
        """Ask PostgreSQL before Redis is believed again."""
        self._losses += 1
        self._renew_at = self._until = 0.0

    async def epoch(self, *, insist: bool = False) -> bytes | None:
        """Return the epoch, or None while Redis is out of reach.

        After a failure Redis is left alone for a moment, unless the caller has to *insist*.

        Raises:
            StoreUnavailable: trust lapsed and PostgreSQL can't renew it.
        """
        now = time.monotonic()
        if now < self._renew_at:
            return self._known
        if now < self._until and self._renewing.locked():
            return self._known
        if now < self._paused_until and not insist:
            return None
        async with self._turn():
            if time.monotonic() < self._renew_at:
                return self._known
            if time.monotonic() < self._paused_until and not insist:
                return None
            return await self._renew()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for whoever renews, and no longer than a renewal may take."""
        try:
            async with asyncio.timeout_at(due_after(self._patience)):
                await self._renewing.acquire()
        except TimeoutError as error:
            raise StoreUnavailable(STORE) from error
        try:
            yield
        finally:
            self._renewing.release()

    def lose(self, error: CacheUnavailable) -> None:
        """Stop believing Redis, after an *error*, until PostgreSQL was asked again."""
        self.lapse()
        if isinstance(error, CacheForgot):
            self._forgotten = True
        else:
            self._paused_until = time.monotonic() + self._pause

    async def _renew(self) -> bytes | None:
        started, losses = time.monotonic(), self._losses
        try:
            epoch = await self._agree()
        except CacheUnavailable as error:
            self.lose(error)
            return None
        except StoreUnavailable:
            if time.monotonic() >= self._until:
                raise
            self._renew_at = min(self._until, time.monotonic() + self._pause)
            return self._known
        if losses != self._losses:
            return None  # another task met an error meanwhile; the next one renews
        self._known = epoch_text(epoch)
        self._until = started + self._lasting
        self._renew_at = started + self._lasting / 2
        return self._known

    async def _agree(self) -> int:
        """Bring both stores to one epoch, a new one if Redis forgot."""
        epoch = await self._store.epoch()
        held = await self._cache.advance(epoch_text(epoch), anew=False)
        if held == epoch and not self._forgotten:
            return epoch
        self._forgotten = True
        epoch = await self._store.advance_epoch(floor=abs(held or 0))
        held = await self._cache.advance(epoch_text(epoch), anew=True)
        if held is None or held < epoch:
            raise CacheForgot  # it restarted once more
        await self._cache.load_scripts()
        self._forgotten = False
        return held
