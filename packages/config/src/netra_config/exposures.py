"""Who was shown which variant: noted in memory, written in batches."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from netra_config.errors import StoreUnavailable
from netra_config.store import Exposure, Store

_BATCH = 1_000
_LONGEST_BYTES = 2_000  # of flag, subject and variant: a row of PostgreSQL's index holds 2,704
_MOST_WAITING = 100_000
_MOST_KNOWN = 200_000


class Exposures:
    """Keep each exposure until PostgreSQL has it.

    While PostgreSQL is out of reach up to 100,000 wait; what comes on top of them is counted in `lost`, as is what
    PostgreSQL does not take: names with NUL or half characters, or too long for its index, and any where the role has
    no grant.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self.lost = 0
        self._store = store
        self._clock = clock
        self._known = set[tuple[str, str, str]]()
        self._waiting = list[Exposure]()
        self._one_writes = asyncio.Lock()

    def note(self, flag: str, subject: str, variant: str, version: int) -> None:
        """Note that *subject* was shown *variant*; a repetition costs a look into a set."""
        exposed = (flag, subject, variant)
        if exposed in self._known:
            return
        if len(self._waiting) >= _MOST_WAITING or not _can_be_kept(flag + subject + variant):
            self.lost += 1
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()  # PostgreSQL keeps one row of each all the same
        self._known.add(exposed)
        self._waiting.append(Exposure(flag, subject, variant, version, self._clock()))

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreUnavailable: PostgreSQL did not answer; what waits goes on waiting.
        """
        async with self._one_writes:  # who counts afterwards counts what another is writing, too
            while self._waiting:
                await self._write_batch()

    async def _write_batch(self) -> None:
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        try:
            await self._store.expose(batch)
        except (StoreUnavailable, asyncio.CancelledError):
            self._waiting = [*batch, *self._waiting]
            raise
        except Exception:
            self.lost += len(batch)
            raise


def _can_be_kept(names: str) -> bool:
    try:
        return "\0" not in names and len(names.encode()) <= _LONGEST_BYTES
    except UnicodeEncodeError:
        return False
