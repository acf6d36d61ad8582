"""Who may do what in a tenant: tenant first, then a denial, a grant and the roles; pure."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator

from netra_auth.identity import Role, TenantId, UserId, check_name
from netra_auth.policy import AccessPolicy, Permission, Reach


def _check_optional(name: str | None) -> str | None:
    return None if name is None else check_name(name)


_Required, _Optional = BeforeValidator(check_name), BeforeValidator(_check_optional)


class Resource(BaseModel, frozen=True, extra="forbid"):
    """A thing of a tenant; without an id, all things of its kind there, as for making or listing them.

    Raises:
        InvalidIdentifier: no user, tenant or resource can have such a name.
    """

    kind: Annotated[str, _Required]
    tenant: Annotated[TenantId, _Required]
    id: Annotated[str | None, _Optional] = None
    owner: Annotated[UserId | None, _Optional] = None


class Effect(StrEnum):
    """What is said about one user and one permission, beside their roles."""

    GRANT = "grant"
    DENIAL = "denial"


class Ruling(BaseModel, frozen=True):
    """A grant or a denial, of one resource or of all of that kind, until an instant or for good."""

    effect: Effect
    permission: Permission
    resource: str | None = None
    until: datetime | None = None

    def covers(self, permission: Permission, resource: Resource, *, at: datetime) -> bool:
        """Say whether this is about *resource*, at that instant."""
        about = self.permission == permission and self.resource in (None, resource.id)
        return about and self.holds(at=at)

    def holds(self, *, at: datetime) -> bool:
        """Say whether its time is not over."""
        return self.until is None or at < self.until


class Standing(BaseModel, frozen=True):
    """What is on record about a user in a tenant."""

    user: UserId
    tenant: TenantId
    roles: frozenset[Role] = frozenset()
    rulings: tuple[Ruling, ...] = ()


class Reason(StrEnum):
    """Why something is allowed or not."""

    GRANTED = "granted to this user"
    ROLE = "given by a role"
    OWNER = "given by a role to the owner"
    OTHER_TENANT = "it belongs to another tenant"
    OTHER_KIND = "the permission is for things of another kind"
    NO_MEMBER = "the user has no role in the tenant"
    DENIED = "denied to this user"
    NOT_GIVEN = "no role or grant gives it"
    NOT_OWNER = "a role gives it to the owner alone"
    RANK = "only an admin changes rights, and those of a lower rank"
    SELF = "nobody changes their own rights"
    NOT_HELD = "nobody passes on what they don't have by their role"


_YES = frozenset({Reason.GRANTED, Reason.ROLE, Reason.OWNER})


class Decision(BaseModel, frozen=True):
    """An answer with its reason."""

    reason: Reason

    @property
    def allowed(self) -> bool:
        """Whether it may be done."""
        return self.reason in _YES


def decide(
    policy: AccessPolicy, standing: Standing, permission: Permission, resource: Resource, *, at: datetime
) -> Decision:
    """Decide whether somebody may do to *resource* what *permission* is for.

    Another tenant's things are refused, whatever the role: a super_admin too rules the tenant in which they
    hold that role, and no other. Who has no role there may do nothing, whatever they were granted. A denial
    beats a grant, and a grant beats the roles.
    """
    if resource.tenant != standing.tenant:
        return Decision(reason=Reason.OTHER_TENANT)
    if permission.partition(":")[0] != resource.kind:
        return Decision(reason=Reason.OTHER_KIND)
    if not standing.roles:
        return Decision(reason=Reason.NO_MEMBER)
    effects = {one.effect for one in standing.rulings if one.covers(permission, resource, at=at)}
    if Effect.DENIAL in effects:
        return Decision(reason=Reason.DENIED)
    if Effect.GRANT in effects:
        return Decision(reason=Reason.GRANTED)
    return Decision(reason=_by_role(policy.reach(standing.roles, permission), standing.user, resource))


def _by_role(reach: Reach, user: UserId, resource: Resource) -> Reason:
    if reach is Reach.ALL:
        return Reason.ROLE
    if reach is Reach.OWN:
        return Reason.OWNER if resource.owner == user else Reason.NOT_OWNER
    return Reason.NOT_GIVEN


def may_appoint(roles: Iterable[Role], role: Role) -> bool:
    """Say whether somebody with *roles* may give *role* to others, and take it from them.

    They are an admin or more, and stand above it. Nobody stands above a super_admin, so these appoint and
    dismiss each other.
    """
    top = max(roles, default=Role.STANDARD_USER)
    return top >= Role.ADMIN and (top > role or top is Role.SUPER_ADMIN)


def refuse_role(actor: Standing, user: UserId, role: Role, *, give: bool) -> Reason | None:
    """Say why *actor* may not give *role* to *user*, or take it; whoever holds a role may lay it down."""
    if not give and actor.user == user:
        return None
    return None if may_appoint(actor.roles, role) else Reason.RANK


def refuse_ruling(
    policy: AccessPolicy, actor: Standing, target: Standing, permission: Permission, *, widens: bool,
    at: datetime,
) -> Reason | None:  # fmt: skip
    """Say why *actor* may not add or withdraw a grant or denial of *target*'s.

    Where it *widens* what the target may do, the actor has the permission by their role on all of the tenant,
    and is denied it nowhere: so nobody reaches through another what they can't reach themselves.
    """
    if actor.user == target.user:
        return Reason.SELF
    if not may_appoint(actor.roles, max(target.roles, default=Role.STANDARD_USER)):
        return Reason.RANK
    denied = any(one.effect is Effect.DENIAL and one.holds(at=at) for one in actor.rulings)
    if widens and (denied or policy.reach(actor.roles, permission) is not Reach.ALL):
        return Reason.NOT_HELD
    return None
