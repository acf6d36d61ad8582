"""Which process of the platform has what in memory, as each reports it in Redis with a lease."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from netra_config.errors import StoreUnavailable
from netra_config.revision import Environment

T = TypeVar("T")

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
    """The reports of one environment; each command ends within the deadline."""

    def __init__(
        self, redis: Redis, namespace: str, environment: Environment, *, deadline: timedelta
    ) -> None:
        self._redis: Any = redis  # the types of its commands are a union with the synchronous client's
        self._deadline = deadline.total_seconds()
        self._prefix = f"{namespace}:config:{environment.value}"
        self._index = f"{self._prefix}:running"

    async def report(self, running: Running, *, lease: timedelta) -> None:
        """Tell what this process has in memory; it is forgotten after *lease*."""
        lease_ms = max(1, round(lease.total_seconds() * 1000))
        keys = (self._index, self._key(running.process))
        said = (running.process, lease_ms, running.model_dump_json())
        await self._ask(lambda: self._redis.eval(_REPORT, len(keys), *keys, *said))

    async def withdraw(self, process: str) -> None:
        """Forget a process that ends."""

        async def forget() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.delete(self._key(process))
                pipe.zrem(self._index, process)
                await pipe.execute()

        await self._ask(forget)

    async def running(self) -> tuple[Running, ...]:
        """Return the reports whose lease holds."""
        members = await self._ask(lambda: self._redis.zrange(self._index, 0, -1))
        names = sorted(_text(name) for name in members)
        if not names:
            return ()
        values = await self._ask(lambda: self._redis.mget([self._key(name) for name in names]))
        return tuple(one for value in values if (one := _read(value)) is not None)

    def _key(self, process: str) -> str:
        return f"{self._prefix}:process:{process}"

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await call()
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error


def _read(value: bytes | str | None) -> Running | None:
    try:
        return None if value is None else Running.model_validate_json(value)
    except ValidationError:
        return None  # not ours


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
