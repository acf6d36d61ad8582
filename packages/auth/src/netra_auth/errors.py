"""What can go wrong when it is asked who somebody is and what they may do.

AuthError
├── InvalidEmail
├── InvalidIdentifier        no user, tenant or resource can have this name
├── PasswordRefused
├── HashingOverloaded        too many passwords wait to be hashed
├── EmailTaken
├── AccountUnknown
├── SignInRefused            whatever the true reason is; that stands in the log of violations
├── SecondFactorRefused      whatever the true reason is
│   └── ChallengeRefused     it is spent, too old or was guessed at too often
├── SecondFactorState        enrolled already, or not at all
├── SecondFactorUnreadable   its secret was sealed with another key, or for another account
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
├── LastAdministrator        the tenant would be left to nobody
├── TenantTaken              somebody runs the tenant already
├── KeyRefused               a key that must not sign or verify; nothing starts with it
│   └── WeakKey
├── SecretListMissing        a list of known secrets can't be read; nothing starts without it
└── StoreUnavailable
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from netra_auth.decision import Reason
    from netra_auth.identity import FamilyId, Role


class AuthError(Exception):
    """Base of every error that netra_auth raises on purpose."""


class InvalidEmail(AuthError):
    """What was given is no e-mail address; it is not repeated, since it may be anything."""

    def __init__(self) -> None:
        super().__init__("this is no e-mail address; give one such as name@example.com")


class InvalidIdentifier(AuthError):
    """No user, tenant or resource can have this name."""

    def __init__(self) -> None:
        super().__init__(
            "a user, tenant or resource is named by 1 to 255 bytes in UTF-8, none of them NUL;"
            " pass the name as it was given out"
        )


class PasswordFault(StrEnum):
    """Why a password can't be set."""

    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    COMMON = "among those that everybody tries first"
    OWN_EMAIL = "the e-mail address or a part of it"
    UNUSABLE = "made of characters that can't be kept"


class PasswordRefused(AuthError):
    """A password can't be set; `fault` says why."""

    def __init__(self, fault: PasswordFault) -> None:
        super().__init__(f"the password is {fault}; choose another, such as a few words")
        self.fault = fault


class HashingOverloaded(AuthError):
    """More passwords wait to be hashed than may; nothing was tried."""

    def __init__(self) -> None:
        super().__init__("too many sign-ins wait at this moment; try again shortly")


class EmailTaken(AuthError):
    """Another account has this address already."""

    def __init__(self) -> None:
        super().__init__("an account has this e-mail address already; sign in, or give another")


class AccountUnknown(AuthError):
    """No account has this id."""

    def __init__(self) -> None:
        super().__init__("no account has this id; register it first")


class SignInRefused(AuthError):
    """Nobody is signed in, and the answer does not tell why; the log of violations does."""

    def __init__(self) -> None:
        super().__init__("e-mail and password don't open an account now; check both, or try again later")


class SecondFactorRefused(AuthError):
    """The code proves nothing, and the answer does not tell why; the log of violations does."""

    def __init__(self) -> None:
        super().__init__("this code is not accepted; wait for the next one, or try again later")


class ChallengeRefused(SecondFactorRefused):
    """The step between password and code is spent, too old, or was guessed at too often."""

    def __init__(self) -> None:
        AuthError.__init__(self, "this sign-in can't be completed any more; start again with the password")


class SecondFactorState(AuthError):
    """A second factor is enrolled already, or it is not, and the act needs the opposite."""

    def __init__(self, *, enrolled: bool) -> None:
        super().__init__(
            "a second factor is enrolled already; disable it first"
            if enrolled
            else "no second factor is enrolled; enrol one first"
        )
        self.enrolled = enrolled


class SecondFactorUnreadable(AuthError):
    """The secret of a second factor can't be opened."""

    def __init__(self) -> None:
        super().__init__("a second factor is sealed with another key, or for another account; check the key")


class StepUpRequired(AuthError):
    """The act needs somebody who has just proved who they are, by a second factor."""

    def __init__(self, within: timedelta) -> None:
        super().__init__(f"prove who you are by a second factor; the last proof may be {within} old at most")
        self.within = within


