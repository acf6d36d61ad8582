"""Who is here: the open connections of one process, and the sessions that ended while it runs."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime

from netra_sessions.link import Link

_ENDED_REMEMBERED = 10_000


class Roll:
    """The links that are open here, by session.

    Args:
        clock: tells when a token has expired.
        expired: is called with a link whose token expires while it is open.
    """

    def __init__(self, *, clock: Callable[[], datetime], expired: Callable[[Link], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._open: set[Link] = set()
        self._sessions: dict[str, set[Link]] = defaultdict(set)
        self._ended: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Link]:
        """Iterate over those that are open now, whoever comes and goes meanwhile."""
        return iter(tuple(self._open))

    def __contains__(self, link: Link) -> bool:
        return link in self._open

    def enter(self, link: Link) -> None:
        """Add a link, until it leaves."""
        left_s = (link.screen.caller.expires_at - self._clock()).total_seconds()
        link.expiry = asyncio.get_running_loop().call_later(max(0.0, left_s), self._expired, link)
        self._open.add(link)
        self._sessions[link.session].add(link)

    def leave(self, link: Link) -> None:
        """Strike a link out."""
        self._open.discard(link)
        self._sessions[link.session].discard(link)
        if not self._sessions[link.session]:
            del self._sessions[link.session]
        if link.expiry is not None:
            link.expiry.cancel()

    def end(self, session: str, reason: str) -> tuple[Link, ...]:
        """Note that a session ended, and return its links."""
        self._ended[session] = reason
        if len(self._ended) > _ENDED_REMEMBERED:
            self._ended.popitem(last=False)
        return tuple(self._sessions.get(session, ()))

    def ended(self, session: str) -> str | None:
        """Return why a session ended; None where it is not known to have."""
        return self._ended.get(session)
