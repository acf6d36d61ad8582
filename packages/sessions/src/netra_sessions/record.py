"""A session between the stores: the JSON that both keep, and the entry that Redis holds.

An entry starts with fields of fixed width, which the scripts in scripts.py read and write in place:
epoch (12), expiry (15), last seen as PostgreSQL has it (15), version (12), and then the session as JSON,
whose `last_seen_at` (15) and `requests` (12) are padded for the same reason.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

from netra_sessions.errors import SessionExpired
from netra_sessions.session import EndReason, Session, SessionId, UserId

FENCE = b"F"
_BODY = ',"id":"'


@dataclass(frozen=True, slots=True)
class Activity:
    """What changes with every request."""

    last_seen_ms: int
    requests: int
    device: str | None
    address: str | None

    def joined(self, other: "Activity | None") -> "Activity":
        """Return the later of the two, with the larger count."""
        if other is None:
            return self
        later = other if other.last_seen_ms > self.last_seen_ms else self
        return replace(later, requests=max(self.requests, other.requests))


@dataclass(frozen=True, slots=True)
class Record:
    """One row; *body* is the JSON of what doesn't change with a request, from `,"id"` to the last brace."""

    id: SessionId
    user: UserId
    digest: bytes
    version: int
    body: str
    created_ms: int
    expires_ms: int
    activity: Activity
    ended: EndReason | None

    def over(self, now_ms: int, idle_ms: int) -> SessionExpired | None:
        """Say which lifetime is over, if one is."""
        if now_ms >= self.expires_ms:
            return SessionExpired(idle=False)
        if now_ms - self.activity.last_seen_ms >= idle_ms:
            return SessionExpired(idle=True)
        return None

    def used(self, now_ms: int, device: str | None, address: str | None) -> "Record":
        """Return it one request later."""
        seen = self.activity
        later = Activity(
            max(now_ms, seen.last_seen_ms),
            seen.requests + 1,
            seen.device if device is None else device,
            seen.address if address is None else address,
        )
        return replace(self, activity=later)

    def document(self) -> str:
        """Return the whole session as JSON, its activity padded."""
        seen = self.activity
        return (
            f'{{"last_seen_at":{seen.last_seen_ms:15d},"requests":{seen.requests:12d}'
            f',"device":{json.dumps(seen.device)},"address":{json.dumps(seen.address)}{self.body}'
        )

    def session(self) -> Session:
        """Return what the caller may see."""
        return Session.model_validate_json(self.document())

    def entry(self, epoch: bytes, persisted_ms: int) -> bytes:
        """Return what Redis keeps for it."""
        head = f"{self.expires_ms:15d}{persisted_ms:15d}{self.version:12d}"
        return epoch + head.encode() + self.document().encode()


@dataclass(frozen=True, slots=True)
class Page:
    """Many sessions, in order of id, as PostgreSQL writes their entries: all but the epoch."""

    digests: Sequence[str]
    entries: Sequence[bytes]
    last: SessionId | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of Redis, read back."""

    id: SessionId
    version: int
    persisted_ms: int
    activity: Activity
    body: str

    @classmethod
    def read(cls, value: bytes) -> Self:
        """Read an entry.

        Raises:
            ValueError: it is a fence, or not ours.
        """
        document = value[54:].decode()
        fields = json.loads(document)
        try:
            activity = Activity(
                fields["last_seen_at"], fields["requests"], fields["device"], fields["address"]
            )
            body = document[document.index(_BODY) :]
            return cls(SessionId(UUID(fields["id"])), int(value[42:54]), int(value[27:42]), activity, body)
        except (KeyError, TypeError) as error:
            raise ValueError("no session in this entry") from error


def activity_of(value: bytes | None) -> Activity | None:
    """Return the activity in an entry, or None for a fence, an unreadable value or nothing."""
    try:
        return None if value is None or value.startswith(FENCE) else Entry.read(value).activity
    except ValueError:
        return None
