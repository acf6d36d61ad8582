"""People decide on a plan: the class that those hold who let them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import Access, Permission, Principal, Resource, UserId
from netra_workflows.errors import NotFound, PlanChanged, StoreUnavailable
from netra_workflows.review import (
    COMMENT,
    READ,
    Act,
    Comment,
    Entry,
    SharedPlan,
    after,
    needed,
)
from netra_workflows.review_store import Notice, ReviewStore
from netra_workflows.wording import check_text

KIND: Final = "partial_result"  # of the published events the one that says anything at all
AGENT: Final = "collaboration"
_AT_ONCE: Final = 500


class EventSink(Protocol):
    """Takes events for a user's screens."""

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> object:
        """Deliver an event; one that comes twice has the same *event_id*."""


class Collaboration:
    """The plans of one installation, named by its *namespace*, and those who decide on them.

    Every act is asked of *access* in the tenant of the principal, names the revision that it is based on, and is an
    entry of the trail. Any call may raise `AccessDenied`, and `StoreUnavailable` where a store is away.

    Args:
        access: with a policy that has the permissions of plans; see `collaboration_policy`.
        sink: takes what those concerned are to see; what it doesn't take waits for the next act, or for `deliver`.
    """

    def __init__(
        self, *, engine: AsyncEngine, namespace: str, access: Access, sink: EventSink,
        deadline: timedelta = timedelta(seconds=2),
    ) -> None:  # fmt: skip
        self._store = ReviewStore(engine, namespace, deadline=deadline)
        self._access = access
        self._sink = sink

    async def plan(self, principal: Principal, plan: UUID) -> SharedPlan:
        """Return a plan.

        Raises:
            PlanNotFound: the principal's tenant has none of that id.
        """
        found = await self._store.plan(plan, principal.tenant)
        await self._require(principal, READ, plan)
        return found

    async def plans(self, principal: Principal, *, most: int = 100) -> Sequence[UUID]:
        """Return the ids of up to *most* plans of the principal's tenant, the newest first."""
        await self._require(principal, READ, None)
        return await self._store.plans(principal.tenant, most=most)

    async def invite(self, principal: Principal, plan: UUID, users: Collection[UserId]) -> None:
        """Let members of the tenant hear of a plan from now on.

        Raises:
            NotFound: the tenant has no such plan, or one of them is no member.
        """
        await self.plan(principal, plan)
        await self._require(principal, COMMENT, None, kind="comment")
        for user in users:
            if not await self._access.roles(user, principal.tenant):
                raise NotFound("one of them is no member of the tenant; invite them there first")
        await self._store.concern(plan, users)

    async def comment(self, principal: Principal, plan: UUID, said: str) -> int:
        """Say something about a plan; returns the comment's number.

        Raises:
            PlanNotFound, InvalidText: nothing was said.
        """
        check_text(said, "a comment", lines=True)
        await self._store.plan(plan, principal.tenant)
        await self._require(principal, COMMENT, None, kind="comment")
        number = await self._store.comment(plan, principal.tenant, author=principal.user, said=said)
        await self._told()
        return number

    async def revise(
        self, principal: Principal, plan: UUID, *, base: int, without: Collection[int], said: str
    ) -> SharedPlan:
        """Leave steps out of a draft, or take them in again; raises as `submit` does, and `NoSuchStep`."""
        return await self._act(principal, plan, Act.REVISED, base, said, without=frozenset(without))

    async def submit(self, principal: Principal, plan: UUID, *, base: int, said: str) -> SharedPlan:
        """Hand a draft to review.

        Args:
            base: the revision that the principal looked at.
            said: why, for the trail.

        Raises:
            PlanNotFound: the principal's tenant has no such plan.
            PlanChanged: it is another revision by now.
            NotNow: its state doesn't allow it.
            InvalidText: nobody could keep what was said.
        """
        return await self._act(principal, plan, Act.SUBMITTED, base, said)

    async def endorse(self, principal: Principal, plan: UUID, *, base: int, said: str) -> SharedPlan:
        """Pass a reviewed plan on to approval; raises as `submit` does, and `SameEyes` for who submitted it."""
        return await self._act(principal, plan, Act.ENDORSED, base, said)

    async def send_back(self, principal: Principal, plan: UUID, *, base: int, said: str) -> SharedPlan:
        """Ask for changes: the plan is a draft again; raises as `submit` does."""
        return await self._act(principal, plan, Act.SENT_BACK, base, said)

    async def reject(self, principal: Principal, plan: UUID, *, base: int, said: str) -> SharedPlan:
        """End a plan; raises as `submit` does."""
        return await self._act(principal, plan, Act.REJECTED, base, said)

    async def approve(self, principal: Principal, plan: UUID, *, base: int, said: str) -> SharedPlan:
        """Let a plan be executed; raises as `endorse` does, also for who endorsed it."""
        return await self._act(principal, plan, Act.APPROVED, base, said)

    async def execute(
        self, principal: Principal, plan: UUID, step: int, *, base: int, said: str
    ) -> SharedPlan:
        """Note that a step was done; the last one ends the plan. Raises as `submit` does, and `NoSuchStep`."""
        return await self._act(principal, plan, Act.EXECUTED, base, said, step=step)

    async def trail(self, principal: Principal, plan: UUID) -> tuple[Entry, ...]:
        """Return who did what to a plan, in order; raises as `plan` does."""
        await self.plan(principal, plan)
        return await self._store.trail(plan, principal.tenant)

    async def comments(self, principal: Principal, plan: UUID) -> tuple[Comment, ...]:
        """Return what was said about a plan, in order; raises as `plan` does."""
        await self.plan(principal, plan)
        return await self._store.comments(plan, principal.tenant)

    async def deliver(self) -> int:
        """Tell those concerned what they weren't told yet; returns how many notices there were.

        A notice that comes twice, as after a crash, has the same id. Where the sink refuses one of a plan's, the later
        ones of that plan wait, and `deliver` goes on with the others.
        """
        waiting: dict[UUID, list[Notice]] = defaultdict(list)
        for notice in await self._store.unsent(most=_AT_ONCE):
            waiting[notice.plan].append(notice)
        sent = [one for own in waiting.values() for one in await self._emitted(own)]
        if sent:
            await self._store.sent(sent)
        return len(sent)

    async def _act(
        self, principal: Principal, plan: UUID, act: Act, base: int, said: str, *, step: int | None = None,
        without: frozenset[int] = frozenset(),
    ) -> SharedPlan:  # fmt: skip
        check_text(said, "what is said of an act", lines=True)
        found = await self._store.plan(plan, principal.tenant)
        await self._require(principal, needed(act, found.state), plan)
        if found.revision != base:
            raise PlanChanged(base, found.revision)
        became = after(found, act, principal.user, step=step, without=without)
        await self._store.move(
            found, became, principal.tenant, act, actor=principal.user, step=step, said=said
        )
        await self._told()
        return became

    async def _require(
        self, principal: Principal, permission: Permission, plan: UUID | None, *, kind: str = "saving"
    ) -> None:
        about = None if plan is None else str(plan)
        await self._access.require(
            principal, permission, Resource(kind=kind, tenant=principal.tenant, id=about)
        )

    async def _told(self) -> None:
        """Tell now what can be told; the act stands whatever becomes of that."""
        with suppress(StoreUnavailable):
            await self.deliver()

    async def _emitted(self, notices: Sequence[Notice]) -> list[Notice]:
        taken: list[Notice] = []
        for notice in notices:
            data: dict[str, JsonValue] = {"agent": AGENT, "content": notice.content}
            try:
                await self._sink.emit(
                    KIND, user=notice.user_id, run=str(notice.plan), event_id=notice.event_id, data=data
                )
            except Exception:  # whatever a sink raises: the notice stays, and so do those after it
                break
            taken.append(notice)
        return taken
