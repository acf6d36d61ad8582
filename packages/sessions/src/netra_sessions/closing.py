"""Why a gateway closes a connection, in the numbers that a WebSocket's end carries."""

from enum import IntEnum


class CloseCode(IntEnum):
    """The codes a client meets; those from 4000 on are this gateway's own.

    Source:
        RFC 6455, section 7.4: codes below 4000 mean what they say there.
    """

    GOING_AWAY = 1001
    """The process stops: connect to another one and resume."""
    NOT_TEXT = 1003
    NOT_UTF_8 = 1007
    TOO_MANY_FRAMES = 1008
    TOO_LARGE = 1009
    FAILED = 1011
    """The gateway can't serve this connection; its log says why."""
    UNAVAILABLE = 1013
    """Redis can't be reached: try again later."""
    TOKEN_EXPIRED = 4401
    """Connect again with a fresh token."""
    SESSION_ENDED = 4403
    """The user signs in again; the reason is why the session ended."""
    UNRESPONSIVE = 4408
    """Two heartbeats were not answered."""
    TOO_SLOW = 4413
    """What was sent was not read; the reason ends with the position to resume from."""
    TOO_MANY_CONNECTIONS = 4429
    """The user has as many connections as allowed."""
