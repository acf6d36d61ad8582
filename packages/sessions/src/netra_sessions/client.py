"""A user's events as an async iterator that outlives its connections."""

import asyncio
import inspect
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from pydantic import BaseModel, Field, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.uri import parse_uri

from netra_sessions.closing import CloseCode
from netra_sessions.errors import HandshakeRefused, SessionEnded
from netra_sessions.events import (
    GATEWAY_FRAME,
    START,
    Connected,
    Envelope,
    FrameRefused,
    Gap,
    Pong,
    RunEvent,
    order,
)
from netra_sessions.handshake import PROTOCOL
from netra_sessions.session import EndReason

Token = Callable[[], str | Awaitable[str]]
"""Gives a token that holds now; it is asked before each connection."""

_REFUSALS = 2  # with a fresh token each time


class ClientPolicy(BaseModel, frozen=True):
    """How soon a client notices a dead connection, and how long it waits before the next attempt.

    The wait is drawn from 0 to `retry_first`, doubled with each failure up to `retry_longest`; it begins anew
    with each event, and with a connection that lasted for a `heartbeat`.
    `remembered` is how many events' ids are kept to drop repeats.
    """

    heartbeat: timedelta = Field(default=timedelta(seconds=20), gt=timedelta(0))
    deadline: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    retry_first: timedelta = Field(default=timedelta(milliseconds=200), gt=timedelta(0))
    retry_longest: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    remembered: int = Field(default=1_000, ge=1)
    event_limit_bytes: int = Field(default=131_072, ge=1_024)


