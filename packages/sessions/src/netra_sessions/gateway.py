"""Events reach a user's screens, in order: the server that holds the screens' connections."""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from pydantic import BaseModel, Field
from redis.asyncio import Redis
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from netra_sessions.closing import CloseCode
from netra_sessions.delivery import Delivery
from netra_sessions.errors import StoreUnavailable
from netra_sessions.handshake import PATH, PROTOCOL, Authentication, Door, Refused, Screen
from netra_sessions.history import HistoryPolicy, channel_of
from netra_sessions.link import Link
from netra_sessions.presence import Presence
from netra_sessions.session import Ending

Endings = Callable[[], AbstractAsyncContextManager[AsyncIterator[Ending]]]
"""Opens the endings of sessions; `Sessions.endings` does."""

_ENDED_REMEMBERED = 10_000
_WRITE_LIMIT_BYTES = 32_768  # written ahead of a connection that reads its history
_log: Final = logging.getLogger("netra_sessions.gateway")
_library_log: Final = logging.getLogger("netra_sessions.websockets")
_library_log.setLevel(logging.CRITICAL)  # it reports every client's mistake with a traceback


class GatewayPolicy(BaseModel, frozen=True):
    """What a gateway allows a connection, and how soon it notices that one is gone.

    A connection is closed after two missed `heartbeat`s. What was written and not read is at most
    `unread_limit_bytes` and one event a connection. `drain` bounds the closing of all connections.
    """

    heartbeat: timedelta = Field(default=timedelta(seconds=20), ge=timedelta(milliseconds=10))
    lease: timedelta = Field(default=timedelta(seconds=60), ge=timedelta(milliseconds=100))
    deadline: timedelta = Field(default=timedelta(seconds=2), ge=timedelta(milliseconds=10))
    drain: timedelta = Field(default=timedelta(seconds=10), ge=timedelta(0))
    connections_per_user: int = Field(default=20, ge=1)
    frames_per_second: float = Field(default=10, gt=0)
    frame_limit_bytes: int = Field(default=4_096, ge=64)
    unread_limit_bytes: int = Field(default=1_048_576, ge=1_024)
    history: HistoryPolicy = HistoryPolicy()


