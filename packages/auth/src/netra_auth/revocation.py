"""What a revocation covers, and the set of those that still cover something; pure."""

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydantic import AwareDatetime, BaseModel

from netra_auth.identity import Principal, UserId


class Revoked(StrEnum):
    """Whose access tokens are revoked."""

    TOKEN = "token"  # nosec B105
    SESSION = "session"
    USER = "user"


class Revocation(BaseModel, frozen=True):
    """The end of one token, of a session's, or of those of a user that were issued up to `at`.

    `until` is when the last token that it covers has expired.
    """

    what: Revoked
    subject: str
    at: AwareDatetime
    until: AwareDatetime


class RevokesTokens(Protocol):
    """What is told that a user's tokens no longer say what is so; `Revocations` is one."""

    async def revoke_user(self, user: UserId, /, *, sign_out: bool = True) -> object:
        """Revoke the access tokens issued to *user* until now, and the refresh tokens too where they *sign_out*."""


class RevocationSet:
    """The revocations that a verifier knows; as many as were made within the life of a token."""

    def __init__(self) -> None:
        self._until: dict[tuple[Revoked, str], datetime] = {}
        self._users: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, revocation: Revocation) -> None:
        """Take in a revocation, as often as it is told and in whichever order."""
        key = (revocation.what, revocation.subject)
        self._until[key] = max(revocation.until, self._until.get(key, revocation.until))
        if revocation.what is Revoked.USER:
            before = self._users.get(revocation.subject, revocation.at)
            self._users[revocation.subject] = max(revocation.at, before)

    def covers(self, principal: Principal) -> bool:
        """Tell whether the token that speaks for *principal* was revoked.

        A token that was issued in the very microsecond of its user's revocation counts as issued before it.
        """
        if (Revoked.TOKEN, principal.token) in self._until:
            return True
        if (Revoked.SESSION, principal.session) in self._until:
            return True
        before = self._users.get(principal.user)
        return before is not None and principal.issued_at <= before

    def forget(self, now: datetime) -> None:
        """Drop the revocations whose tokens have all expired."""
        for key in [key for key, until in self._until.items() if until <= now]:
            del self._until[key]
            if key[0] is Revoked.USER:
                del self._users[key[1]]
