"""Write violations down beside what noticed them, so that no request waits and no flood fills memory."""

import asyncio
from collections import deque
from datetime import timedelta
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.errors import StoreUnavailable
from netra_auth.store import violations
from netra_auth.store.database import Database
from netra_auth.violation import Violation

_WAITING = 1000
_AT_ONCE = 100
_RETRY_S = 0.5


class Reporter:
    """Keep violations until they are written, up to 1,000; how many came beyond stands in the next one."""

    def __init__(self, *, engine: AsyncEngine, deadline: timedelta) -> None:
        self._database = Database(engine, deadline=deadline)
        self._waiting: deque[Violation] = deque()
        self._left_out = 0
        self._added = asyncio.Event()

    def add(self, violation: Violation) -> None:
        """Have a violation written soon."""
        if len(self._waiting) >= _WAITING:
            self._left_out += 1
            return
        if self._left_out:
            detail = {**violation.detail, "left_out_before": str(self._left_out)}
            violation, self._left_out = violation.model_copy(update={"detail": detail}), 0
        self._waiting.append(violation)
        self._added.set()

    async def write(self) -> None:
        """Write what is added, for as long as this runs; an outage is waited out."""
        while True:
            await self._added.wait()
            self._added.clear()
            if not await self.flush():
                await asyncio.sleep(_RETRY_S)
                self._added.set()

    async def flush(self) -> bool:
        """Write what waits, and tell whether that succeeded."""
        while self._waiting:
            batch = list(islice(self._waiting, _AT_ONCE))
            try:
                await violations.add(self._database, *batch)
            except StoreUnavailable:
                return False
            for _ in batch:
                self._waiting.popleft()
        return True
