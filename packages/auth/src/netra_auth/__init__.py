"""Who may do what: accounts, tokens, roles, second factors and the record of violations."""

from netra_auth.access import Access
from netra_auth.change import Act, Change
from netra_auth.errors import (
    AccessDenied,
    AuthError,
    InvalidIdentifier,
    LastAdministrator,
    PermissionUnknown,
    StoreUnavailable,
    TenantTaken,
)
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
from netra_auth.ledger import RevokesTokens
from netra_auth.log import ViolationLog
from netra_auth.policy import PLATFORM, AccessPolicy, Allowance, Permission, Reach
from netra_auth.roles import Decision, Effect, Reason, Resource, Ruling, Standing, decide
from netra_auth.violation import Kind, Violation

__all__ = [
    "PLATFORM",
    "Access",
    "AccessDenied",
    "AccessPolicy",
    "AccessToken",
    "Act",
    "Allowance",
    "AuthError",
    "Change",
    "Decision",
    "Effect",
    "FamilyId",
    "Grant",
    "InvalidIdentifier",
    "Kind",
    "LastAdministrator",
    "Method",
    "Permission",
    "PermissionUnknown",
    "Principal",
    "Reach",
    "Reason",
    "RefreshToken",
    "Resource",
    "RevokesTokens",
    "Role",
    "Ruling",
    "SessionId",
    "SignedIn",
    "Standing",
    "StoreUnavailable",
    "TenantId",
    "TenantTaken",
    "TokenId",
    "UserId",
    "Violation",
    "ViolationLog",
    "decide",
]
