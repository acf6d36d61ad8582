"""For whom a test matters: its marker, read and checked.

A test, a class or a module says it once; the closest one to the test counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_serializer

from netra_fixtures.errors import NetraFixturesError

MARKER = "business_value"
MARKER_HELP = (
    "business_value(tier, goals, impact): for whom this test matters: the lowest tier that has the feature, "
    "the goals it serves, and one sentence on what is lost without it"
)


class Tier(StrEnum):
    """What a customer pays for, from low to high; `<` and `sorted` follow that order, not the alphabet."""

    FREE = "free"
    EARLY = "early"
    MID = "mid"
    ENTERPRISE = "enterprise"

    @property
    def rank(self) -> int:
        """Count the tiers below this one."""
        return list(Tier).index(self)

    def __lt__(self, other: str) -> bool:
        return self.rank < Tier(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Tier(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Tier(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Tier(other).rank


class Goal(StrEnum):
    """What the business wants from a feature."""

    RETENTION = "user retention"
    STABILITY = "platform stability"
    SECURITY = "security and compliance"
    REVENUE = "revenue generation"
    EFFICIENCY = "operational efficiency"


TierName = Literal["free", "early", "mid", "enterprise"]
GoalName = Literal[
    "user retention",
    "platform stability",
    "security and compliance",
    "revenue generation",
    "operational efficiency",
]


def _one_line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value


class BusinessValue(BaseModel, frozen=True, extra="forbid"):
    """What a test is worth, and to whom.

    `tier` is the lowest that has the feature; every higher tier has it too.
    """

    tier: Tier
    goals: frozenset[Goal] = Field(min_length=1)
    impact: Annotated[str, BeforeValidator(_one_line), Field(min_length=10)]

    @field_serializer("goals")
    def _goals_in_order(self, goals: frozenset[Goal]) -> list[Goal]:
        return [goal for goal in Goal if goal in goals]


class ValueMarkerInvalid(NetraFixturesError):
    """A test carries a business_value marker that cannot be read."""

    def __init__(self, nodeid: str, reason: str) -> None:
        super().__init__(f"{nodeid}: {reason}")
        self.nodeid = nodeid
        self.reason = reason


def business_value(
    *,
    tier: Tier | TierName,
    goals: Collection[Goal | GoalName],
    impact: str,
) -> pytest.MarkDecorator:
    """Mark a test, a class or a module (`pytestmark = …`) with whom it matters to.

    Args:
        tier: the lowest tier that has the feature.
        goals: one or more.
        impact: what its users gain, or would lose; at least 10 characters.
    """
    return pytest.mark.business_value(tier=tier, goals=goals, impact=impact)


def value_of(item: pytest.Item) -> BusinessValue | None:
    """Read the marker closest to *item*; None where it has none.

    Raises:
        ValueMarkerInvalid: the marker cannot be read; the reason says how to write it.
    """
    mark = item.get_closest_marker(MARKER)
    if mark is None:
        return None
    if mark.args:
        raise ValueMarkerInvalid(
            item.nodeid, f"{MARKER} takes no positional arguments; write tier=…, goals=… and impact=…"
        )
    return _read(item.nodeid, mark.kwargs)


def _read(nodeid: str, given: Mapping[str, Any]) -> BusinessValue:
    try:
        return BusinessValue.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueMarkerInvalid(nodeid, _reason(given, str(first["loc"][0]), first["type"])) from error


def _reason(given: Mapping[str, Any], field: str, kind: str) -> str:
    if kind == "extra_forbidden":
        return f"{MARKER} has no {field!r}; it takes tier, goals and impact"
    missing = field not in given
    if field == "tier":
        said = "names no tier" if missing else f"names the tier {given['tier']!r}, which does not exist"
        return f"{MARKER} {said}; take one of {_choices(Tier)}"
    if field == "goals":
        return f"{MARKER} {_goals_said(given)}; give a set of {_choices(Goal)}"
    if missing:
        said = "states no impact"
    elif isinstance(given["impact"], str):
        said = f"states the impact {given['impact']!r}, which is too short"
    else:
        said = f"states an impact that is no text: {given['impact']!r}"
    return f"{MARKER} {said}; write in 10 characters or more what its users gain"


def _goals_said(given: Mapping[str, Any]) -> str:
    if "goals" not in given:
        return "names no goals"
    goals = given["goals"]
    if isinstance(goals, str):
        return f"has {goals!r} where a set of goals belongs"
    if not isinstance(goals, Collection):
        return f"has {goals!r} where a set of goals belongs"
    known = {goal.value for goal in Goal}
    unknown = [goal for goal in goals if not (isinstance(goal, str) and goal in known)]
    return f"names the goal {unknown[0]!r}, which does not exist" if unknown else "names no goals"


def _choices(names: type[Tier] | type[Goal]) -> str:
    return ", ".join(f"{names.__name__}.{member.name}" for member in names)
