"""Who somebody is: identifiers, roles' holders and the tokens that speak for them; pure values."""

from datetime import datetime
from enum import StrEnum
from typing import NewType

from pydantic import BaseModel, SecretStr

from netra_auth.errors import InvalidIdentifier

UserId = NewType("UserId", str)
TenantId = NewType("TenantId", str)
SessionId = NewType("SessionId", str)
TokenId = NewType("TokenId", str)
FamilyId = NewType("FamilyId", str)

_LONGEST_NAME_BYTES = 255  # four of them fit into one entry of an index


def is_name(name: str) -> bool:
    """Tell whether a user, tenant, session or resource can be called *name*: a store keeps it unchanged."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME_BYTES or "\x00" in name:
        return False
    try:
        return len(name.encode()) <= _LONGEST_NAME_BYTES
    except UnicodeEncodeError:
        return False


def check_name(name: str) -> str:
    """Return *name* if it can be one.

    Raises:
        InvalidIdentifier: it is no text, empty, longer than 255 bytes in UTF-8, or holds NUL or a lone surrogate.
    """
    if not is_name(name):
        raise InvalidIdentifier
    return name


def check_names(*names: str) -> None:
    """Check each as `check_name` does."""
    for name in names:
        check_name(name)


class AccessToken(SecretStr):
    """A signed access token, as JWS in compact form; never shown by `repr` or `str`."""


class RefreshToken(SecretStr):
    """The secret that is traded for a new grant: 43 URL-safe characters, never shown by `repr` or `str`."""


class Method(StrEnum):
    """How somebody proved who they are; the values are those of the claim `amr`.

    Source:
        RFC 8176, section 2: password, one-time password. A recovery code has no name there.
    """

    PASSWORD = "pwd"  # nosec B105
    ONE_TIME_PASSWORD = "otp"  # nosec B105
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
