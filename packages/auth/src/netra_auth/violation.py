"""What was tried that is not allowed: a row that stays as it was written, and holds no secret."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from netra_auth.identity import TenantId, UserId


class Kind(StrEnum):
    """What was tried."""

    UNKNOWN_ACCOUNT = "sign-in to an unknown account"
    WRONG_PASSWORD = "wrong password"  # nosec B105
    DISABLED_ACCOUNT = "sign-in to a disabled account"
    LOCKED = "sign-in while locked"
    LOCKOUT = "too many wrong passwords"
    WRONG_CODE = "wrong second factor"
    REPLAYED_CODE = "second factor used twice"
    REFRESH_REUSED = "refresh token used twice"
    BAD_SIGNATURE = "token with a bad signature"
    BAD_ALGORITHM = "token with a refused algorithm"
    UNKNOWN_KEY = "token with an unknown key"
    REVOKED_TOKEN = "revoked token"  # nosec B105
    DENIED = "denied access"
    OTHER_TENANT = "access to another tenant"


def _storable(address: str | None) -> str | None:
    """Cut and clean what a client may have made up, so that nobody escapes the log by a strange address."""
    if address is None:
        return None
    return address[:256].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


class Violation(BaseModel, frozen=True):
    """One attempt. `id` orders the log; it is 0 until the row is written.

    `detail` holds what helps an investigator: identifiers and digests, never a password, code or token.
    """

    id: int = 0
    at: datetime
    kind: Kind
    user: UserId | None = None
    tenant: TenantId | None = None
    address: Annotated[str | None, BeforeValidator(_storable)] = None
    detail: Mapping[str, str] = Field(default_factory=dict)
