"""How a plan goes from a draft to savings: who may do what to it, and when; pure."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import AwareDatetime

from netra_auth import PLATFORM, AccessPolicy, Allowance, Permission, Role
from netra_workflows.advice import Wave
from netra_workflows.errors import NoSuchStep, NotNow, SameEyes
from netra_workflows.model import Certainty, Effort, Frozen


class State(StrEnum):
    """Where a plan stands."""

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    IN_APPROVAL = "in_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXECUTED = "executed"


class Act(StrEnum):
    """What can be done to a plan; each is an entry of its trail."""

    DRAFTED = "drafted"
    REVISED = "revised"
    SUBMITTED = "submitted"
    ENDORSED = "endorsed"
    SENT_BACK = "sent_back"
    REJECTED = "rejected"
    APPROVED = "approved"
    EXECUTED = "executed"


READ: Final = Permission("saving:read")
COMMENT: Final = Permission("comment:write")
SUBMIT: Final = Permission("saving:submit")
REVIEW: Final = Permission("saving:review")
APPROVE: Final = Permission("saving:approve")
EXECUTE: Final = Permission("saving:execute")

_NEXT: Final[Mapping[tuple[Act, State], State]] = {
    (Act.REVISED, State.DRAFT): State.DRAFT,
    (Act.SUBMITTED, State.DRAFT): State.IN_REVIEW,
    (Act.ENDORSED, State.IN_REVIEW): State.IN_APPROVAL,
    (Act.SENT_BACK, State.IN_REVIEW): State.DRAFT,
    (Act.SENT_BACK, State.IN_APPROVAL): State.DRAFT,
    (Act.REJECTED, State.IN_REVIEW): State.REJECTED,
    (Act.REJECTED, State.IN_APPROVAL): State.REJECTED,
    (Act.APPROVED, State.IN_APPROVAL): State.APPROVED,
    (Act.EXECUTED, State.APPROVED): State.APPROVED,
}
_NEEDS: Final[Mapping[Act, Permission]] = {
    Act.REVISED: SUBMIT,
    Act.SUBMITTED: SUBMIT,
    Act.ENDORSED: REVIEW,
    Act.APPROVED: APPROVE,
    Act.EXECUTED: EXECUTE,
}


def collaboration_policy(base: AccessPolicy = PLATFORM) -> AccessPolicy:
    """Add to *base* what plans need: power users submit, and developers execute; review and approval it has."""
    adds = dict(base.adds)
    for role, permission in ((Role.POWER_USER, SUBMIT), (Role.DEVELOPER, EXECUTE)):
        allowance = adds.get(role, Allowance())
        adds[role] = Allowance(own=allowance.own, all=allowance.all | {permission})
    return AccessPolicy(adds=adds)


class Planned(Frozen):
    """One step of a plan."""

    number: int
    wave: Wave
    rule: str
    title: str
    provider: str
    currency: str
    action: str
    risk: str
    effort: Effort
    certainty: Certainty
    saving: Decimal
    a_month: Decimal
    a_year: Decimal
    cost: Decimal
    years_return: Decimal | None


class SharedPlan(Frozen):
    """A plan that people decide on; *revision* rises with each act, and the next act names it.

    `left_out` and `done` are numbers of steps.
    """

    id: UUID
    state: State
    revision: int
    left_out: tuple[int, ...]
    done: tuple[int, ...]
    submitted_by: str | None
    endorsed_by: str | None
    approved_by: str | None
    made_at: AwareDatetime
    steps: tuple[Planned, ...]

    @property
    def open(self) -> frozenset[int]:
        """The steps that are neither left out nor done."""
        return frozenset(step.number for step in self.steps) - {*self.left_out, *self.done}


class Entry(Frozen):
    """One act, as the trail keeps it."""

    revision: int
    actor: str
    act: Act
    became: State
    step: int | None
    said: str
    at: AwareDatetime


class Comment(Frozen):
    """What somebody said about a plan."""

    id: int
    author: str
    said: str
    at: AwareDatetime


def needed(act: Act, state: State) -> Permission:
    """Return what an act asks of whoever does it; a plan is sent back or rejected by those who decide next."""
    return _NEEDS.get(act) or (APPROVE if state is State.IN_APPROVAL else REVIEW)


def after(
    plan: SharedPlan, act: Act, actor: str, *, step: int | None = None, without: frozenset[int] = frozenset()
) -> SharedPlan:
    """Return the plan as it is after an act.

    Args:
        step: the one that was executed.
        without: the steps that a revision leaves out.

    Raises:
        NotNow: its state doesn't allow the act.
        SameEyes: who submitted it, endorsed it and approves it are three people.
        NoSuchStep: the plan has no such step that is still to be done, or none would be left.
    """
    became = _NEXT.get((act, plan.state))
    if became is None:
        raise NotNow(act.value, plan.state.value)
    changed: dict[str, object] = {"state": became, "revision": plan.revision + 1}
    if act is Act.REVISED:
        if not without < {step.number for step in plan.steps}:
            raise NoSuchStep
        changed["left_out"] = tuple(sorted(without))
    elif act is Act.SENT_BACK:
        changed |= {"submitted_by": None, "endorsed_by": None}
    elif act is Act.EXECUTED:
        changed |= _executed(plan, step)
    else:
        changed |= _decided(plan, act, actor)
    return plan.model_copy(update=changed)


def _executed(plan: SharedPlan, step: int | None) -> dict[str, object]:
    if step is None or step not in plan.open:
        raise NoSuchStep
    state = State.EXECUTED if plan.open == {step} else State.APPROVED
    return {"done": (*plan.done, step), "state": state}


def _decided(plan: SharedPlan, act: Act, actor: str) -> dict[str, object]:
    """Note who had which part; the same person has one of them."""
    parts = {Act.SUBMITTED: "submitted_by", Act.ENDORSED: "endorsed_by", Act.APPROVED: "approved_by"}
    if (
        act is not Act.SUBMITTED
        and act is not Act.REJECTED
        and actor in (plan.submitted_by, plan.endorsed_by)
    ):
        raise SameEyes
    return {parts[act]: actor} if act in parts else {}
