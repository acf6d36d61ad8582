"""Which connections a user has, on whichever gateway; a lease that isn't renewed ends by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from netra_sessions.errors import StoreUnavailable

# KEYS: connections. ARGV: lease (ms), most, connection. Answers whether it was let in.
_ENTER: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""

# KEYS: connections. ARGV: lease (ms), connection…
_RENEW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""

# KEYS: connections. Answers those whose lease holds.
_PRESENT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
"""
_AT_ONCE = 200
_TOGETHER = 16  # of the caller's connections to Redis, however many come and go at once


class Presence:
    """The registered connections of one installation; calls end within the deadline."""

    def __init__(self, redis: Redis, namespace: str, *, lease: timedelta, deadline: timedelta) -> None:
        self._redis = redis
        self._namespace = namespace
        self._lease_ms = lease // timedelta(milliseconds=1)
        self._deadline_s = deadline.total_seconds()
        self._turns = asyncio.Semaphore(_TOGETHER)

    async def enter(self, user: str, connection: str, *, most: int) -> bool:
        """Register a connection, unless the user has as many as allowed.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return bool(await self._eval(_ENTER, user, self._lease_ms, most, connection))

    async def renew(self, connections: Mapping[str, Iterable[str]]) -> None:
        """Prolong the leases of users' connections; those that had lapsed come back.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        users = list(connections.items())
        for start in range(0, len(users), _AT_ONCE):
            pipe = self._redis.pipeline(transaction=False)
            for user, present in users[start : start + _AT_ONCE]:
                pipe.execute_command("EVAL", _RENEW, 1, self._key(user), self._lease_ms, *present)
            await self._within_deadline(pipe.execute)

    async def leave(self, user: str, connection: str) -> None:
        """Strike a connection out.

        Raises:
            StoreUnavailable: Redis did not answer; the lease ends by itself.
        """
        await self._within_deadline(lambda: self._redis.zrem(self._key(user), connection))

    async def connections(self, user: str) -> frozenset[str]:
        """List the user's connections, on all gateways.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        found = await self._eval(_PRESENT, user)
        return frozenset(one.decode() if isinstance(one, bytes) else str(one) for one in found)

    def _key(self, user: str) -> str:
        return f"{self._namespace}:connections:{user}"

    async def _eval(self, script: str, user: str, *arguments: str | int) -> Any:
        return await self._within_deadline(
            lambda: self._redis.execute_command("EVAL", script, 1, self._key(user), *arguments)
        )

    async def _within_deadline(self, asked: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(self._deadline_s), self._turns:
                return await asked()
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error
