"""Users stay signed in: sessions with PostgreSQL as their record and Redis for every request."""

from netra_sessions.endings import Endings
from netra_sessions.errors import (
    SessionEnded,
    SessionExpired,
    SessionNotFound,
    SessionRefused,
    SessionsError,
    StoreUnavailable,
    TooManySessions,
    VersionConflict,
)
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
    "IssuedSession",
    "Mended",
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
