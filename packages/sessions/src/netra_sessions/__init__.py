"""Users stay signed in, and hear at once of what is done for them: sessions, and the gateway of their events."""

from netra_sessions.endings import Endings
from netra_sessions.errors import (
    EventRefused,
    SessionEnded,
    SessionExpired,
    SessionNotFound,
    SessionRefused,
    SessionsError,
    StoreUnavailable,
    TooManySessions,
    VersionConflict,
)
from netra_sessions.history import HistoryPolicy, Published, Publisher
from netra_sessions.session import (
    Difference,
    Ending,
    EndReason,
    IssuedSession,
    Mended,
    Purge,
    Reconciliation,
    Session,
    SessionId,
    SessionPolicy,
    SessionToken,
    UserId,
    WhenFull,
)
from netra_sessions.sessions import Sessions

__all__ = [
    "Difference",
    "EndReason",
    "Ending",
    "Endings",
    "EventRefused",
    "HistoryPolicy",
    "IssuedSession",
    "Mended",
    "Published",
    "Publisher",
    "Purge",
    "Reconciliation",
    "Session",
    "SessionEnded",
    "SessionExpired",
    "SessionId",
    "SessionNotFound",
    "SessionPolicy",
    "SessionRefused",
    "SessionToken",
    "Sessions",
    "SessionsError",
    "StoreUnavailable",
    "TooManySessions",
    "UserId",
    "VersionConflict",
    "WhenFull",
]
