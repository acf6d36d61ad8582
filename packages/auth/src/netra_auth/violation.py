"""What was tried that is not allowed: a row that stays as it was written, and holds no secret."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from netra_auth.identity import TenantId, UserId


class Kind(StrEnum):
    """What was tried."""

    UNKNOWN_ACCOUNT = "sign-in to an unknown account"
    WRONG_PASSWORD = "wrong password"
    LOCKED = "sign-in while locked"
    LOCKOUT = "too many wrong passwords"
    WRONG_CODE = "wrong second factor"
    REPLAYED_CODE = "second factor used twice"
    REFRESH_REUSED = "refresh token used twice"
    BAD_SIGNATURE = "token with a bad signature"
    BAD_ALGORITHM = "token with a refused algorithm"
    UNKNOWN_KEY = "token with an unknown key"
    REVOKED_TOKEN = "revoked token"
    DENIED = "denied access"
    OTHER_TENANT = "access to another tenant"


class Violation(BaseModel, frozen=True):
    """One attempt. `id` orders the log; it is 0 until the row is written.

    `detail` holds what helps an investigator: identifiers and digests, never a password, code or token.
    """

    id: int = 0
    at: datetime
    kind: Kind
    user: UserId | None = None
    tenant: TenantId | None = None
    address: str | None = None
    detail: Mapping[str, str] = Field(default_factory=dict)
