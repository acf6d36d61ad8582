"""From Redis to a gateway's links: what is announced is passed on, what was missed is read."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from redis.asyncio import Redis
from websockets.asyncio.server import broadcast

from netra_sessions.announcements import Announcements
from netra_sessions.closing import CloseCode
from netra_sessions.events import START
from netra_sessions.history import History, HistoryPolicy
from netra_sessions.link import Link

_START: Final = START.encode()
_log: Final = logging.getLogger("netra_sessions.gateway")


class Delivery:
    """The links of one gateway process, by the channel that each follows.

    Args:
        unread_limit_bytes: what may lie written and unread for a link before it is closed.
        close: closes a link soon.
    """

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        *,
        history: HistoryPolicy,
        deadline: timedelta,
        unread_limit_bytes: int,
        close: Callable[[Link, CloseCode, str], None],
    ) -> None:
        self._history = History(redis, namespace, history)
        self._announcements = Announcements(
            redis, heard=self._heard, subscribed=self._catch_up_all, deadline=deadline
        )
        self._unread_limit_bytes = unread_limit_bytes
        self._close = close
        self._links: dict[bytes, set[Link]] = defaultdict(set)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await self._announcements.run()

    async def close(self) -> None:
        """Close the connection to Redis on which histories are read."""
        await self._history.close()

    async def reachable(self) -> None:
        """Ask Redis something.

        Raises:
            StoreUnavailable: it did not answer.
        """
        await self._history.last("")

    async def join(self, link: Link, after: bytes | None) -> None:
        """Follow the user's events from the position *after* on, or from now on.

        Who wants all is told where that begins: another beginning, later, would be another history.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        self._links[link.channel].add(link)
        await self._announcements.follow(link.channel)
        if after == _START:
            link.at = await self._history.first(link.user)
        else:
            link.at = after or await self._history.last(link.user)
        await link.greet()
        link.following = True
        self._catch_up(link)

    async def leave(self, link: Link) -> None:
        """Follow nothing any more; the last link of a user takes the subscription along."""
        link.following = link.live = False
        links = self._links.get(link.channel)
        if links is None:
            return
        links.discard(link)
        if not links:
            del self._links[link.channel]
            await self._announcements.leave(link.channel)

    def _heard(self, channel: bytes, frame: bytes) -> None:
        """Pass an event on to those whom it follows directly; the others read what they miss."""
        links = self._links.get(channel, set())
        try:
            id, previous = _positions(frame)
            follows = [link for link in links if link.live and link.at == previous]
            if len(follows) < len(links):
                for link in links.difference(follows):
                    if link.at != id:
                        self._catch_up(link)
        except ValueError:
            return  # not ours; whatever was announced stands in the history
        broadcast([link.screen for link in follows], frame, text=True)
        for link in follows:
            link.at = id
            if link.screen.unread_bytes > self._unread_limit_bytes:
                link.live = False
                self._close(link, CloseCode.TOO_SLOW, f"too slow; resume after {id.decode()}")

    def _catch_up_all(self, channel: bytes) -> None:
        for link in self._links.get(channel, ()):
            self._catch_up(link)

    def _catch_up(self, link: Link) -> None:
        link.behind, link.live = True, False
        if not link.following or (link.catching_up is not None and not link.catching_up.done()):
            return
        assert self._tasks is not None, "links join while it runs"
        link.catching_up = self._tasks.create_task(self._bring_up(link))

    async def _bring_up(self, link: Link) -> None:
        """Let a link catch up; what goes wrong with it is its own affair."""
        try:
            await link.catch_up(self._history)
        except Exception as error:
            _log.error("a history can't be passed on", extra={"error": type(error).__name__})
            self._close(link, CloseCode.FAILED, "internal error")


def _positions(frame: bytes) -> tuple[bytes, bytes]:
    """Read the position of an event, and of the one before it, where the history writes them.

    Raises:
        ValueError: it is no event of a history.
    """
    _, _, _, id, _, _, _, previous, _ = frame.split(b'"', 8)
    return id, previous
