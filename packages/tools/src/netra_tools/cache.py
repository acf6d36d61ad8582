"""Results that answer equal calls of one tenant, computed by one process while the others wait.

An entry in Redis is the instant it was made (15 digits, ms), the generations of the tool and of its version
(16 characters each) under which its computation began, and the result as JSON, or nothing where it is too long to
be kept: such results are computed side by side. Invalidation draws a new
generation, which voids every entry of another, also those that are still being computed.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from netra_tools.errors import StillRunning, StoreUnavailable
from netra_tools.memory import Memory
from netra_tools.run import TenantId
from netra_tools.signals import Signals, Waiters, woken
from netra_tools.tool import CachePolicy, Tool

KIND: Final = b"filled"
_HEAD: Final = 47
_MS: Final = timedelta(milliseconds=1)
_FIRST: Final = b"-" * 16  # the generation before the first invalidation

# KEYS: entry, generations of tool and version, lock. ARGV: the oldest instant accepted, token, lease (ms).
# Answers the entry, or else the generations, and -1 to the caller who is to compute, or how long another holds.
_LEAD: Final = b"""
local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local entry = found[1]
local generations = (found[2] or '----------------') .. (found[3] or '----------------')
if entry and string.sub(entry, 1, 15) >= ARGV[1] and string.sub(entry, 16, 47) == generations then
  return entry
end
if redis.call('SET', KEYS[4], ARGV[2], 'NX', 'PX', ARGV[3]) then return {generations, -1} end
return {generations, redis.call('PTTL', KEYS[4])}
"""
# KEYS: entry, lock. ARGV: token, channel, what was filled[, entry, time to live (ms)].
# Gives the lock back, with an entry or without, if it is still held; tells those who wait.
_RELEASE: Final = b"""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[4] then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[2], 'filled ' .. ARGV[3])
return 1
"""
# KEYS: lock. ARGV: token, lease (ms). Holds the lock for another lease.
_EXTEND: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


class CacheUse(StrEnum):
    """What the cache had to do with a result."""

    HIT = "hit"
    SHARED = "shared"  # another call computed it meanwhile
    STORED = "stored"
    TOO_LARGE = "too_large"  # not kept: longer than the policy allows
    BYPASSED = "bypassed"  # the caller, or the tool, wanted none
    UNAVAILABLE = "unavailable"  # Redis did not answer; the tool ran all the same


class Kept(NamedTuple):
    """A result as JSON, how the cache came by it, and when it was made, if before this call."""

    data: bytes
    use: CacheUse
    made_ms: int | None = None


class Asked(NamedTuple):
    """A call's place in the cache, the oldest result it accepts, and until when it waits."""

    name: bytes
    entry: bytes
    lock: bytes
    generations: tuple[bytes, bytes]
    policy: CachePolicy
    oldest: bytes
    due: float


