"""What can be wrong with a link, and what follows for the bytes that pass it.

What a fault can decide stands in `Fault`: when bytes arrive, how many a second, whether they arrive at all, whether
anybody listens, and what happens to connections when it begins and ends.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netra_fixtures.relay import Connection

CHUNK_BYTES = 64 * 1024
UNDER_WAY_BYTES = 16 * 1024 * 1024  # at most, a direction: 50 ms of 320 MB/s
LIMITED_S = 1.0  # of bytes under way where a fault limits how many pass a second, so that senders feel it
PIECE_S = 0.02  # what passes in one piece then, so that bytes trickle and don't come in lumps


@dataclass(frozen=True)
class Passage:
    """What a fault may know of the bytes whose arrival it decides; instants are the event loop's seconds.

    Args:
        ends: they are none: the sender has ended, or is gone.
        previous: when the bytes before them arrived.
    """

    size_bytes: int
    ends: bool
    previous: float
    chance: Callable[[], Random]

    @cached_property
    def random(self) -> Random:
        """What to draw from; the same again for the same seed, connection, direction and place in what is sent."""
        return self.chance()


class Fault:
    """Something wrong with a link while it is entered; a subclass overrides what it spoils."""

    refuses = False  # nobody listens
    swallows = False  # what is sent never arrives, nor does its end

    def due(self, at: float, passage: Passage) -> float:
        """Say when bytes arrive that would arrive at *at*; those before them did at `passage.previous`."""
        return at

    def limit_bytes_per_second(self) -> float:
        """Say how many bytes may pass in each direction of a connection; of several limits the lowest holds."""
        return math.inf

    def strike(self, connection: Connection) -> None:
        """Meet a connection that was open when the fault began, or one that was made since."""

    def heal(self, connection: Connection) -> None:
        """Meet a connection that is open when the fault ends."""


class ActiveFaults:
    """The faults that a link is under at the moment.

    Args:
        seed: what faults that draw at random start from.
        drawn: called whenever one draws.
    """

    def __init__(self, seed: int, drawn: Callable[[], None]) -> None:
        self._seed = seed
        self._drawn = drawn
        self._faults: dict[object, Fault] = {}
        self._changed = asyncio.Event()
        self._changed_at = -math.inf

    def begin(self, fault: Fault) -> object:
        """Add *fault*; return what `end` takes, because equal faults may be active twice."""
        entry = object()
        self._faults[entry] = fault
        self._announce()
        return entry

    def end(self, entry: object) -> None:
        del self._faults[entry]
        self._announce()

    @property
    def refuses(self) -> bool:
        return any(fault.refuses for fault in self._faults.values())

    @property
    def swallows(self) -> bool:
        return any(fault.swallows for fault in self._faults.values())

    @property
    def limit_bytes_per_second(self) -> float:
        return min((fault.limit_bytes_per_second() for fault in self._faults.values()), default=math.inf)

    @property
    def piece_bytes(self) -> int:
        """The most that passes in one piece."""
        return int(min(CHUNK_BYTES, max(1.0, self.limit_bytes_per_second * PIECE_S)))

    @property
    def under_way_bytes(self) -> int:
        """The most that may be under way in one direction of a connection."""
        return int(min(UNDER_WAY_BYTES, max(CHUNK_BYTES, self.limit_bytes_per_second * LIMITED_S)))

    def strike(self, connection: Connection) -> None:
        for fault in self._faults.values():
            fault.strike(connection)

    async def until_heard(self) -> None:
        """Wait while what is sent does not arrive."""
        while self.swallows:
            await self._changed.wait()

    def due(self, at: float, passage: Passage) -> float:
        """Say when bytes arrive that would arrive at *at* over a link that nothing is wrong with."""
        for fault in self._faults.values():
            at = fault.due(at, passage)
        limit = self.limit_bytes_per_second
        if limit < math.inf:  # what has not arrived before it was set passes it
            return max(at, passage.previous, self._changed_at) + passage.size_bytes / limit
        return max(at, passage.previous)

    async def unchanged_until(self, due: float) -> bool:
        """Wait until *due*, or until a fault begins or ends: then what was due may be wrong."""
        changed, wait = self._changed, due - asyncio.get_running_loop().time()
        if wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()
        return not changed.is_set()

    def chance(self, place: str) -> Random:
        """Give what to draw from for bytes that stand at *place*."""
        self._drawn()
        # it draws faults, not secrets
        return Random(f"{self._seed}:{place}")  # nosec B311

    def _announce(self) -> None:
        self._changed.set()
        self._changed, self._changed_at = asyncio.Event(), asyncio.get_running_loop().time()
