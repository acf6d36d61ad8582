"""Users stay signed in, and hear at once of what is done for them: sessions, and the gateway of their events."""

from netra_sessions.client import ClientPolicy, RealtimeClient
from netra_sessions.closing import CloseCode
from netra_sessions.endings import Endings
from netra_sessions.errors import (
    AuthenticationUnavailable,
    EventRefused,
    HandshakeRefused,
    SessionEnded,
    SessionExpired,
    SessionNotFound,
    SessionRefused,
    SessionsError,
    StoreUnavailable,
    TooManySessions,
    VersionConflict,
)
from netra_sessions.gateway import Gateway
from netra_sessions.handshake import Authentication, Verifier
from netra_sessions.history import HistoryPolicy, Published
from netra_sessions.policy import GatewayPolicy
from netra_sessions.presence import Presence
from netra_sessions.publisher import Publisher
from netra_sessions.screen import Caller
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
    "Authentication",
    "AuthenticationUnavailable",
    "Caller",
    "ClientPolicy",
    "CloseCode",
    "Difference",
    "EndReason",
    "Ending",
    "Endings",
    "EventRefused",
    "Gateway",
    "GatewayPolicy",
    "HandshakeRefused",
    "HistoryPolicy",
    "IssuedSession",
    "Mended",
    "Presence",
    "Published",
    "Publisher",
    "Purge",
    "RealtimeClient",
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
    "Verifier",
    "VersionConflict",
    "WhenFull",
]
