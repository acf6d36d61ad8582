"""What happened to a user lately: a bounded stream for each, and the announcement of what is added."""

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel, Field
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from netra_sessions.deadline import due_after, due_within
from netra_sessions.errors import StoreUnavailable
from netra_sessions.events import START, order
from netra_sessions.lane import CacheUnavailable, Lane, packed

_RETRY_S = 0.05
_CHANCE_BITS = 48
_START: Final = START.encode()

# What the two scripts below begin with. A history that is empty begins after a position "0-" and a number
# that this Redis drew when it was empty itself: where it lost its memory, nobody's last position is known.
_LAST: Final = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local previous, sequence = nil, 1
if last then
  previous, sequence = last[1], last[2][4] + 1
else
  redis.call('SETNX', KEYS[2], ARGV[1])
  previous = '0-' .. redis.call('GET', KEYS[2])
end
"""

# KEYS: history, beginning, ids. ARGV: chance, the last position that the producer knows of (or ''), event id,
# the event without what is added here, most kept, time to live (ms), channel. Answers the event's position,
# after a '=' where it stood there before.
#
# The first position of a millisecond begins at chance, so that none comes twice, though Redis lost its memory
# or its clock was set back. Where the producer knows of a later position than Redis, Redis lost that, and nobody
# can tell what else: the event then stands beyond it, and follows a position that nobody has, so that all are told.
_APPEND = f"""
local known = redis.call('HGET', KEYS[3], ARGV[3])
if known then return '=' .. known end
{_LAST}
local ms = tonumber(string.match(previous, '^%d+'))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local place = '*'
if now > ms then place = string.format('%.0f-', now) .. ARGV[1] end
if ARGV[2] ~= '' and ARGV[2] ~= previous then
  local known_ms, known_number = string.match(ARGV[2], '(%d+)-(%d+)')
  local ahead = tonumber(known_ms) - ms
  if ahead > 0 or ahead == 0 and tonumber(known_number) > tonumber(string.match(previous, '%d+$')) then
    place = string.format('%.0f-', math.max(now, known_ms + 1)) .. ARGV[1]
    if last then previous = '1-' .. ARGV[1] end
  end
end
local id = redis.call('XADD', KEYS[1], place,
  'previous', previous, 'sequence', sequence, 'event_id', ARGV[3], 'body', ARGV[4])
redis.call('HSET', KEYS[3], ARGV[3], id)
local over = redis.call('XLEN', KEYS[1]) - ARGV[5]
if over > 0 then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', over)) do
    redis.call('HDEL', KEYS[3], entry[2][6])
  end
  redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[5])
end
if math.floor(now / 1000) ~= math.floor(ms / 1000) then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
redis.call('PUBLISH', ARGV[7],
  '{{"id":"' .. id .. '","previous":"' .. previous .. '","sequence":' .. sequence .. ',' .. ARGV[4])
return id
"""
_APPEND_SHA = hashlib.sha1(_APPEND.encode(), usedforsecurity=False).hexdigest().encode()


class HistoryPolicy(BaseModel, frozen=True):
    """How much of a user's past is kept, and how long Redis may take.

    The last `events_kept` events of a user can be read again, until `kept` after the last of them.
    `event_limit_bytes` bounds one event as JSON; `page` is how many are read at once.
    """

    events_kept: int = Field(default=1_000, ge=1, le=100_000)
    kept: timedelta = Field(default=timedelta(days=7), ge=timedelta(seconds=1))
    event_limit_bytes: int = Field(default=32_768, ge=256)
    page: int = Field(default=100, ge=1)
    deadline: timedelta = Field(default=timedelta(seconds=2), ge=timedelta(milliseconds=1))


class Published(BaseModel, frozen=True):
    """Where an event stands in its user's history; *repeated* where it stood there already."""

    id: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a history, and the frame that tells it."""

    id: bytes
    previous: bytes
    frame: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What stands after a position; where nothing does, *last* is the position of the history's end."""

    entries: Sequence[Entry]
    last: bytes


def is_beginning(position: bytes) -> bool:
    """Tell whether a position is one before a first event."""
    return position.startswith(b"0-")


def channel_of(namespace: str, user: str) -> bytes:
    """Name the channel, and the stream, of a user's events."""
    return f"{namespace}:events:{user}".encode()


