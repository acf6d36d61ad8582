"""Who somebody is: identifiers, roles' holders and the tokens that speak for them; pure values."""

from datetime import datetime
from enum import StrEnum
from typing import NewType

from pydantic import BaseModel, SecretStr

UserId = NewType("UserId", str)
TenantId = NewType("TenantId", str)
SessionId = NewType("SessionId", str)
TokenId = NewType("TokenId", str)
FamilyId = NewType("FamilyId", str)


class AccessToken(SecretStr):
    """A signed access token, as JWS in compact form; never shown by `repr` or `str`."""


class RefreshToken(SecretStr):
    """The secret that is traded for a new grant: 43 URL-safe characters, never shown by `repr` or `str`."""


class Method(StrEnum):
    """How somebody proved who they are; the values are those of the claim `amr`.

    Source:
        RFC 8176, section 2: password, one-time password. A recovery code has no name there.
    """

    PASSWORD = "pwd"
    ONE_TIME_PASSWORD = "otp"
    RECOVERY_CODE = "recovery"


class Role(StrEnum):
    """What somebody is in a tenant, from least to most; `<` and its like compare by that, not by letters."""

    STANDARD_USER = "standard_user"
    POWER_USER = "power_user"
    DEVELOPER = "developer"
    ADMIN = "admin"
    SUPER_ADMIN = "super_admin"

    @property
    def rank(self) -> int:
        """Count the roles below this one."""
        return list(Role).index(self)

    def __lt__(self, other: str) -> bool:
        return self.rank < Role(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Role(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Role(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Role(other).rank


class SignedIn(BaseModel, frozen=True):
    """Somebody who has just proved who they are, in the tenant in which they act."""

    user: UserId
    tenant: TenantId
    methods: frozenset[Method]
    at: datetime


class Principal(BaseModel, frozen=True):
    """Whom a verified access token speaks for, until it expires."""

    user: UserId
    tenant: TenantId
    session: SessionId
    token: TokenId
    roles: frozenset[Role]
    methods: frozenset[Method]
    authenticated_at: datetime
    issued_at: datetime
    expires_at: datetime


class Grant(BaseModel, frozen=True):
    """An access token with the refresh token that renews it: hand both to the user and keep neither."""

    access_token: AccessToken
    refresh_token: RefreshToken
    family: FamilyId
    session: SessionId
    expires_at: datetime
