"""One open connection: where it stands in its user's history, and how it gets from there to the present."""

import asyncio
from dataclasses import dataclass, field
from uuid import uuid4

from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from netra_sessions.closing import CloseCode
from netra_sessions.errors import StoreUnavailable
from netra_sessions.events import START, Connected, FrameRefused, Gap, Ping, Pong
from netra_sessions.history import History, Page
from netra_sessions.screen import Screen

_RETRY_S = 0.1
_START = START.encode()


@dataclass(eq=False, slots=True)
class Link:
    """A connection that is either *live*, and given what is announced, or catches up by reading.

    `at` is the last position passed on. An announcement that doesn't follow it directly is not passed on but
    noted (`behind`), and the history is read instead: whatever was lost on the way, a hole can't be silent.
    """

    screen: Screen
    user: str
    session: str
    channel: bytes
    id: str = field(default_factory=lambda: uuid4().hex)
    at: bytes = _START
    registered: bool = False
    following: bool = False
    live: bool = False
    behind: bool = False
    closing: bool = False
    catching_up: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None
    number: int = -1
    missed_beats: int = 0
    pong: asyncio.Future[float] | None = None
    beat_at: bytes = _START

    async def greet(self) -> None:
        """Say where the events that follow begin."""
        await self._say(Connected(connection=self.id, at=self.at.decode()))

    async def catch_up(self, history: History) -> None:
        """Pass on what the history holds after `at`, at the reader's pace, until nothing is missing."""
        while self.following and not self.closing:
            self.behind = False
            try:
                page = await history.read(self.user, self.at)
                await self._pass_on(page)
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            except ConnectionClosed:
                return
            if not (page.entries or self.behind):
                self.live = self.following and not self.closing
                return

    async def _pass_on(self, page: Page) -> None:
        """Send what follows, and say where it doesn't follow directly."""
        for entry in page.entries:
            await self._follow(entry.previous, before=entry.id.decode())
            await self.screen.send(entry.frame, text=True)
            self.at = entry.id
        if not page.entries:
            await self._follow(page.last, before=None)

    async def _follow(self, previous: bytes, *, before: str | None) -> None:
        """Stand at *previous*; from anywhere else there is a gap."""
        if previous != self.at:
            await self._say(Gap(after=self.at.decode(), before=before, at=previous.decode()))
        self.at = previous

    async def take(self, frame: str) -> None:
        """Answer a frame of the client's, to the client alone."""
        try:
            ping = Ping.model_validate_json(frame)
        except ValidationError:
            await self._say(FrameRefused(code="invalid", message="this is no frame of the contract"))
            return
        if ping.number <= self.number:
            await self._say(FrameRefused(code="out_of_order", message="a ping's number grows"))
            return
        self.number = ping.number
        await self._say(Pong(number=ping.number))

    async def beat(self) -> bool:
        """Ask for a sign of life; False where two were missed.

        A connection whose buffer holds something isn't asked, since the question would wait there too; one
        that reads its history, however slowly, is alive.
        """
        if self.closing or self.screen.state is not State.OPEN:
            return True
        unread = self.screen.unread_bytes
        waiting = self.pong is not None and not self.pong.done()
        reading = not self.live and self.at != self.beat_at
        self.missed_beats = self.missed_beats + 1 if (unread or waiting) and not reading else 0
        self.beat_at = self.at
        if self.missed_beats >= 2:
            return False
        if not unread:
            self.pong = asyncio.ensure_future(await self.screen.ping())
        return True

    async def close(self, code: CloseCode, reason: str, *, patience_s: float) -> None:
        """Close once, after what was written before; a client that doesn't answer is cut off."""
        if self.closing:
            return
        self.live, self.closing = False, True
        try:
            async with asyncio.timeout(patience_s):
                await self.screen.close(code, reason)
        except TimeoutError:
            self.screen.abort()

    async def _say(self, frame: Connected | Gap | Pong | FrameRefused) -> None:
        await self.screen.send(frame.model_dump_json())