class History:
    """The events of one installation's users; calls end within the policy's deadline."""

    def __init__(self, redis: Redis, namespace: str, policy: HistoryPolicy | None = None) -> None:
        self.policy = policy or HistoryPolicy()
        self._namespace = namespace
        self._beginning = f"{namespace}:events-begin".encode()
        self._lane = Lane(redis, timeout=self.policy.deadline / 2)  # for those before us, and for us
        self._kept_ms = b"%d" % (self.policy.kept // timedelta(milliseconds=1))

    async def close(self) -> None:
        """Close the connection to Redis that this object opened."""
        await self._lane.close()

    async def append(self, user: str, event_id: str, body: bytes, *, known: bytes = b"") -> Published:
        """Add an event and announce it, once however often this is called with its *event_id*.

        Args:
            known: the last position of the user that the producer knows of.

        Raises:
            StoreUnavailable: Redis did not answer; whether the event was added is open.
        """
        channel = channel_of(self._namespace, user)
        keys = (b"3", channel, self._beginning, f"{self._namespace}:event-ids:{user}".encode())
        limits = (b"%d" % self.policy.events_kept, self._kept_ms, channel)
        arguments = (*keys, _chance(), known, event_id.encode(), body, *limits)
        with due_within(self.policy.deadline):
            try:
                reply = await self._ask(b"EVALSHA", _APPEND_SHA, *arguments)
            except NoScriptError:
                reply = await self._ask(b"EVAL", _APPEND.encode(), *arguments)
        return Published(id=reply.decode().removeprefix("="), repeated=reply.startswith(b"="))

    async def last(self, user: str) -> bytes:
        """Return the position of the user's last event, or of the beginning where there is none.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        keys = (b"2", channel_of(self._namespace, user), self._beginning)
        return bytes(await self._ask(b"EVAL", _LAST.encode() + b"return previous", *keys, _chance()))

    async def first(self, user: str) -> bytes:
        """Return the position before the user's first event, or `START` where that is no longer kept.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        channel = channel_of(self._namespace, user)
        with due_within(self.policy.deadline):
            while True:
                for found in await self._ask(b"XRANGE", channel, b"-", b"+", b"COUNT", b"1"):
                    previous = _entry(*found).previous
                    return previous if is_beginning(previous) else _START
                if is_beginning(last := await self.last(user)):  # else an event came between the questions
                    return last

    async def read(self, user: str, after: bytes) -> Page:
        """Read what stands after a position, at most a page of it.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        channel, count = channel_of(self._namespace, user), b"%d" % (self.policy.page + 1)
        with due_within(self.policy.deadline):
            while True:
                found = await self._ask(b"XRANGE", channel, after, b"+", b"COUNT", count)
                if found:
                    entries = [_entry(*one) for one in found]
                    return Page(entries[1:] if entries[0].id == after else entries, after)
                last = await self.last(user)
                if is_beginning(last) or order(last) <= order(
                    after
                ):  # else an event came between the questions
                    return Page((), last)

    async def _ask(self, *command: bytes) -> Any:
        """Ask Redis, again where a connection broke: each question may be repeated."""
        due = due_after(self.policy.deadline)
        written = b"*%d\r\n" % len(command) + packed(*command)
        try:
            async with asyncio.timeout_at(due):
                reply = await self._answer(written, last_try=due - self.policy.deadline.total_seconds() / 2)
        except (CacheUnavailable, TimeoutError) as error:
            raise StoreUnavailable("Redis") from error
        if isinstance(reply, NoScriptError):
            raise reply
        if isinstance(reply, ResponseError):
            raise StoreUnavailable("Redis") from reply
        return reply

    async def _answer(self, written: bytes, *, last_try: float) -> object:
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await self._lane.send(written)
            except CacheUnavailable:
                if loop.time() + _RETRY_S >= last_try:
                    raise
                await asyncio.sleep(_RETRY_S)


def _chance() -> bytes:
    return b"%d" % (1 + secrets.randbits(_CHANCE_BITS))


def _entry(id: bytes, fields: Sequence[bytes]) -> Entry:
    """Read an entry whose fields stand in the order in which the script wrote them."""
    _, previous, _, sequence, _, _, _, body = fields
    frame = b'{"id":"%b","previous":"%b","sequence":%b,%b' % (id, previous, sequence, body)
    return Entry(id, previous, frame)
