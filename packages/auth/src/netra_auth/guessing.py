"""Limits on guessing, by account and by address: an attempt is counted before it is known to be wrong."""

import hashlib
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, Field
from redis.asyncio import Redis

from netra_auth.clock import Clock, utc_now
from netra_auth.errors import AuthError, StoreUnavailable
from netra_auth.store.memory import Memory

_SECOND = timedelta(seconds=1)

# KEYS: counters. ARGV: now, then of each counter: limit, first delay, longest delay, forgets (all times in ms)
# Answers 1 or 0 (may the attempt be made?), then of each counter until when it is locked, or 0.
_RESERVE = """
local now, seen, locks, free = tonumber(ARGV[1]), {}, {}, 1
for i, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'failures', 'since', 'until')
  local failures, since = tonumber(held[1] or 0), tonumber(held[2] or now)
  local forgotten = math.max(0, math.floor((now - since) / ARGV[i * 4 + 1]))
  seen[i] = {math.max(0, failures - forgotten), since + forgotten * ARGV[i * 4 + 1]}
  if seen[i][1] == 0 then seen[i][2] = now end
  locks[i] = tonumber(held[3] or 0)
  if locks[i] > now then free = 0 else locks[i] = 0 end
end
if free == 0 then return {0, unpack(locks)} end
for i, key in ipairs(KEYS) do
  local failures, limit = seen[i][1] + 1, tonumber(ARGV[i * 4 - 2])
  local longest = tonumber(ARGV[i * 4])
  if failures >= limit then
    locks[i] = now + math.min(longest, ARGV[i * 4 - 1] * 2 ^ math.min(failures - limit, 40))
  end
  redis.call('HSET', key, 'failures', failures, 'since', seen[i][2], 'until', locks[i])
  redis.call('PEXPIRE', key, failures * ARGV[i * 4 + 1] + longest)
end
return {1, unpack(locks)}
"""

# KEYS: counters. ARGV: how many of the first to clear, then of each counter: limit, the lock that the attempt set
_GIVE_BACK = """
for i, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'failures', 'until')
  if i <= tonumber(ARGV[1]) then
    redis.call('DEL', key)
  elseif held[1] then
    local failures = math.max(0, held[1] - 1)
    redis.call('HSET', key, 'failures', failures)
    if failures < tonumber(ARGV[i * 2]) or tonumber(held[2]) == tonumber(ARGV[i * 2 + 1]) then
      redis.call('HSET', key, 'until', 0)
    end
  end
end
"""


class Limit(BaseModel, frozen=True, extra="forbid"):
    """How many wrong attempts are free, and how long the next has to wait after that.

    Each wrong attempt from the *failures*-th on locks for twice as long as the one before, up to
    `longest_delay`; one is forgotten every `forgets`.
    """

    failures: int = Field(ge=1, le=1000)
    first_delay: timedelta = Field(default=timedelta(seconds=30), ge=_SECOND)
    longest_delay: timedelta = Field(default=timedelta(hours=1), ge=_SECOND)
    forgets: timedelta = Field(default=timedelta(hours=1), ge=_SECOND)


class WithoutRedis(StrEnum):
    """What happens to a sign-in while attempts can't be counted."""

    CLOSED = "nobody signs in"
    OPEN = "attempts are not limited"


class GuessingPolicy(BaseModel, frozen=True, extra="forbid"):
    """Limits by account and by address; `deadline` is how long Redis may take to count an attempt.

    Source:
        NIST SP 800-63B-4, section 3.2.2: no more than 100 in a row, and delays that grow.
    """

    account: Limit = Limit(failures=5)
    address: Limit = Limit(failures=50, forgets=timedelta(minutes=1))
    without_redis: WithoutRedis = WithoutRedis.CLOSED
    deadline: timedelta = Field(default=timedelta(seconds=2), gt=timedelta(0))


class Attempt(BaseModel, frozen=True):
    """One attempt that was counted, or refused; `locks` where it locks unless it is given back."""

    keys: tuple[str, ...]
    limits: tuple[Limit, ...]
    until_ms: tuple[int, ...]
    admitted: bool
    counted: bool

    @property
    def locks(self) -> bool:
        """Whether the next one has to wait if this one is wrong."""
        return self.admitted and any(self.until_ms)


class Guessing:
    """Count attempts in Redis, where every process counts together; each call is one script.

    Args:
        namespace: what the keys start with, the kind of secret that is guessed included.
    """

    def __init__(
        self, *, redis: Redis, namespace: str, policy: GuessingPolicy,
        clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._memory = Memory(redis, deadline=policy.deadline)
        self._namespace = namespace
        self._policy = policy
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._memory.close()

    async def reserve(self, account: str, address: str | None) -> Attempt:
        """Count an attempt as a wrong one before it is made.

        Args:
            account: what is guessed at; that nobody has such an account makes no difference.
            address: where the attempt comes from; of IPv6 the first 64 bits count, which one customer has.

        Raises:
            StoreUnavailable: Redis did not answer, and the policy is closed.
        """
        keys = [self._key("account", account)]
        limits = [self._policy.account]
        if address is not None:
            keys.append(self._key("address", _network(address)))
            limits.append(self._policy.address)
        times = [ms for limit in limits for ms in _arguments(limit)]
        try:
            admitted, *until_ms = await self._memory.run(_RESERVE, keys, _ms(self._clock()), *times)
        except StoreUnavailable:
            if self._policy.without_redis is WithoutRedis.CLOSED:
                raise
            return _attempt(keys, limits, [0] * len(keys), admitted=True, counted=False)
        return _attempt(keys, limits, until_ms, admitted=bool(admitted), counted=bool(admitted))

    async def succeeded(self, attempt: Attempt) -> None:
        """Take back that the attempt was wrong, and what was wrong before at this account, not this address.

        Raises:
            StoreUnavailable: Redis did not answer, and the policy is closed.
        """
        await self._give_back(attempt, clear=1)

    @asynccontextmanager
    async def checking(self, attempt: Attempt) -> AsyncIterator[None]:
        """Take back the attempt where the block, which finds out whether it is right, can't."""
        try:
            yield
        except AuthError:
            with suppress(StoreUnavailable):
                await self._give_back(attempt, clear=0)
            raise

    async def _give_back(self, attempt: Attempt, *, clear: int) -> None:
        if not attempt.counted:
            return
        each = zip(attempt.limits, attempt.until_ms, strict=True)
        arguments = [number for limit, until_ms in each for number in (limit.failures, until_ms)]
        try:
            await self._memory.run(_GIVE_BACK, list(attempt.keys), clear, *arguments)
        except StoreUnavailable:
            if self._policy.without_redis is WithoutRedis.CLOSED:
                raise

    def _key(self, kind: str, what: str) -> str:
        return f"{self._namespace}:{kind}:{digest(what)}"


def digest(what: str) -> str:
    """Name what must not be shown: the SHA-256 of it, in hex."""
    return hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()


def _attempt(
    keys: Sequence[str], limits: Sequence[Limit], until_ms: Sequence[int], *, admitted: bool, counted: bool
) -> Attempt:
    return Attempt(
        keys=tuple(keys), limits=tuple(limits), until_ms=tuple(until_ms), admitted=admitted, counted=counted
    )


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


def _arguments(limit: Limit) -> tuple[int, ...]:
    delays = (limit.first_delay, limit.longest_delay, limit.forgets)
    return (limit.failures, *(delay // timedelta(milliseconds=1) for delay in delays))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
