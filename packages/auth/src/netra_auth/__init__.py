"""Who may do what: accounts, tokens, roles, second factors and the record of violations."""

from netra_auth.errors import AuthError, StoreUnavailable
from netra_auth.identity import (
    AccessToken,
    FamilyId,
    Grant,
    Method,
    Principal,
    RefreshToken,
    Role,
    SessionId,
    SignedIn,
    TenantId,
    TokenId,
    UserId,
)
from netra_auth.log import ViolationLog
from netra_auth.violation import Kind, Violation

__all__ = [
    "AccessToken",
    "AuthError",
    "FamilyId",
    "Grant",
    "Kind",
    "Method",
    "Principal",
    "RefreshToken",
    "Role",
    "SessionId",
    "SignedIn",
    "StoreUnavailable",
    "TenantId",
    "TokenId",
    "UserId",
    "Violation",
    "ViolationLog",
]
