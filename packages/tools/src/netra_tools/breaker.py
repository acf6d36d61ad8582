"""A tool that fails too often is given a rest, by all workers at once.

What Redis holds of a tool: counts of this window, while nothing is wrong; and while the tool rests, until when,
and the probes that were let through. Times are those of Redis.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Final, TypeVar

from netra_tools.errors import CircuitOpen, StoreUnavailable, ToolError, TransientError
from netra_tools.memory import Memory
from netra_tools.signals import Signals
from netra_tools.tool import BreakerPolicy, Tool

R = TypeVar("R")
KIND: Final = b"breaker"
_NOW: Final = b"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function rest()
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], 'until', now + ARGV[2])
  redis.call('PUBLISH', ARGV[1], 'breaker ' .. ARGV[3] .. ' ' .. ARGV[2])
  return tonumber(ARGV[2])
end
"""
# KEYS: counts, rest. ARGV: channel, rest (ms), tool, failures, ratio, window (ms), successes, '1' for a probe.
# Counts a failure. Answers how long the tool rests (ms), 0 where it may be probed, or -1 where it is fine.
_FAILED: Final = (
    _NOW
    + b"""
local resting = redis.call('HGET', KEYS[2], 'until')
if resting then
  if ARGV[8] == '1' then return rest() end
  return math.max(0, resting - now)
end
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
local successes = redis.call('HINCRBY', KEYS[1], 'successes', ARGV[7])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
if failures >= tonumber(ARGV[4]) and failures / (failures + successes) >= tonumber(ARGV[5]) then
  return rest()
end
return -1
"""
)
# KEYS: counts, rest. ARGV: channel, time a probe is given (ms), tool, probes.
# Answers how long to wait (ms), 0 to the caller of a probe, or -1 where the tool no longer rests.
_ADMIT: Final = (
    _NOW
    + b"""
local found = redis.call('HMGET', KEYS[2], 'until', 'given', 'lapse')
if not found[1] then return -1 end
if now < tonumber(found[1]) then return found[1] - now end
local given = tonumber(found[2] or '0')
if now >= tonumber(found[3] or '0') then
  given = 0
  redis.call('HSET', KEYS[2], 'lapse', now + ARGV[2], 'passed', 0)
end
if given >= tonumber(ARGV[4]) then return math.max(1, redis.call('HGET', KEYS[2], 'lapse') - now) end
redis.call('HSET', KEYS[2], 'given', given + 1)
return 0
"""
)
# KEYS: counts, rest. ARGV: channel, probes, tool. Counts a probe that succeeded; the last of them ends the rest.
_PASSED: Final = b"""
if redis.call('EXISTS', KEYS[2]) == 0 then return -1 end
if redis.call('HINCRBY', KEYS[2], 'passed', 1) < tonumber(ARGV[2]) then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('PUBLISH', ARGV[1], 'breaker ' .. ARGV[3] .. ' -1')
return -1
"""
# KEYS: counts, rest. Takes a probe back that was let through.
_GIVEN_BACK: Final = b"""
if tonumber(redis.call('HGET', KEYS[2], 'given') or '0') > 0 then redis.call('HINCRBY', KEYS[2], 'given', -1) end
return 0
"""
# KEYS: (counts, rest) of each tool. Answers how long each rests (ms), 0 or -1.
_READ: Final = b"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i = 2, #KEYS, 2 do
  local resting = redis.call('HGET', KEYS[i], 'until')
  found[i / 2] = resting and math.max(0, resting - now) or -1
