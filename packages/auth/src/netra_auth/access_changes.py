"""Changes of rights: each by somebody who may make it, one at a time in a tenant, and written down."""

from collections.abc import Mapping
from datetime import datetime

from netra_auth.access_change import Act, Change
from netra_auth.clock import Clock
from netra_auth.decision import Effect, Reason, Standing, refuse_role, refuse_ruling
from netra_auth.errors import AccessDenied, LastAdministrator, TenantTaken
from netra_auth.identity import Principal, Role, TenantId, UserId, check_names
from netra_auth.policy import AccessPolicy, Permission
from netra_auth.revocation import RevokesTokens
from netra_auth.store import access as store
from netra_auth.store import violations
from netra_auth.store.database import Database, Transaction
from netra_auth.violation import Kind, Violation

_WIDENING = frozenset({Act.GRANTED, Act.DENIAL_WITHDRAWN})
_UNTRUE_IN_TOKENS = frozenset({Act.ROLE_GIVEN, Act.ROLE_TAKEN, Act.DENIED})


class AccessChanges:
    """Make changes of rights, and refuse them to those who may not."""

    def __init__(
        self, database: Database, *, policy: AccessPolicy, revocations: RevokesTokens | None,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._database = database
        self._policy = policy
        self._revocations = revocations
        self._clock = clock

    async def found(self, user: UserId, tenant: TenantId) -> None:
        """Make *user* the super_admin of a tenant in which nobody has a role.

        Raises:
            TenantTaken: somebody has one.
        """
        check_names(user, tenant)
        change = Change(
            at=self._clock(), actor=user, tenant=tenant, user=user, act=Act.ROLE_GIVEN, role=Role.SUPER_ADMIN
        )
        async with self._database.transaction() as work:
            await store.lock(work, tenant)
            if await store.is_held(work, tenant, Role.STANDARD_USER):
                raise TenantTaken
            await store.apply(work, change)
        await self._revoke(change)

    async def make(
        self, act: Act, actor: Principal, user: UserId, tenant: TenantId, *, role: Role | None = None,
        permission: Permission | None = None, resource: str | None = None, until: datetime | None = None,
    ) -> bool:  # fmt: skip
        """Make a change if *actor* may; return False where nothing was to be changed.

        Raises:
            AccessDenied: *actor* may not; it is in the log of violations.
            LastAdministrator: the tenant would be left to nobody.
        """
        check_names(actor.user, actor.tenant, user, tenant)
        change = Change(
            at=self._clock(), actor=actor.user, tenant=tenant, user=user, act=act, role=role,
            permission=permission, resource=resource, until=until,
        )  # fmt: skip
        if tenant == actor.tenant:
            changed = await self._make_as_member(change)
        else:  # its lock is left alone
            changed = Reason.OTHER_TENANT
            await violations.add(self._database, _attempt(change, actor.tenant, changed))
        if isinstance(changed, Reason):
            raise AccessDenied(changed)
        await self._revoke(change)
        return changed

    async def _make_as_member(self, change: Change) -> bool | Reason:
        """Make a change, or write down the attempt, while what the rules look at stays as it is."""
        async with self._database.transaction() as work:
            await store.lock(work, change.tenant)
            if (reason := await self._reason_against(work, change)) is not None:
                await violations.add(work, _attempt(change, change.tenant, reason))
                return reason
            changed = await store.apply(work, change)
            if changed and change.act is Act.ROLE_TAKEN:
                await _keep_an_administrator(work, change)
            return changed

    async def _reason_against(self, work: Transaction, change: Change) -> Reason | None:
        permission = change.permission or Permission("")
        actor, target = [
            await store.standing(work, who, change.tenant, permission, resource=None, everything=True)
            for who in (change.actor, change.user)
        ]
        if change.role is not None:
            return refuse_role(actor, change.user, change.role, give=change.act is Act.ROLE_GIVEN)
        widens = change.act in _WIDENING or _ends_a_denial_sooner(change, target)
        return refuse_ruling(self._policy, actor, target, permission, widens=widens, at=change.at)

    async def _revoke(self, change: Change) -> None:
        """Have tokens revoked, also where nothing changed: an earlier call may have died before this."""
        if self._revocations is not None and change.act in _UNTRUE_IN_TOKENS:
            await self._revocations.revoke_user(change.user, sign_out=False)


def _ends_a_denial_sooner(change: Change, target: Standing) -> bool:
    """Say whether a denial takes the place of one that would have held for longer: a way to take it back."""
    until = change.until
    return change.act is Act.DENIED and until is not None and any(
        one.effect is Effect.DENIAL and one.resource == change.resource and one.holds(at=max(until, change.at))
        for one in target.rulings
    )  # fmt: skip


def denial(
    user: UserId, tenant: TenantId, reason: Reason, where: TenantId, tried: Mapping[str, str], *,
    at: datetime, address: str | None = None,
) -> Violation:  # fmt: skip
    """Describe what *user*, acting in *tenant*, *tried* in the tenant *where*."""
    elsewhere = reason is Reason.OTHER_TENANT
    return Violation(
        at=at,
        kind=Kind.OTHER_TENANT if elsewhere else Kind.DENIED,
        user=user,
        tenant=tenant,
        address=address,
        detail={**tried, "reason": reason.value, **({"other_tenant": where} if elsewhere else {})},
    )


def _attempt(change: Change, tenant: TenantId, reason: Reason) -> Violation:
    tried = {"act": change.act.value, "of": change.user, "right": change.role or change.permission or ""}
    return denial(change.actor, tenant, reason, change.tenant, tried, at=change.at)


async def _keep_an_administrator(work: Transaction, change: Change) -> None:
    """Raise where the role that was taken, or a higher one, is left to nobody who could run the tenant."""
    role = change.role
    if role is not None and role >= Role.ADMIN and not await store.is_held(work, change.tenant, role):
        raise LastAdministrator(role)
