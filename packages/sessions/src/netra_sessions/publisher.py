"""A run says what it does: events are held against the contract and go into their user's history."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json
from redis.asyncio import Redis

from netra_sessions.errors import EventRefused
from netra_sessions.events import DATA, order
from netra_sessions.history import History, HistoryPolicy, Published
from netra_sessions.session import UserId, check_user, encode_data

_USERS_KNOWN = 10_000


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
        self._known: OrderedDict[str, bytes] = OrderedDict()

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
        known = self._known.get(user, b"")
        published = await self._history.append(user, event_id, body, known=known)
        self._remember(user, published)
        return published

    def _remember(self, user: str, published: Published) -> None:
        """Keep the last position of a user, so that Redis can be told what it lost."""
        position = published.id.encode()
        if user not in self._known or order(position) > order(self._known[user]):
            self._known[user] = position
            self._known.move_to_end(user)
            if len(self._known) > _USERS_KNOWN:
                self._known.popitem(last=False)


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