class ResultCache:
    """Keep results; each look costs one round trip."""

    def __init__(
        self,
        memory: Memory,
        signals: Signals,
        namespace: str,
        *,
        lease: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._memory = memory
        self._namespace = namespace
        self._channel = signals.channel
        self._lease_ms = lease // _MS
        self._now = now
        self.filled = Waiters()
        signals.on(KIND, self.filled.wake)

    def asked(
        self, tool: Tool[Any, Any], policy: CachePolicy, tenant: TenantId, arguments: bytes,
        *, max_age: timedelta | None, due: float,
    ) -> Asked:  # fmt: skip
        """Name the place of the call; a tenant's names are met by no other's, whatever stands in the arguments."""
        identity = (
            f"{tenant}\n{tool.name}\n{tool.version}\n".encode() + arguments
        )  # no name holds a line's end
        name = hashlib.sha256(identity).hexdigest().encode()
        place = f"{self._namespace}:result:".encode() + name
        generation = f"{self._namespace}:generation:{tool.name}".encode()
        age = policy.lasts if max_age is None else min(max_age, policy.lasts)
        oldest = max(0, self.now_ms() - age // _MS)
        return Asked(
            name=name, entry=place, lock=place + b":lock",
            generations=(generation, generation + b"@" + tool.version.encode()),
            policy=policy, oldest=b"%015d" % oldest, due=due,
        )  # fmt: skip

    def now_ms(self) -> int:
        """Give the present instant in milliseconds."""
        return int(self._now().timestamp() * 1000)

    def age(self, kept: Kept) -> timedelta:
        """Tell how long ago a result was made; zero for one of this call."""
        return (
            timedelta(0) if kept.made_ms is None else max(timedelta(0), (self.now_ms() - kept.made_ms) * _MS)
        )

    async def result(self, asked: Asked, compute: Callable[[], Awaitable[bytes]]) -> Kept:
        """Find the result, or have it computed here or by whoever is at it.

        Raises:
            StillRunning: another process is still at it when the caller's time is over.
        """
        try:
            found = await self._look(asked) or await self._single(asked, compute)
        except StoreUnavailable as error:
            if error.store != "Redis":
                raise
            return Kept(await compute(), CacheUse.UNAVAILABLE)
        return found if found.data else Kept(await compute(), CacheUse.TOO_LARGE)

    async def forget(self, asked: Asked) -> None:
        """Void one result; without Redis there is none."""
        try:
            await self._memory.ask(b"DEL", asked.entry)
        except StoreUnavailable:
            return

    async def invalidate(self, tool: str, version: str | None) -> None:
        """Void all results of a tool, or of one version of it, for every tenant."""
        name = f"{self._namespace}:generation:{tool}" + ("" if version is None else f"@{version}")
        await self._memory.ask(b"SET", name.encode(), secrets.token_hex(8).encode())

    async def _look(self, asked: Asked) -> Kept | None:
        entry, tool, version = await self._memory.ask(b"MGET", asked.entry, *asked.generations)
        if entry is None or entry[:15] < asked.oldest:
            return None
        if entry[15:_HEAD] != (tool or _FIRST) + (version or _FIRST):
            return None
        return _kept(entry, CacheUse.HIT)

    async def _single(self, asked: Asked, compute: Callable[[], Awaitable[bytes]]) -> Kept:
        token = secrets.token_hex(8).encode()
        keys = [asked.entry, *asked.generations, asked.lock]
        while True:
            with self.filled.waiting(asked.name) as filled:
                reply = await self._memory.run(_LEAD, keys, asked.oldest, token, b"%d" % self._lease_ms)
                if isinstance(reply, bytes):
                    return _kept(reply, CacheUse.SHARED)
                generations, held_ms = reply
                if held_ms < 0:
                    return await self._compute(asked, token, generations, compute)
                left = asked.due - asyncio.get_running_loop().time()
                if left <= 0:
                    raise StillRunning(None)
                await woken(filled, min(left, held_ms / 1000 + 0.001))

    async def _compute(
        self, asked: Asked, token: bytes, generations: bytes, compute: Callable[[], Awaitable[bytes]]
    ) -> Kept:
        use = CacheUse.UNAVAILABLE
        made: tuple[bytes, ...] = ()
        async with self._holding(asked.lock, token):
            try:
                data = await compute()
                fits = len(data) <= asked.policy.limit_bytes
                head = b"%015d" % self.now_ms() + generations
                made = (head + data if fits else head, b"%d" % (asked.policy.lasts // _MS))
                use = CacheUse.STORED if fits else CacheUse.TOO_LARGE
            finally:
                told = (token, self._channel, asked.name, *made)
                if not await self._released([asked.entry, asked.lock], told):
                    use = CacheUse.UNAVAILABLE
        return Kept(data, use)

    async def _released(self, keys: list[bytes], told: tuple[bytes, ...]) -> bool:
        try:
            return bool(await self._memory.run(_RELEASE, keys, *told))
        except StoreUnavailable:
            return False

    @asynccontextmanager
    async def _holding(self, lock: bytes, token: bytes) -> AsyncIterator[None]:
        keeping = asyncio.create_task(self._keep(lock, token), name="holding a result's place")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _keep(self, lock: bytes, token: bytes) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            try:
                await self._memory.run(_EXTEND, [lock], token, b"%d" % self._lease_ms)
            except StoreUnavailable:
                continue  # it may answer again before the lease is over


def _kept(entry: bytes, use: CacheUse) -> Kept:
    return Kept(entry[_HEAD:], use, int(entry[:15]))