class TokenRefused(AuthError):
    """An access token opens nothing."""


class TokenMalformed(TokenRefused):
    """It is no token of ours: another shape, encoding, size or header."""

    def __init__(self) -> None:
        super().__init__("this is no access token of ours; ask for a new one")


class AlgorithmRefused(TokenRefused):
    """Its header names an algorithm that is not the key's."""

    def __init__(self) -> None:
        super().__init__("the token's algorithm is not its key's; ask for a new token")


class KeyUnknown(TokenRefused):
    """Its header names a key that is not in use, or no longer."""

    def __init__(self) -> None:
        super().__init__("the token's key is not in use; ask for a new token")


class SignatureInvalid(TokenRefused):
    """Its signature is not that of the key."""

    def __init__(self) -> None:
        super().__init__("the token's signature is not ours; ask for a new token")


class ClaimRefused(TokenRefused):
    """One of its claims is missing, of the wrong type, or meant for somebody else."""

    def __init__(self, claim: str) -> None:
        super().__init__(f"the token's claim {claim} is missing or not as it must be; ask for a new token")
        self.claim = claim


class TokenExpired(TokenRefused):
    """Its time is over."""

    def __init__(self) -> None:
        super().__init__("the token has expired; refresh it")


class TokenNotYetValid(TokenRefused):
    """Its time has not come."""

    def __init__(self) -> None:
        super().__init__("the token is not valid yet; try again later, and check the clock of the issuer")


class TokenRevoked(TokenRefused):
    """It was revoked, by itself or with its session or user."""

    def __init__(self) -> None:
        super().__init__("the token was revoked; refresh it, or ask the user to sign in again")


class RefreshRefused(AuthError):
    """A refresh token opens nothing."""


class RefreshTokenUnknown(RefreshRefused):
    """It was never issued, or so long ago that it was forgotten."""

    def __init__(self) -> None:
        super().__init__("the refresh token is unknown; ask the user to sign in again")


class RefreshTokenExpired(RefreshRefused):
    """It lay unused for too long, or its family has reached its age."""

    def __init__(self) -> None:
        super().__init__("the refresh token has expired; ask the user to sign in again")


class RefreshTokenRevoked(RefreshRefused):
    """Its family was revoked."""

    def __init__(self, family: FamilyId) -> None:
        super().__init__(f"refresh token family {family} was revoked; ask the user to sign in again")
        self.family = family


class RefreshTokenReused(RefreshRefused):
    """A refresh token was presented a second time; its family is revoked."""

    def __init__(self, family: FamilyId) -> None:
        super().__init__(f"refresh token of family {family} was used before; ask the user to sign in again")
        self.family = family


class AccessDenied(AuthError):
    """Somebody may not do what they tried; it stands in the log of violations."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"this is not allowed: {reason.value}; ask an admin of the tenant")
        self.reason = reason


class PermissionUnknown(AuthError):
    """The policy lists no such permission, so nobody can have it."""

    def __init__(self) -> None:
        super().__init__("the policy lists no such permission; use one of its own, or add it there")


class LastAdministrator(AuthError):
    """Nobody of this role or a higher one would be left in the tenant."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"the tenant would be left without its last {role.value}; appoint another one first")
        self.role = role


class TenantTaken(AuthError):
    """The tenant has users with roles, so nobody can found it."""

    def __init__(self) -> None:
        super().__init__("the tenant has its users already; ask its super_admin for a role")


class KeyRefused(AuthError):
    """A key must not sign or verify."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the key is refused: {reason}; configure another one")
        self.reason = reason


class WeakKey(KeyRefused):
    """A key is too short, too well known or badly made."""


class SecretListMissing(AuthError):
    """A list of known secrets can't be read."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the list of known secrets {name} can't be read; install or name one that is there")
        self.name = name


class StoreUnavailable(AuthError):
    """A store did not answer within the deadline, so nothing can be said, and nobody is let in."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store
