"""What can go wrong when it is asked who somebody is and what they may do.

AuthError
├── InvalidEmail
├── PasswordRefused
├── EmailTaken
├── SignInRefused            whatever the true reason is; that stands in the log of violations
├── SecondFactorRefused
├── SecondFactorState        enrolled already, or not at all
├── StepUpRequired
├── TokenRefused             the access token opens nothing; the leaf says why
│   ├── TokenMalformed
│   ├── AlgorithmRefused
│   ├── KeyUnknown
│   ├── SignatureInvalid
│   ├── ClaimRefused
│   ├── TokenExpired
│   ├── TokenNotYetValid
│   └── TokenRevoked
├── RefreshRefused           the refresh token opens nothing; the user signs in again
│   ├── RefreshTokenUnknown
│   ├── RefreshTokenExpired
│   ├── RefreshTokenRevoked
│   └── RefreshTokenReused
├── AccessDenied             by the rules of the tenant; `reason` says which
├── PermissionUnknown        the policy lists no such permission
├── InvalidIdentifier        no user, tenant or resource can have this name
├── LastAdministrator        the tenant would be left to nobody
├── TenantTaken              somebody runs the tenant already
├── KeyRefused               a key that must not sign or verify; nothing starts with it
│   └── WeakKey
└── StoreUnavailable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netra_auth.identity import Role
    from netra_auth.roles import Reason


class AuthError(Exception):
    """Base of every error that netra_auth raises on purpose."""


class AccessDenied(AuthError):
    """Somebody may not do what they tried; it stands in the log of violations."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"this is not allowed: {reason.value}; ask an admin of the tenant")
        self.reason = reason


class PermissionUnknown(AuthError):
    """The policy lists no such permission, so nobody can have it."""

    def __init__(self) -> None:
        super().__init__("the policy lists no such permission; use one of its own, or add it there")


class InvalidIdentifier(AuthError):
    """No user, tenant or resource can have this name."""

    def __init__(self) -> None:
        super().__init__(
            "a user, tenant or resource is named by 1 to 255 bytes in UTF-8, none of them NUL;"
            " pass the name as it was given out"
        )


class LastAdministrator(AuthError):
    """Nobody of this role or a higher one would be left in the tenant."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"the tenant would be left without its last {role.value}; appoint another one first")
        self.role = role


class TenantTaken(AuthError):
    """The tenant has users with roles, so nobody can found it."""

    def __init__(self) -> None:
        super().__init__("the tenant has its users already; ask its super_admin for a role")


class StoreUnavailable(AuthError):
    """A store did not answer within the deadline, so nothing can be said, and nobody is let in."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store
