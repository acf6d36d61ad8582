"""Events reach a user's screens, in order: the server that holds the screens' connections."""

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from redis.asyncio import Redis
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from netra_sessions.closing import CloseCode
from netra_sessions.delivery import Delivery
from netra_sessions.errors import StoreUnavailable
from netra_sessions.handshake import PATH, PROTOCOL, Authentication, Door
from netra_sessions.history import channel_of
from netra_sessions.link import Link
from netra_sessions.policy import GatewayPolicy
from netra_sessions.presence import Presence
from netra_sessions.roll import Roll
from netra_sessions.screen import Screen
from netra_sessions.session import Ending

Endings = Callable[[], AbstractAsyncContextManager[AsyncIterator[Ending]]]
"""Opens the endings of sessions; `Sessions.endings` does."""

_WRITE_LIMIT_BYTES = 32_768  # written ahead of a connection that reads its history
_KERNEL_LIMIT_BYTES = (
    131_072  # what the kernel takes ahead: else megabytes, and a slow reader looks like a dead one
)
_log: Final = logging.getLogger("netra_sessions.gateway")
_library_log: Final = logging.getLogger("netra_sessions.websockets")
_library_log.setLevel(logging.CRITICAL)  # it reports every client's mistake with a traceback


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
        self._door = Door(
            authentication, origins=origins, frames_per_second=policy.frames_per_second,
            unread_limit_bytes=policy.unread_limit_bytes,
        )  # fmt: skip
        self._endings = endings
        self._address = (host, port)
        self._roll = Roll(
            clock=clock,
            expired=lambda link: self._close_soon(link, CloseCode.TOKEN_EXPIRED, "the token expired"),
        )
        self._presence = Presence(redis, namespace, lease=policy.lease, deadline=policy.deadline)
        self._delivery = Delivery(
            redis, namespace, history=policy.history, deadline=policy.deadline,
            unread_limit_bytes=policy.unread_limit_bytes, close=self._close_soon,
        )  # fmt: skip
        self._stop = asyncio.Event()
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
        return len(self._roll)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            OSError: the address can't be had.
            StoreUnavailable: a store did not answer within its deadline.
        """
        ready = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(ready))
        try:
            await asyncio.wait([ready, self._running], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._running.cancel()
            await asyncio.wait([self._running])
            raise
        if not ready.done():
            await self._running
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None, "enter the block first"
        self._stop.set()
        await self._running

    async def closed(self) -> None:
        """Wait until the gateway ended, and raise what ended it, if it was not asked to."""
        assert self._running is not None, "enter the block first"
        await asyncio.shield(self._running)

    async def _run(self, ready: "asyncio.Future[None]") -> None:
        try:
            await self._delivery.reachable()
            async with self._endings() as endings:
                await self._listen(endings, ready)
        finally:
            await self._delivery.close()

    async def _listen(self, endings: AsyncIterator[Ending], ready: "asyncio.Future[None]") -> None:
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
        patience_s = self._policy.deadline.total_seconds()
        server = await serve(
            self._serve, *self._address, process_request=self._door.answer, create_connection=Screen,
            select_subprotocol=_spoken, compression=None, server_header=None, ping_interval=None,
            max_size=self._policy.frame_limit_bytes, max_queue=1, write_limit=_WRITE_LIMIT_BYTES,
            open_timeout=patience_s, close_timeout=patience_s, start_serving=False, logger=_library_log,
        )  # fmt: skip
        for listening in server.sockets:  # those that are accepted there take it over
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_LIMIT_BYTES)
        return server

    async def _serve(self, screen: ServerConnection) -> None:
        assert isinstance(screen, Screen)
        user = screen.caller.user
        link = Link(screen, user, str(screen.caller.session), channel_of(self._namespace, user))
        screen.flooded = lambda: self._close_soon(link, CloseCode.TOO_MANY_FRAMES, "too many frames")
        try:
            self._roll.enter(link)
            try:
                await self._welcome(link)
            except StoreUnavailable:
                self._close_soon(link, CloseCode.UNAVAILABLE, "try again later")
            await self._receive(link)
        except ConnectionClosed:
            pass
        except Exception as error:  # the library closes with 1011, and says nothing of it
            _log.error("a connection failed", extra={"error": type(error).__name__})
            raise
        finally:
            await self._forget(link)

    async def _welcome(self, link: Link) -> None:
        """Let the link have its events, or say why not."""
        if self._door.shut:
            self._close_soon(link, CloseCode.GOING_AWAY, "going away")
        elif (reason := self._roll.ended(link.session)) is not None:
            self._close_soon(link, CloseCode.SESSION_ENDED, reason)
        elif not await self._presence.enter(link.user, link.id, most=self._policy.connections_per_user):
            self._close_soon(link, CloseCode.TOO_MANY_CONNECTIONS, "too many connections")
        else:
            link.registered = True
            await self._delivery.join(link, link.screen.after)

    async def _receive(self, link: Link) -> None:
        """Read until the end, also while closing: an answer to our goodbye may stand behind other frames."""
        async for frame in link.screen:
            if link.closing:
                continue
            if isinstance(frame, bytes):
                self._close_soon(link, CloseCode.NOT_TEXT, "frames are text")
            else:
                await link.take(frame)

    async def _forget(self, link: Link) -> None:
        self._roll.leave(link)
        await self._delivery.leave(link)
        with suppress(StoreUnavailable):
            await self._presence.leave(link.user, link.id)

    async def _follow(self, endings: AsyncIterator[Ending]) -> None:
        async for ending in endings:
            reason = ending.reason.value
            for link in self._roll.end(str(ending.session), reason):
                self._close_soon(link, CloseCode.SESSION_ENDED, reason)
        raise RuntimeError("the endings ended, and nobody would be signed out any more: give some that go on")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._policy.heartbeat.total_seconds())
            for link in self._roll:
                with suppress(ConnectionClosed):
                    if not await link.beat():
                        self._close_soon(link, CloseCode.UNRESPONSIVE, "two heartbeats were missed")

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._policy.lease.total_seconds() / 3)
            renewed = [link for link in self._roll if link.registered]
            held: dict[str, list[str]] = defaultdict(list)
            for link in renewed:
                held[link.user].append(link.id)
            with suppress(StoreUnavailable):
                await self._presence.renew(held)
                for link in renewed:
                    if link not in self._roll:  # it left meanwhile, and may have come back by this
                        await self._presence.leave(link.user, link.id)

    def _close_soon(self, link: Link, code: CloseCode, reason: str) -> None:
        assert self._tasks is not None, "links are open while it runs"
        self._tasks.create_task(self._close(link, code, reason))

    async def _close(self, link: Link, code: CloseCode, reason: str) -> None:
        patience_s = 0 if code is CloseCode.UNRESPONSIVE else self._policy.deadline.total_seconds()
        await link.close(code, reason, patience_s=patience_s)

    async def _drain(self, server: Server) -> None:
        """Let nobody in any more, and send everybody to another process after all that was written."""
        self._door.shut = True
        server.close(close_connections=False)
        closing = (self._close(link, CloseCode.GOING_AWAY, "going away") for link in self._roll)
        try:
            async with asyncio.timeout(self._policy.drain.total_seconds()):
                await asyncio.gather(*closing)
        except TimeoutError:
            pass
        finally:
            for link in self._roll:
                link.screen.abort()


def _spoken(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose our protocol where it is offered; never the one that carries a token."""
    return PROTOCOL if PROTOCOL in offered else None
