"""What happened to a user lately: a bounded stream for each, and the announcement of what is added."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from pydantic import BaseModel, Field, JsonValue, ValidationError
from pydantic_core import to_json
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from netra_sessions.errors import EventRefused, StoreUnavailable
from netra_sessions.events import DATA, START, order
from netra_sessions.lane import CacheUnavailable, Lane, packed
from netra_sessions.session import UserId, check_user, encode_data

_START: Final = START.encode()
_RETRY_S = 0.05
_CHANCE_BITS = 48

# KEYS: history, ids. ARGV: event id, the event without what is added here, most kept, time to live (ms),
# channel, chance. Answers the event's position, and 1 where it had been added before. The first position of
# a millisecond begins at chance: none comes twice, though Redis lost its memory or its clock was set back.
_APPEND = """
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then return {known, 1} end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local previous, sequence = '0-0', 1
if last then previous, sequence = last[1], last[2][4] + 1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local place = '*'
if now > tonumber(string.match(previous, '%d+')) then place = string.format('%.0f-%s', now, ARGV[6]) end
local id = redis.call('XADD', KEYS[1], place,
  'previous', previous, 'sequence', sequence, 'event_id', ARGV[1], 'body', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], id)
local over = redis.call('XLEN', KEYS[1]) - ARGV[3]
if over > 0 then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', over)) do
    redis.call('HDEL', KEYS[2], entry[2][6])
  end
  redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PUBLISH', ARGV[5],
  '{"id":"' .. id .. '","previous":"' .. previous .. '","sequence":' .. sequence .. ',' .. ARGV[2])
return {id, 0}
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
    """What follows a position; where *broken*, the history doesn't link to it, and goes on after *at*."""

    entries: Sequence[Entry]
    at: bytes
    broken: bool


def channel_of(namespace: str, user: str) -> bytes:
    """Name the channel, and the stream, of a user's events."""
    return f"{namespace}:events:{user}".encode()


class History:
    """The events of one installation's users; calls end within the policy's deadline."""

    def __init__(self, redis: Redis, namespace: str, policy: HistoryPolicy | None = None) -> None:
        self.policy = policy or HistoryPolicy()
        self._namespace = namespace
        self._lane = Lane(redis, timeout=self.policy.deadline)
        self._kept_ms = b"%d" % (self.policy.kept // timedelta(milliseconds=1))

    async def close(self) -> None:
        """Close the connection to Redis that this object opened."""
        await self._lane.close()

    async def append(self, user: str, event_id: str, body: bytes) -> Published:
        """Add an event and announce it, once however often this is called with its *event_id*.

        Raises:
            StoreUnavailable: Redis did not answer; whether the event was added is open.
        """
        channel = channel_of(self._namespace, user)
        ids = f"{self._namespace}:event-ids:{user}".encode()
        limits = (b"%d" % self.policy.events_kept, self._kept_ms)
        chance = b"%d" % secrets.randbits(_CHANCE_BITS)
        arguments = (b"2", channel, ids, event_id.encode(), body, *limits, channel, chance)
        try:
            reply = await self._ask(b"EVALSHA", _APPEND_SHA, *arguments)
        except NoScriptError:
            reply = await self._ask(b"EVAL", _APPEND.encode(), *arguments)
        return Published(id=reply[0].decode(), repeated=bool(reply[1]))

    async def last(self, user: str) -> bytes:
        """Return the position of the user's last event."""
        found = await self._ask(b"XREVRANGE", channel_of(self._namespace, user), b"+", b"-", b"COUNT", b"1")
        return bytes(found[0][0]) if found else _START

    async def read(self, user: str, after: bytes) -> Page:
        """Read the events that follow the position *after*, at most a page of them.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        while True:
            count = b"%d" % (self.policy.page + 1)
            channel = channel_of(self._namespace, user)
            found = [
                _entry(*one) for one in await self._ask(b"XRANGE", channel, after, b"+", b"COUNT", count)
            ]
            if found and found[0].id == after:
                return Page(found[1:], after, broken=False)
            if found:
                return Page(found, found[0].previous, broken=found[0].previous != after)
            last = await self.last(user)
            if last == after:
                return Page((), after, broken=False)
            if order(last) < order(after):  # else an event came between the two questions
                return Page((), last, broken=True)

    async def _ask(self, *command: bytes) -> Any:
        """Ask Redis, again where a connection broke: each question may be repeated."""
        due = asyncio.get_running_loop().time() + self.policy.deadline.total_seconds()
        written = b"*%d\r\n" % len(command) + packed(*command)
        while True:
            try:
                async with asyncio.timeout_at(due):
                    reply = cast(object, await self._lane.send(written))
                break
            except TimeoutError as error:
                raise StoreUnavailable("Redis") from error
            except CacheUnavailable as error:
                if asyncio.get_running_loop().time() + _RETRY_S >= due:
                    raise StoreUnavailable("Redis") from error
                await asyncio.sleep(_RETRY_S)
        if isinstance(reply, NoScriptError):
            raise reply
        if isinstance(reply, ResponseError):
            raise StoreUnavailable("Redis") from reply
        return reply


class Publisher:
    """Publish events for users; it is the `EventSink` that producers take.

    The client stays the caller's; leaving the block, or `close`, closes the one connection opened beside it.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        namespace: str,
        policy: HistoryPolicy | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._history = History(redis, namespace, policy)
        self._clock = clock

    async def __aenter__(self) -> "Publisher":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection to Redis that this object opened."""
        await self._history.close()

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None:
        """Publish an event, as `publish` does."""
        await self.publish(kind, user=user, run=run, event_id=event_id, data=data)

    async def publish(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> Published:
        """Add an event to the user's history and tell every gateway.

        Args:
            kind: one of `netra_sessions.events.DATA`; *data* is held against the model there.
            event_id: the same when the event is sent again, which then changes nothing while the history
                holds it.

        Raises:
            EventRefused: the event is none of the contract's, or larger than the policy allows.
            StoreUnavailable: Redis did not answer within the deadline; publish it again.
        """
        head = {"kind": kind, "event_id": event_id, "user": user, "run": run}
        body = _body(head, self._clock(), data, self._history.policy.event_limit_bytes)
        return await self._history.append(user, event_id, body)


def _body(head: dict[str, str], time: datetime, data: Mapping[str, JsonValue], limit_bytes: int) -> bytes:
    """Write the event, but for what the history adds in front."""
    if head["kind"] not in DATA:
        raise EventRefused("kind")
    for name in ("user", "run", "event_id"):
        try:
            check_user(UserId(head[name]))
        except (TypeError, ValueError):
            raise EventRefused(name) from None
    try:
        written = encode_data(data, limit_bytes=limit_bytes)
        DATA[head["kind"]].model_validate_json(written)
    except (TypeError, ValidationError, ValueError):
        raise EventRefused("data") from None
    body = to_json({**head, "time": time})[1:-1] + b',"data":' + written.encode() + b"}"
    if len(body) > limit_bytes:
        raise EventRefused("size")
    return body


def _entry(id: bytes, fields: Sequence[bytes]) -> Entry:
    """Read an entry whose fields stand in the order in which the script wrote them."""
    _, previous, _, sequence, _, _, _, body = fields
    frame = b'{"id":"%b","previous":"%b","sequence":%b,%b' % (id, previous, sequence, body)
    return Entry(id, previous, frame)