end
return found
"""


class Breaker:
    """What this process knows of one tool's breaker; while nothing fails it asks nobody."""

    def __init__(
        self, tool: Tool[Any, Any], policy: BreakerPolicy, memory: Memory, namespace: str, channel: bytes
    ) -> None:
        name = tool.name.encode()
        self.keys = [f"{namespace}:breaker:{tool.name}:{part}".encode() for part in ("counts", "rest")]
        self._policy = policy
        self._memory = memory
        self._name = tool.name
        self._probe_ms = _ms(tool.patience + timedelta(seconds=1))
        self._shared = (channel, _ms(policy.rest), name)
        self._window_s = policy.window.total_seconds()
        self._counting_since = time.monotonic()
        self._successes = 0
        self._rests_until: float | None = None

    def hear(self, left_ms: int) -> None:
        """Take in how long the tool rests from now; negative where it doesn't."""
        self._rests_until = None if left_ms < 0 else time.monotonic() + left_ms / 1000

    def check(self) -> None:
        """Refuse at once what would be refused anyway.

        Raises:
            CircuitOpen: the tool rests.
        """
        if self._rests_until is not None and (left := self._rests_until - time.monotonic()) > 0:
            raise CircuitOpen(self._name, timedelta(seconds=left))

    async def call(self, attempt: Callable[[], Awaitable[R]]) -> R:
        """Await *attempt* unless the tool rests.

        Raises:
            CircuitOpen: the tool rests, or enough others probe it.
        """
        probing = self._rests_until is not None and await self._admitted()
        try:
            result = await attempt()
        except asyncio.CancelledError:
            if probing:
                await self._given_back()
            raise
        except Exception as error:
            if counts(error):
                await self._failed(probing=probing)
            elif probing:
                await self._passed()
            raise
        if probing:
            await self._passed()
        else:
            self._successes += 1
        return result

    async def _admitted(self) -> bool:
        self.check()
        channel, _, name = self._shared
        probes = b"%d" % self._policy.probes
        try:
            left = await self._memory.run(_ADMIT, self.keys, channel, self._probe_ms, name, probes)
        except StoreUnavailable:
            return False  # nobody can say any more that the tool rests
        if left > 0:
            self.hear(left)
            raise CircuitOpen(self._name, timedelta(milliseconds=left))
        if left < 0:
            self.hear(-1)
        return bool(left == 0)

    async def _failed(self, *, probing: bool) -> None:
        policy, now = self._policy, time.monotonic()
        fresh = now - self._counting_since <= self._window_s
        successes, self._successes = self._successes if fresh else 0, 0
        self._counting_since = now
        limits = (b"%d" % policy.failures, b"%f" % policy.ratio, _ms(policy.window))
        told = (b"%d" % successes, b"1" if probing else b"0")
        try:
            self.hear(await self._memory.run(_FAILED, self.keys, *self._shared, *limits, *told))
        except StoreUnavailable:
            return

    async def _given_back(self) -> None:
        """Let another probe in place of one that was cancelled, which tells nothing of the tool."""
        try:
            await self._memory.run(_GIVEN_BACK, self.keys)
        except StoreUnavailable:
            return

    async def _passed(self) -> None:
        channel, _, name = self._shared
        try:
            self.hear(await self._memory.run(_PASSED, self.keys, channel, b"%d" % self._policy.probes, name))
        except StoreUnavailable:
            return


class Breakers:
    """The breakers of a process's tools, kept alike with those of all others."""

    def __init__(self, memory: Memory, signals: Signals, namespace: str) -> None:
        self._memory = memory
        self._namespace = namespace
        self._channel = signals.channel
        self._known: dict[str, Breaker] = {}
        signals.on(KIND, self._hear)

    def of(self, tool: Tool[Any, Any]) -> Breaker | None:
        """Give the breaker of *tool*, shared by its versions; None where it has none."""
        if tool.breaker is None:
            return None
        if tool.name not in self._known:
            self._known[tool.name] = Breaker(tool, tool.breaker, self._memory, self._namespace, self._channel)
        return self._known[tool.name]

    async def refresh(self, tools: Iterable[Tool[Any, Any]]) -> None:
        """Read how all *tools* stand: announcements were missed."""
        breakers = [breaker for tool in tools if (breaker := self.of(tool)) is not None]
        keys = [key for breaker in breakers for key in breaker.keys]
        if keys:
            found = await self._memory.run(_READ, keys)
            for breaker, left in zip(breakers, found, strict=True):
                breaker.hear(left)

    def _hear(self, about: bytes) -> None:
        name, _, left = about.rpartition(b" ")
        breaker = self._known.get(name.decode(errors="replace"))
        if breaker is not None and left.removeprefix(b"-").isdigit():
            breaker.hear(int(left))


def counts(error: Exception) -> bool:
    """Tell a tool that doesn't work from one that works and says no."""
    return not isinstance(error, ToolError) or isinstance(error, TransientError)


def _ms(duration: timedelta) -> bytes:
    return b"%d" % max(1, duration // timedelta(milliseconds=1))
