"""Roles, grants and denials: the class that a caller asks who may do what."""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.access_change import Act, Change
from netra_auth.access_changes import AccessChanges, denial
from netra_auth.clock import Clock, utc_now
from netra_auth.decision import Decision, Effect, Resource, decide
from netra_auth.errors import AccessDenied, PermissionUnknown
from netra_auth.identity import Principal, Role, TenantId, UserId, check_names
from netra_auth.policy import PLATFORM, AccessPolicy, Permission
from netra_auth.revocation import RevokesTokens
from netra_auth.store import access as store
from netra_auth.store import violations
from netra_auth.store.database import Database


class Access:
    """Say and change who may do what.

    Rights are read from PostgreSQL at each question, never from a token, so that a change counts as soon as
    the call that made it returned. Roles count in the tenant in which they are held and nowhere else, and
    what a principal asks for is decided in the tenant of their token.
    """

    def __init__(
        self, *, engine: AsyncEngine, policy: AccessPolicy = PLATFORM, revocations: RevokesTokens | None = None,
        clock: Clock = utc_now, deadline: timedelta = timedelta(seconds=2),
    ) -> None:  # fmt: skip
        self._database = Database(engine, deadline=deadline)
        self._changes = AccessChanges(self._database, policy=policy, revocations=revocations, clock=clock)
        self._policy = policy
        self._clock = clock

    async def roles(self, user: UserId, tenant: TenantId) -> frozenset[Role]:
        """Return the roles of *user* in *tenant*; the highest counts.

        Raises:
            InvalidIdentifier: no user or tenant has such a name.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        check_names(user, tenant)
        return await store.roles(self._database, user, tenant)

    async def allowed(self, principal: Principal, permission: Permission, resource: Resource) -> bool:
        """Say whether *principal* may do to *resource* what *permission* is for, in one statement.

        Raises:
            PermissionUnknown: the policy lists no such permission.
            InvalidIdentifier: no user or tenant has such a name.
            StoreUnavailable: PostgreSQL did not answer within the deadline; let nobody in.
        """
        return (await self._decide(principal, permission, resource)).allowed

    async def require(
        self, principal: Principal, permission: Permission, resource: Resource, *, address: str | None = None
    ) -> None:
        """Return where `allowed` says so; else write the attempt, from *address*, to the log of violations.

        Raises:
            AccessDenied: *principal* may not; its `reason` says why.
            PermissionUnknown, InvalidIdentifier, StoreUnavailable: as for `allowed`.
        """
        decision = await self._decide(principal, permission, resource)
        if decision.allowed:
            return
        tried = {"permission": permission, "kind": resource.kind}
        if resource.id is not None:
            tried["resource"] = resource.id
        violation = denial(
            principal.user, principal.tenant, decision.reason, resource.tenant, tried,
            at=self._clock(), address=address,
        )  # fmt: skip
        await violations.add(self._database, violation)
        raise AccessDenied(decision.reason)

    async def found(self, user: UserId, tenant: TenantId) -> None:
        """Make *user* the first super_admin of a *tenant* in which nobody has a role yet.

        Raises:
            TenantTaken: somebody has one, also where two found it at once.
            InvalidIdentifier, StoreUnavailable: as for `roles`.
        """
        await self._changes.found(user, tenant)

    async def assign(self, actor: Principal, user: UserId, tenant: TenantId, role: Role) -> bool:
        """Give *user* a role and revoke their access tokens; return False if they have it already.

        *actor* is an admin or more and stands above the role; super_admins also appoint each other.

        Raises:
            AccessDenied: *actor* may not; it is in the log of violations.
            InvalidIdentifier: no user or tenant has such a name.
            StoreUnavailable: a store did not answer in time; the change may be made, repeat the call.
        """
        return await self._changes.make(Act.ROLE_GIVEN, actor, user, tenant, role=role)

    async def unassign(self, actor: Principal, user: UserId, tenant: TenantId, role: Role) -> bool:
        """Take a role from *user* and revoke their access tokens; return False if they don't have it.

        *actor* may do that where they may give the role, and anybody may lay down a role of their own.

        Raises:
            LastAdministrator: nobody else in the tenant has this role or a higher one, and it is admin or more.
            AccessDenied, InvalidIdentifier, StoreUnavailable: as for `assign`.
        """
        return await self._changes.make(Act.ROLE_TAKEN, actor, user, tenant, role=role)

    async def grant(
        self, actor: Principal, user: UserId, permission: Permission, resource: Resource | None = None,
        until: datetime | None = None,
    ) -> bool:  # fmt: skip
        """Allow *user* what their roles don't, in *actor*'s tenant; return False if it stands so already.

        Without a resource, or with one that has no id, it is for all of the kind; from *until* it no longer
        counts. *actor* is an admin or more, stands above the user, and has the permission on all of the
        tenant by their own role.

        Raises:
            PermissionUnknown: the policy lists no such permission.
            ValueError: *resource* is of another kind than the permission is for, or *until* is naive.
            AccessDenied, InvalidIdentifier, StoreUnavailable: as for `assign`.
        """
        return await self._rule(Act.GRANTED, actor, user, permission, resource, until)

    async def deny(
        self, actor: Principal, user: UserId, permission: Permission, resource: Resource | None = None,
        until: datetime | None = None,
    ) -> bool:  # fmt: skip
        """Refuse *user* what roles or grants give, and revoke their access tokens; otherwise as `grant`.

        *actor* needs to stand above the user, and not to have the permission; but one that ends before the
        denial that it takes the place of asks for what `grant` does.
        """
        return await self._rule(Act.DENIED, actor, user, permission, resource, until)

    async def withdraw(
        self, actor: Principal, user: UserId, permission: Permission, resource: Resource | None = None,
        *, effect: Effect,
    ) -> bool:  # fmt: skip
        """Take back a grant or a denial of exactly this; return False if there is none.

        Taking a denial back asks of *actor* what `grant` does. Raises as `grant` does.
        """
        act = Act.GRANT_WITHDRAWN if effect is Effect.GRANT else Act.DENIAL_WITHDRAWN
        return await self._rule(act, actor, user, permission, resource, None)

    async def changes(
        self, tenant: TenantId, *, user: UserId | None = None, before: int | None = None, size: int = 100
    ) -> list[Change]:
        """Return up to *size* changes in *tenant*, the latest first; go on with the last one's id as *before*.

        Raises:
            InvalidIdentifier, StoreUnavailable: as for `roles`.
        """
        check_names(tenant, *([] if user is None else [user]))
        return await store.changes(self._database, tenant, user=user, before=before, size=size)

    async def _decide(self, principal: Principal, permission: Permission, resource: Resource) -> Decision:
        self._check_permission(permission)
        check_names(principal.user, principal.tenant)
        standing = await store.standing(
            self._database, principal.user, principal.tenant, permission, resource=resource.id
        )
        return decide(self._policy, standing, permission, resource, at=self._clock())

    def _check_permission(self, permission: Permission) -> None:
        if permission not in self._policy.permissions:
            raise PermissionUnknown

    async def _rule(
        self, act: Act, actor: Principal, user: UserId, permission: Permission, resource: Resource | None,
        until: datetime | None,
    ) -> bool:  # fmt: skip
        self._check_permission(permission)
        if resource is not None and permission.partition(":")[0] != resource.kind:
            raise ValueError("the permission is for things of another kind than the resource")
        if until is not None and until.tzinfo is None:
            raise ValueError("until is an aware instant; give it a time zone")
        tenant = actor.tenant if resource is None else resource.tenant
        about = None if resource is None else resource.id
        return await self._changes.make(
            act, actor, user, tenant, permission=permission, resource=about, until=until
        )