class RealtimeClient:
    """Iterate over the events of the token's user: in order, none twice, and a `Gap` where some may be missing.

    Args:
        uris: gateways, `ws://` or `wss://`; one that fails or goes away is followed by the next.
        token: asked before each connection.
        after: the position of the last event seen; `netra_sessions.events.START` for all that is kept, None
            for what happens from the moment the block was entered.

    Raises:
        ValueError: *after* is no position, or an address is none.
    """

    def __init__(
        self,
        uris: str | Sequence[str],
        token: Token,
        *,
        after: str | None = None,
        policy: ClientPolicy | None = None,
    ) -> None:
        self._uris = (uris,) if isinstance(uris, str) else tuple(uris)
        if not self._uris:
            raise ValueError("a client needs at least one gateway's address")
        for uri in self._uris:
            try:
                parse_uri(uri)
            except InvalidURI as error:
                raise ValueError("a gateway's address is ws://host:port/events, or wss://…") from error
        if after is not None:
            order(after)
        self._token = token
        self._policy = policy or ClientPolicy()
        self._position = after
        self._connection: ClientConnection | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._turn = secrets.randbelow(len(self._uris))
        self._failures = 0
        self._refusals = 0
        self._greeted_at = 0.0

    @property
    def position(self) -> str | None:
        """Return the position to resume from, in another process for example."""
        return self._position

    async def __aenter__(self) -> Self:
        """Connect, however long it takes.

        Raises:
            HandshakeRefused: the token was refused, and so was the one after it.
            SessionEnded: the session ended.
        """
        while self._connection is None:
            await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "RunEvent | Gap":
        return await self.next()

    async def next(self) -> "RunEvent | Gap":
        """Wait for the next event, through lost connections.

        Raises:
            HandshakeRefused: the token was refused, and so was the one after it.
            SessionEnded: the session ended.
        """
        while True:
            if self._connection is None:
                await self._connect()
                continue
            try:
                frame = await self._connection.recv()
            except ConnectionClosed as closed:
                await self._lost(closed)
                continue
            event = await self._take(frame)
            if event is not None:
                return event

    async def _connect(self) -> None:
        """Try one gateway; what fails is waited for, and the next attempt goes to the next."""
        await self._wait()
        token = self._token()
        token = await token if inspect.isawaitable(token) else token
        query = "" if self._position is None else "?" + urlencode({"after": self._position})
        every = self._policy.heartbeat.total_seconds()
        connection: ClientConnection | None = None
        try:
            async with asyncio.timeout(self._policy.deadline.total_seconds()):
                connection = await connect(
                    self._uris[self._turn % len(self._uris)] + query,
                    additional_headers={"Authorization": f"Bearer {token}"}, subprotocols=[PROTOCOL],
                    compression=None, open_timeout=None, close_timeout=1, ping_interval=every,
                    ping_timeout=every, max_size=self._policy.event_limit_bytes,
                )  # fmt: skip
                self._greeted(await connection.recv())
        except ConnectionClosed as closed:
            await self._lost(closed)
        except InvalidStatus as refused:
            self._refused(refused.response.status_code)
        except (InvalidHandshake, InvalidURI, OSError, ValidationError):
            self._failed()
        else:
            self._connection, connection = connection, None
        finally:
            if connection is not None:
                connection.transport.abort()

    async def _wait(self) -> None:
        """Wait before an attempt that follows a failure, not all clients equally long."""
        if self._failures:
            first, longest = self._policy.retry_first, self._policy.retry_longest
            most_s = min(longest.total_seconds(), first.total_seconds() * 2 ** min(self._failures - 1, 30))
            await asyncio.sleep(secrets.SystemRandom().uniform(0, most_s))

    def _greeted(self, frame: str | bytes) -> None:
        greeting = Connected.model_validate_json(frame)
        self._refusals = 0
        self._greeted_at = asyncio.get_running_loop().time()
        if self._position in (None, START):
            self._position = greeting.at

    def _refused(self, status: int) -> None:
        if status in (401, 403):
            self._refusals += 1
            if self._refusals >= _REFUSALS:
                raise HandshakeRefused(status)
        self._failed()

    def _failed(self) -> None:
        """Turn to the next gateway, later than the last time."""
        self._failures += 1
        self._turn += 1

    async def _lost(self, closed: ConnectionClosed) -> None:
        if self._connection is not None:
            lasted = asyncio.get_running_loop().time() - self._greeted_at
            self._failures *= lasted < self._policy.heartbeat.total_seconds()
        await self._hang_up()
        code = closed.rcvd.code if closed.rcvd is not None else None
        if code == CloseCode.SESSION_ENDED:
            assert closed.rcvd is not None
            try:
                reason = EndReason(closed.rcvd.reason)
            except ValueError:
                reason = EndReason.REVOKED
            raise SessionEnded(reason)
        if code == CloseCode.TOKEN_EXPIRED:
            self._refused(401)
        else:
            self._failed()

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _take(self, frame: str | bytes) -> "RunEvent | Gap | None":
        """Return what the frame says, if that is new."""
        try:
            said: RunEvent | Connected | Gap | Pong | FrameRefused = GATEWAY_FRAME.validate_json(frame)
        except ValidationError:
            await self._take_unknown(frame)
            return None
        if isinstance(said, Gap):
            self._position = said.at
            return said
        if isinstance(said, Connected | Pong | FrameRefused):
            return None
        return said if await self._is_next(said) else None

    async def _take_unknown(self, frame: str | bytes) -> None:
        """Pass over an event of a kind that came after this client, but not over its place."""
        try:
            await self._is_next(Envelope.model_validate_json(frame))
        except ValidationError:
            return

    async def _is_next(self, event: Envelope) -> bool:
        """Tell whether *event* is to be passed on, and move to it; where one is missing, ask for it again."""
        position = self._position
        if position is not None and event.previous != position:
            if order(event.id) > order(position):
                await self._hang_up()
                self._failed()
            return False
        self._position, self._failures = event.id, 0
        if event.event_id in self._seen:
            return False
        self._seen[event.event_id] = None
        if len(self._seen) > self._policy.remembered:
            self._seen.popitem(last=False)
        return True
