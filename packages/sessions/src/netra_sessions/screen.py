"""The socket of one client, and how much the client may put on it."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.frames import Opcode
from websockets.protocol import Event


class Caller(Protocol):
    """Whom a token speaks for; `netra_auth.Principal` is one."""

    @property
    def user(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...


class Screen(ServerConnection):
    """A connection with whom it belongs to, once the handshake was allowed.

    Every frame counts, also those that the library answers by itself and the parts of one message, but for the
    answers to our own pings.
    """

    caller: Caller
    after: bytes | None
    frames_per_second: float
    unread_limit_bytes: int = 0
    flooded: Callable[[], None] | None = None  # is called once, when too many frames came
    _allowance: float = math.inf
    _counted_at: float = 0.0

    @property
    def unread_bytes(self) -> int:
        """Return how much was written that the network did not take yet."""
        return self.transport.get_write_buffer_size()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; cut off one that goes on asking and doesn't read the answers."""
        super().data_received(data)
        if self.unread_bytes > 2 * self.unread_limit_bytes:  # once is for events: who is too slow is told
            self.transport.abort()

    def abort(self) -> None:
        """Cut the client off, if it is there still: a transport that sent its rest and closed can't be aborted."""
        if self.transport.get_extra_info("socket").fileno() != -1:
            self.transport.abort()

    def process_event(self, event: Event) -> None:
        """Count a frame, but for the request that comes first."""
        counted = self.request is not None and not self._answers(event)
        super().process_event(event)
        if counted and not self._allows(self.loop.time()) and self.flooded is not None:
            flooded, self.flooded = self.flooded, None
            flooded()

    def _answers(self, event: Event) -> bool:
        return getattr(event, "opcode", None) is Opcode.PONG and bool(self.pending_pings)

    def _allows(self, now_s: float) -> bool:
        """Count one frame, and tell whether it came within the allowance.

        Source:
            A token bucket that holds what two seconds allow.
        """
        most = max(1.0, 2 * self.frames_per_second)
        refilled = self._allowance + (now_s - self._counted_at) * self.frames_per_second
        self._allowance, self._counted_at = min(most, refilled) - 1, now_s
        return self._allowance >= 0
