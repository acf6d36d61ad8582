"""What can go wrong with a session and with the events that reach it.

SessionsError
├── SessionRefused       the token opens nothing; the user signs in again
│   ├── SessionNotFound
│   ├── SessionExpired
│   └── SessionEnded
├── TooManySessions
├── VersionConflict
├── EventRefused
├── HandshakeRefused
├── AuthenticationUnavailable
└── StoreUnavailable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netra_sessions.session import EndReason, Session, UserId


class SessionsError(Exception):
    """Base of every error that netra_sessions raises on purpose."""


class SessionRefused(SessionsError):
    """The token presented does not open a session now."""


class SessionNotFound(SessionRefused):
    """No session knows this token: it was never issued here, was rotated away, or is no token at all."""

    def __init__(self) -> None:
        super().__init__("no session knows this token; ask the user to sign in")


class SessionExpired(SessionRefused):
    """The session lay idle, or lived, for as long as the policy allows."""

    def __init__(self, *, idle: bool) -> None:
        lifetime = "idle" if idle else "absolute"
        super().__init__(f"the session's {lifetime} lifetime is over; ask the user to sign in again")
        self.idle = idle


class SessionEnded(SessionRefused):
    """The session was ended on purpose, for the reason given."""

    def __init__(self, reason: EndReason) -> None:
        super().__init__(f"the session was ended ({reason.value}); ask the user to sign in again")
        self.reason = reason


class TooManySessions(SessionsError):
    """The user has as many sessions as the policy allows, and the policy ends none by itself."""

    def __init__(self, user: UserId, limit: int) -> None:
        super().__init__(f"the user already has {limit} sessions; end one of them first")
        self.user = user
        self.limit = limit


class VersionConflict(SessionsError):
    """The session's data changed since the version that the caller read."""

    def __init__(self, expected: int, current: Session) -> None:
        super().__init__(
            f"expected version {expected} and found version {current.version}; "
            "merge with the current data and update again"
        )
        self.expected = expected
        self.current = current


class EventRefused(SessionsError):
    """An event is none of the contract's; *part* says where: kind, user, run, event_id, data or size."""

    def __init__(self, part: str) -> None:
        super().__init__(
            f"the event's {part} is not what the contract allows; see netra_sessions.events and the policy's limit"
        )
        self.part = part


class HandshakeRefused(SessionsError):
    """A gateway did not let the client in, with this HTTP status, also with a fresh token."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the gateway refused the token ({status}); ask the user to sign in again")
        self.status = status


class AuthenticationUnavailable(SessionsError):
    """What verifies tokens could not be opened, so a gateway could let nobody in."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"what verifies tokens could not be opened: {cause}; see to what it needs")
        self.cause = cause


class StoreUnavailable(SessionsError):
    """A store did not answer within the deadline, so nothing can be said about the session."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store
