"""Which process of the platform has what in memory, as each reports it in Redis with a lease."""

import os
import socket
from datetime import datetime, timedelta
from typing import cast
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from netra_config.line import Line

# Whoever reports sweeps out the names whose lease lapsed, by Redis's clock; with the last report the index goes too.
_REPORT = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
redis.call('ZADD', KEYS[1], now_ms + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
"""


class Running(BaseModel):
    """What a process of the platform has in memory, as it reported itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    process: str
    schema_fingerprint: str
    version: int
    refused: int | None = None
    reported_at: datetime


def process_name() -> str:
    """Name this process as no other is named."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


class Reports:
    """The reports of one environment, whose names in Redis start with *prefix*.

    Each call raises `StoreUnavailable` where Redis does not answer within the deadline.
    """

    def __init__(self, line: Line, prefix: str) -> None:
        self._line = line
        self._prefix = prefix
        self._index = f"{prefix}:running"

    async def report(self, running: Running, *, lease: timedelta) -> None:
        """Tell what this process has in memory; it is forgotten after *lease*."""
        lease_ms = max(1, round(lease.total_seconds() * 1000))
        keys = (self._index, self._key(running.process))
        said = (running.process, lease_ms, running.model_dump_json())
        await self._line.ask("EVAL", _REPORT, len(keys), *keys, *said)

    async def withdraw(self, process: str) -> None:
        """Forget a process that ends."""
        await self._line.ask("DEL", self._key(process))
        await self._line.ask("ZREM", self._index, process)

    async def running(self) -> tuple[Running, ...]:
        """Return the reports whose lease holds, by name."""
        names = cast(list[bytes], await self._line.ask("ZRANGE", self._index, 0, -1))
        if not names:
            return ()
        keys = [self._key(name.decode("utf-8", "replace")) for name in sorted(names)]
        values = cast(list[bytes | None], await self._line.ask("MGET", *keys))
        return tuple(one for value in values if (one := _read(value)) is not None)

    def _key(self, process: str) -> str:
        return f"{self._prefix}:process:{process}"


def _read(value: bytes | None) -> Running | None:
    try:
        return None if value is None else Running.model_validate_json(value)
    except ValidationError:
        return None  # not ours
