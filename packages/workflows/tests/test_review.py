"""A plan goes forward only by the rules, whoever tries whatever in whichever order."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netra_auth import PLATFORM, Reach, Role
from netra_workflows import Act, ActRefused, Planned, SharedPlan, State, collaboration_policy
from netra_workflows.advice import Wave
from netra_workflows.model import Certainty, Effort
from netra_workflows.review import APPROVE, EXECUTE, REVIEW, SUBMIT, after, needed

PEOPLE = ("ana", "rui", "apo", "eve")
FORWARD = (Act.SUBMITTED, Act.ENDORSED, Act.APPROVED, Act.EXECUTED)  # tried more often, so that plans get far


def planned(number: int) -> Planned:
    """Make a step."""
    return Planned(
        number=number, wave=Wave.NOW, rule="aws_gp2", title="gp2", provider="AWS", currency="USD", action="Move it",
        risk="None known", effort=Effort.SMALL, certainty=Certainty.HIGH, saving=Decimal(1), a_month=Decimal(1),
        a_year=Decimal(12), cost=Decimal(200), years_return=None,
    )  # fmt: skip


def draft(steps: int = 3) -> SharedPlan:
    """Make a plan that the agents have just drawn up."""
    return SharedPlan(
        id=UUID(int=1), state=State.DRAFT, revision=1, left_out=(), done=(), submitted_by=None, endorsed_by=None,
        approved_by=None, made_at=datetime(2026, 1, 1, tzinfo=UTC), steps=tuple(map(planned, range(1, steps + 1))),
    )  # fmt: skip


tries = st.tuples(
    st.sampled_from([*Act, *FORWARD * 4]), st.sampled_from(PEOPLE), st.integers(0, 4),
    st.frozensets(st.integers(0, 4), max_size=3),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(tries, min_size=12, max_size=40))
def test_whatever_is_tried_three_people_stand_behind_what_is_executed(
    tried: list[tuple[Act, str, int, frozenset[int]]],
) -> None:
    """No order of acts lets one person submit, endorse and approve, or a step be done that nobody approved."""
    plan = draft()
    for act, actor, step, without in tried:
        before = plan
        try:
            plan = after(plan, act, actor, step=step, without=without)
        except ActRefused:
            continue
        assert plan.revision == before.revision + 1
        assert before.state not in (State.REJECTED, State.EXECUTED)
        if plan.state in (State.APPROVED, State.EXECUTED):
            parts = {plan.submitted_by, plan.endorsed_by, plan.approved_by}
            assert len(parts) == 3
            assert None not in parts
        assert len(set(plan.done)) == len(plan.done)
        assert not set(plan.done) & set(plan.left_out)
        assert not plan.done or plan.state in (State.APPROVED, State.EXECUTED)
        assert (plan.state is State.EXECUTED) == (not plan.open)


@pytest.mark.soak
@settings(max_examples=5_000, deadline=None)
@given(st.lists(tries, min_size=12, max_size=40))
def test_whatever_is_tried_thousands_of_times_three_people_stand_behind_it(
    tried: list[tuple[Act, str, int, frozenset[int]]],
) -> None:
    """The same, for thousands of plans."""
    test_whatever_is_tried_three_people_stand_behind_what_is_executed.hypothesis.inner_test(tried)  # type: ignore[attr-defined]


def test_what_is_sent_back_may_be_submitted_by_somebody_else() -> None:
    """Who endorsed an earlier draft has no part in the next one."""
    plan = draft()
    for act, actor in (
        (Act.SUBMITTED, "ana"),
        (Act.ENDORSED, "rui"),
        (Act.SENT_BACK, "apo"),
        (Act.SUBMITTED, "rui"),
    ):
        plan = after(plan, act, actor)  # fmt: skip

    assert (plan.submitted_by, plan.endorsed_by, plan.state) == ("rui", None, State.IN_REVIEW)


@pytest.mark.parametrize(
    ("act", "state", "permission"),
    [
        (Act.SUBMITTED, State.DRAFT, SUBMIT),
        (Act.REVISED, State.DRAFT, SUBMIT),
        (Act.ENDORSED, State.IN_REVIEW, REVIEW),
        (Act.SENT_BACK, State.IN_REVIEW, REVIEW),
        (Act.REJECTED, State.IN_REVIEW, REVIEW),
        (Act.SENT_BACK, State.IN_APPROVAL, APPROVE),
        (Act.REJECTED, State.IN_APPROVAL, APPROVE),
        (Act.APPROVED, State.IN_APPROVAL, APPROVE),
        (Act.EXECUTED, State.APPROVED, EXECUTE),
    ],
)
def test_each_act_asks_for_the_permission_of_whoever_decides_then(
    act: Act, state: State, permission: str
) -> None:
    """A reviewer stops a plan while it is reviewed, and only an approver once it waits for approval."""
    assert needed(act, state) == permission


@pytest.mark.parametrize(
    ("permission", "least"),
    [
        (SUBMIT, Role.POWER_USER), (REVIEW, Role.POWER_USER), (APPROVE, Role.ADMIN), (EXECUTE, Role.DEVELOPER),
    ],
)  # fmt: skip
def test_a_role_has_what_its_part_needs_and_the_one_below_has_not(permission: str, least: Role) -> None:
    """The platform's own permissions stay as they are, and two are added."""
    policy = collaboration_policy()

    for role in Role:
        reach = policy.reach([role], permission)  # type: ignore[arg-type]
        assert (reach is Reach.ALL) == (role >= least)
    assert PLATFORM.permissions < policy.permissions
