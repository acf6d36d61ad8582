"""What was changed about somebody's rights: a row that stays as it was written."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel

from netra_auth.identity import Role, TenantId, UserId
from netra_auth.policy import Permission


class Act(StrEnum):
    """What was done."""

    ROLE_GIVEN = "role given"
    ROLE_TAKEN = "role taken"
    GRANTED = "granted"
    DENIED = "denied"
    GRANT_WITHDRAWN = "grant withdrawn"
    DENIAL_WITHDRAWN = "denial withdrawn"


class Change(BaseModel, frozen=True):
    """Who changed what about whom, and when. `id` orders changes; it is 0 until the row is written.

    A change is either of a `role`, or of a `permission`, then of one `resource` or, without, of all.
    """

    id: int = 0
    at: datetime
    actor: UserId
    tenant: TenantId
    user: UserId
    act: Act
    role: Role | None = None
    permission: Permission | None = None
    resource: str | None = None
    until: datetime | None = None
