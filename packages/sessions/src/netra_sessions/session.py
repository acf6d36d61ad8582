"""What a session is and the rules it lives by; pure, with no clock, SQL or Redis."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NewType, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, model_validator
from pydantic_core import from_json

UserId = NewType("UserId", str)
SessionId = NewType("SessionId", UUID)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TOKEN_CHARACTERS = 43


class SessionToken(SecretStr):
    """The secret that opens a session: 43 URL-safe characters, never shown by `repr` or `str`."""


class WhenFull(StrEnum):
    """What a sign-in does when the user has the most sessions allowed."""

    END_OLDEST = "end the oldest"
    REFUSE = "refuse"


class EndReason(StrEnum):
    """Why a session ended."""

    SIGNED_OUT = "signed out"
    REVOKED = "revoked"
    REPLACED = "replaced by a newer session"
    EXPIRED = "expired"


class SessionPolicy(BaseModel, frozen=True):
    """How long sessions live, how many a user has, and how long a store may take.

    `deadline` bounds one call to a store, and everything that one session's operation does. Redis is
    believed for `cache_trust` after PostgreSQL last confirmed that it may be.
    """

    idle_lifetime: timedelta = timedelta(days=7)
    absolute_lifetime: timedelta = timedelta(days=30)
    limit_per_user: int | None = Field(default=20, ge=1)
    when_full: WhenFull = WhenFull.END_OLDEST
    deadline: timedelta = timedelta(seconds=2)
    cache_trust: timedelta = timedelta(seconds=5)
    ended_kept: timedelta = timedelta(days=1)
    data_limit_bytes: int = Field(default=16_384, ge=2)

    @model_validator(mode="after")
    def _lifetimes_make_sense(self) -> Self:
        shortest = min(self.idle_lifetime, self.deadline, self.cache_trust, self.ended_kept)
        if shortest < _MILLISECOND:
            raise ValueError("lifetimes, deadline and trust are at least one millisecond")
        if self.idle_lifetime > self.absolute_lifetime:
            raise ValueError("idle_lifetime is at most absolute_lifetime")
        return self


class Session(BaseModel, frozen=True):
    """One user's sign-in on one device, as it stands after the call that returned it."""

    model_config = ConfigDict(val_temporal_unit="milliseconds")

    id: SessionId
    user: UserId
    version: int
    data: dict[str, JsonValue]
    created_at: datetime
    expires_at: datetime
    last_seen_at: datetime
    requests: int
    device: str | None
    address: str | None


class IssuedSession(BaseModel, frozen=True):
    """A session with the only copy of its token: hand the token to the user and keep none."""

    token: SessionToken
    session: Session


class Ending(BaseModel, frozen=True):
    """The announcement that a session ended; `position` orders endings and is only ever compared."""

    model_config = ConfigDict(val_temporal_unit="milliseconds")

    session: SessionId
    user: UserId
    reason: EndReason
    ended_at: datetime
    position: int


class Difference(StrEnum):
    """What Redis held that PostgreSQL does not confirm."""

    ENDED = "ended in the record"
    EXPIRED = "expired by the record"
    UNKNOWN = "not in the record"
    OUTDATED = "other contents than the record"
    UNREADABLE = "not an entry of ours"


class Mended(BaseModel, frozen=True):
    """One cached entry that `reconcile` dropped; `session` is None where the entry names none."""

    session: SessionId | None
    difference: Difference


class Reconciliation(BaseModel, frozen=True):
    """What `reconcile` compared, dropped and put back."""

    compared: int
    mended: tuple[Mended, ...]
    warmed: int


class Purge(BaseModel, frozen=True):
    """What `purge_expired` ended, and how many old rows it deleted."""

    expired: tuple[SessionId, ...]
    deleted: int


def issue_token() -> SessionToken:
    """Draw a token of 256 random bits."""
    return SessionToken(secrets.token_urlsafe(32))


def digest_of(token: SessionToken | str) -> bytes:
    """Return the SHA-256 of *token*, or random bytes, which no session has, when it can't be a token.

    So a malformed token, however large, costs what an unknown one does.
    """
    text = token if isinstance(token, str) else token.get_secret_value()
    if len(text) != _TOKEN_CHARACTERS or not text.isascii():
        return os.urandom(32)
    return hashlib.sha256(text.encode("ascii")).digest()


def to_ms(instant: datetime) -> int:
    """Count the milliseconds from 1970 to *instant*, which must be aware."""
    return (instant - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Return the instant that `to_ms` counted."""
    return _EPOCH + milliseconds * _MILLISECOND


def duration_ms(duration: timedelta) -> int:
    """Count whole milliseconds, at least one."""
    return max(1, duration // _MILLISECOND)


def encode_data(data: Mapping[str, JsonValue], *, limit_bytes: int) -> str:
    """Write *data* as JSON that reads back equal.

    Raises:
        ValueError: it is no JSON object, holds what JSON or UTF-8 can't (NaN, lone surrogates), nests
            too deeply to be read back, or is larger than *limit_bytes*.
    """
    try:
        text = json.dumps(dict(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
        read = from_json(text, allow_inf_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"session data must be a JSON object: {type(error).__name__}") from error
    if read != data:
        raise ValueError("session data must read back equal: string keys, and lists instead of tuples")
    if size > limit_bytes:
        raise ValueError(f"session data has {size} bytes; the policy allows {limit_bytes}")
    return text


def check_user(user: UserId) -> None:
    """Refuse a user id that a store could not keep unchanged.

    Raises:
        ValueError: it is empty, longer than 256 characters, or holds NUL or a lone surrogate.
    """
    if not 0 < len(user) <= 256 or "\x00" in user or user.encode("utf-8", "replace").decode() != user:
        raise ValueError("a user id has 1 to 256 characters, none of them NUL or a lone surrogate")


def printable(text: str | None, *, limit: int = 256) -> str | None:
    """Cut what a client says about itself to *limit* characters, and replace what can't be stored."""
    if text is None:
        return None
    return text[:limit].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
