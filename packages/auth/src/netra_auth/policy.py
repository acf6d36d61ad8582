"""Which role may what: a table of permissions, each role adding to those below it; pure."""

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import cached_property
from typing import NewType, Self

from pydantic import BaseModel, model_validator

from netra_auth.identity import Role

Permission = NewType("Permission", str)
"""What can be done to which kind of thing, as `kind:action`: two words of a to z, 0 to 9, - and _."""

_PERMISSION = re.compile(r"[a-z][a-z0-9_-]{0,62}:[a-z][a-z0-9_-]{0,62}")


class Reach(IntEnum):
    """How far a permission goes in the tenant."""

    NOTHING = 0
    OWN = 1
    ALL = 2


class Allowance(BaseModel, frozen=True, extra="forbid"):
    """What a role adds to those below it: on things that the user owns, and on all of the tenant."""

    own: frozenset[Permission] = frozenset()
    all: frozenset[Permission] = frozenset()


class AccessPolicy(BaseModel, frozen=True, extra="forbid"):
    """What each role adds to those below it; what stands nowhere here doesn't exist.

    Raises:
        ValueError: a permission isn't of the form `kind:action`.
    """

    adds: Mapping[Role, Allowance]

    @model_validator(mode="after")
    def _permissions_are_well_formed(self) -> Self:
        if not all(_PERMISSION.fullmatch(permission) for permission in self.permissions):
            raise ValueError("a permission has the form kind:action, in words of a to z, 0 to 9, - and _")
        return self

    @cached_property
    def permissions(self) -> frozenset[Permission]:
        """All permissions that there are."""
        return frozenset().union(*(allowance.own | allowance.all for allowance in self.adds.values()))

    def reach(self, roles: Iterable[Role], permission: Permission) -> Reach:
        """Say how far *permission* goes for somebody with *roles*."""
        top = max(roles, default=None)
        below = [added for role, added in self.adds.items() if top is not None and role <= top]
        if any(permission in added.all for added in below):
            return Reach.ALL
        return Reach.OWN if any(permission in added.own for added in below) else Reach.NOTHING


def _all(*permissions: str, own: Iterable[str] = ()) -> Allowance:
    return Allowance(all=frozenset(map(Permission, permissions)), own=frozenset(map(Permission, own)))


PLATFORM = AccessPolicy(
    adds={
        Role.STANDARD_USER: _all(
            "run:start", "saving:read", "comment:write",
            own=("run:read", "run:cancel", "bill:read", "comment:delete", "session:end"),
        ),
        Role.POWER_USER: _all("run:read", "bill:read", "bill:upload", "saving:review"),
        Role.DEVELOPER: _all("run:cancel", "tool:register", "tool:run", "setting:read", "flag:write"),
        Role.ADMIN: _all(
            "saving:approve", "bill:delete", "comment:delete", "session:end", "setting:write",
            "user:read", "user:invite", "user:end", "violation:read",
        ),
        Role.SUPER_ADMIN: _all("tenant:change", "tenant:end", "key:rotate"),
    }
)  # fmt: skip
"""The platform's own permissions."""