class Gateway:
    """Serve one installation's events over WebSockets; enter the block to listen, leave it to drain.

    Args:
        redis: stays the caller's; two connections are opened beside it.
        authentication: who may connect.
        endings: `Sessions.endings`, or what opens the like; a session's end closes its connections.
        origins: the web pages that may connect, as `https://app.example.com`.
        port: 0 for any free one; see `uri`.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        namespace: str,
        authentication: Authentication,
        endings: Endings,
        origins: Iterable[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        policy: GatewayPolicy | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._policy = policy = policy or GatewayPolicy()
        self._namespace = namespace
        self._door = Door(authentication, origins=origins)
        self._endings = endings
        self._address = (host, port)
        self._clock = clock
        self._presence = Presence(redis, namespace, lease=policy.lease, deadline=policy.deadline)
        self._delivery = Delivery(
            redis, namespace, history=policy.history, deadline=policy.deadline,
            unread_limit_bytes=policy.unread_limit_bytes, close=self._close_soon,
        )  # fmt: skip
        self._open: set[Link] = set()
        self._sessions: dict[str, set[Link]] = defaultdict(set)
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._stop = asyncio.Event()
        self._draining = False
        self._server: Server | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        """Return where clients connect to, once the block was entered."""
        assert self._server is not None, "enter the block first"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"ws://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    @property
    def connections(self) -> int:
        """Return how many connections are open here."""
        return len(self._open)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            OSError: the address can't be had.
            StoreUnavailable: a store did not answer within its deadline.
        """
        ready = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(ready))
        await asyncio.wait([ready, self._running], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await self._running
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        await self.closed()

    async def closed(self) -> None:
        """Wait until the gateway ended, and raise what ended it, if it was not asked to."""
        assert self._running is not None, "enter the block first"
        await asyncio.shield(self._running)

    async def _run(self, ready: "asyncio.Future[None]") -> None:
        await self._delivery.reachable()
        async with self._endings() as endings:
            self._server = await self._bound()
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    upkeep = (self._delivery.run(), self._follow(endings), self._beat(), self._keep_leases())
                    background = [self._tasks.create_task(one) for one in upkeep]
                    await self._server.start_serving()
                    ready.set_result(None)
                    await self._stop.wait()
                    await self._drain(self._server)
                    for task in background:
                        task.cancel()
            finally:
                self._server.close()
                await self._server.wait_closed()

    async def _bound(self) -> Server:
        """Take the address; frames are neither compressed, which costs a connection 64 KB, nor queued."""
        return await serve(
            self._serve, *self._address, process_request=self._admit, create_connection=Screen,
            select_subprotocol=_spoken, compression=None, server_header=None, ping_interval=None,
            max_size=self._policy.frame_limit_bytes, max_queue=1, write_limit=_WRITE_LIMIT_BYTES,
            close_timeout=self._policy.deadline.total_seconds(), start_serving=False, logger=_library_log,
        )  # fmt: skip

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, Screen)
        try:
            if self._draining:
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE)
            connection.caller, connection.after = self._door.admit(request)
        except Refused as refused:
            if refused.__cause__ is not None:
                _log.error("tokens can't be verified", extra={"error": type(refused.__cause__).__name__})
            response = connection.respond(refused.status, refused.status.phrase + "\n")
            if refused.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        return None

    async def _serve(self, screen: ServerConnection) -> None:
        assert isinstance(screen, Screen)
        user, session = screen.caller.user, str(screen.caller.session)
        link = Link(screen, user, session, channel_of(self._namespace, user))
        self._remember(link)
        try:
            try:
                await self._welcome(link)
            except StoreUnavailable:
                self._close_soon(link, CloseCode.UNAVAILABLE, "try again later")
            await self._receive(link)
        except ConnectionClosed:
            pass
        finally:
            await self._forget(link)

    async def _welcome(self, link: Link) -> None:
        """Let the link have its events, or say why not."""
        if self._draining:
            self._close_soon(link, CloseCode.GOING_AWAY, "going away")
        elif (reason := self._ended.get(link.session)) is not None:
            self._close_soon(link, CloseCode.SESSION_ENDED, reason)
        elif not await self._presence.enter(link.user, link.id, most=self._policy.connections_per_user):
            self._close_soon(link, CloseCode.TOO_MANY_CONNECTIONS, "too many connections")
        else:
            await self._delivery.join(link, link.screen.after)

    async def _receive(self, link: Link) -> None:
        """Read until the end, also while closing: an answer to our goodbye may stand behind other frames."""
        loop = asyncio.get_running_loop()
        async for frame in link.screen:
            if link.closing:
                continue
            if not link.allows(loop.time(), per_second=self._policy.frames_per_second):
                self._close_soon(link, CloseCode.TOO_MANY_FRAMES, "too many frames")
            elif isinstance(frame, bytes):
                self._close_soon(link, CloseCode.NOT_TEXT, "frames are text")
            else:
                await link.take(frame)

    def _remember(self, link: Link) -> None:
        self._open.add(link)
        self._sessions[link.session].add(link)
        left_s = (link.screen.caller.expires_at - self._clock()).total_seconds()
        link.expiry = asyncio.get_running_loop().call_later(
            max(0.0, left_s), self._close_soon, link, CloseCode.TOKEN_EXPIRED, "the token expired"
        )

    async def _forget(self, link: Link) -> None:
        self._open.discard(link)
        self._sessions[link.session].discard(link)
        if not self._sessions[link.session]:
            del self._sessions[link.session]
        if link.expiry is not None:
            link.expiry.cancel()
        await self._delivery.leave(link)
        with suppress(StoreUnavailable):
            await self._presence.leave(link.user, link.id)

    async def _follow(self, endings: AsyncIterator[Ending]) -> None:
        async for ending in endings:
            session, reason = str(ending.session), ending.reason.value
            self._ended[session] = reason
            if len(self._ended) > _ENDED_REMEMBERED:
                self._ended.popitem(last=False)
            for link in self._sessions.get(session, ()):
                self._close_soon(link, CloseCode.SESSION_ENDED, reason)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._policy.heartbeat.total_seconds())
            for link in tuple(self._open):
                with suppress(ConnectionClosed):
                    if not await link.beat():
                        self._close_soon(link, CloseCode.UNRESPONSIVE, "two heartbeats were missed")

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._policy.lease.total_seconds() / 3)
            held: dict[str, list[str]] = defaultdict(list)
            for link in self._open:
                held[link.user].append(link.id)
            with suppress(StoreUnavailable):
                await self._presence.renew(held)

    def _close_soon(self, link: Link, code: CloseCode, reason: str) -> None:
        assert self._tasks is not None, "links are open while it runs"
        self._tasks.create_task(self._close(link, code, reason))

    async def _close(self, link: Link, code: CloseCode, reason: str) -> None:
        patience_s = 0 if code is CloseCode.UNRESPONSIVE else self._policy.deadline.total_seconds()
        await link.close(code, reason, patience_s=patience_s)

    async def _drain(self, server: Server) -> None:
        """Let nobody in any more, and send everybody to another process after all that was written."""
        self._draining = True
        server.close(close_connections=False)
        closing = (self._close(link, CloseCode.GOING_AWAY, "going away") for link in self._open)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._policy.drain.total_seconds()):
                await asyncio.gather(*closing)
        for link in self._open:
            link.screen.transport.abort()


def _spoken(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose our protocol where it is offered; never the one that carries a token."""
    return PROTOCOL if PROTOCOL in offered else None
