"""Every integration test says for whom it matters, and says it right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from netra_fixtures.value import BusinessValue, Goal, Tier, ValueMarkerInvalid, business_value, value_of

IMPACT = "a stolen token cannot be used unnoticed"


@pytest.fixture
def item(request: pytest.FixtureRequest) -> Iterator[pytest.Item]:
    """The running test itself, to which a test adds the marker it needs, for as long as it runs."""
    node = request.node
    assert isinstance(node, pytest.Item)
    own = list(node.own_markers)
    yield node
    node.own_markers[:] = own


def mark(item: pytest.Item, *args: Any, **kwargs: Any) -> None:
    item.add_marker(pytest.mark.business_value(*args, **kwargs))


def test_the_marker_is_read_into_a_model(item: pytest.Item) -> None:
    """What the report counts by is typed, not text."""
    item.add_marker(business_value(tier=Tier.MID, goals={Goal.SECURITY, Goal.RETENTION}, impact=IMPACT))

    value = value_of(item)

    assert value == BusinessValue(
        tier=Tier.MID, goals=frozenset({Goal.RETENTION, Goal.SECURITY}), impact=IMPACT
    )


def test_values_of_the_enumerations_serve_as_well(item: pytest.Item) -> None:
    """A team that writes the marker by hand gets the same."""
    mark(item, tier="early", goals=["revenue generation"], impact=f"  {IMPACT}\n   for good ")

    value = value_of(item)

    assert value is not None
    assert value.model_dump(mode="json") == {
        "tier": "early",
        "goals": ["revenue generation"],
        "impact": f"{IMPACT} for good",
    }


def test_goals_leave_in_one_order(item: pytest.Item) -> None:
    """Two reports of one run do not differ by chance."""
    mark(item, tier="free", goals=set(Goal), impact=IMPACT)

    value = value_of(item)

    assert value is not None
    assert value.model_dump(mode="json")["goals"] == [str(goal) for goal in Goal]


def test_a_test_without_the_marker_has_no_value(item: pytest.Item) -> None:
    """Silence is not read as a value; the plugin decides who may be silent."""
    assert value_of(item) is None


def test_the_closest_marker_counts(pytester: pytest.Pytester) -> None:
    """A class says it for its tests, and one of them may say more."""
    pytester.makepyfile(
        """
        import pytest
        from netra_fixtures.value import Tier, business_value, value_of

        pytestmark = business_value(tier=Tier.FREE, goals={"user retention"}, impact="of the whole module")

        @pytest.fixture
        def tier(request): return value_of(request.node).tier

        @business_value(tier=Tier.MID, goals={"user retention"}, impact="of the whole class")
        class TestClass:
            def test_class(self, tier): assert tier is Tier.MID
            @business_value(tier=Tier.ENTERPRISE, goals={"user retention"}, impact="of one test alone")
            def test_own(self, tier): assert tier is Tier.ENTERPRISE

        def test_module(tier): assert tier is Tier.FREE
        """
    )

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("args", "kwargs", "sentence"),
    [
        ((), {}, "names no tier; take one of Tier.FREE, Tier.EARLY, Tier.MID, Tier.ENTERPRISE"),
        ((), {"tier": "gold"}, "names the tier 'gold', which does not exist; take one of Tier.FREE"),
        ((), {"tier": 1}, "names the tier 1, which does not exist; take one of Tier.FREE"),
        ((), {"tier": "free"}, "names no goals; give a set of Goal.RETENTION, Goal.STABILITY"),
        ((), {"tier": "free", "goals": set()}, "names no goals; give a set of Goal.RETENTION"),
        ((), {"tier": "free", "goals": Goal.REVENUE}, "where a set of goals belongs; give a set of Goal."),
        ((), {"tier": "free", "goals": None}, "has None where a set of goals belongs; give a set of Goal."),
        ((), {"tier": "free", "goals": {"fame"}}, "names the goal 'fame', which does not exist; give a set"),
        ((), {"tier": "free", "goals": [3]}, "names the goal 3, which does not exist; give a set"),
        ((), {"impact": None}, "states an impact that is no text: None; write in 10 characters or more"),
        ((), {"impact": " short    "}, "states the impact ' short    ', which is too short; write in 10"),
        ((), {"impact": "short" + " " * 9 + "er"}, "which is too short; write in 10 characters or more"),
        ((), {"impact": ...}, "states no impact; write in 10 characters or more what its users gain"),
        ((), {"impact": IMPACT, "goal": 1}, "has no 'goal'; it takes tier, goals and impact"),
        (("free",), {}, "takes no positional arguments; write tier=…, goals=… and impact=…"),
    ],
)
def test_a_marker_that_cannot_be_read_says_how_to_write_it(
    args: tuple[Any, ...], kwargs: dict[str, Any], sentence: str, item: pytest.Item
) -> None:
    """One sentence with the test's name is enough to mend it."""
    if "impact" in kwargs:
        kwargs = {"tier": "free", "goals": {"user retention"}, **kwargs}
        kwargs = {name: value for name, value in kwargs.items() if value is not ...}
    mark(item, *args, **kwargs)

    with pytest.raises(ValueMarkerInvalid) as caught:
        value_of(item)

    assert caught.value.nodeid == item.nodeid
    assert str(caught.value).startswith(f"{item.nodeid}: business_value ")
    assert sentence in caught.value.reason
    assert "\n" not in caught.value.reason


def test_tiers_are_ordered_by_what_they_cost() -> None:
    """Counts by tier are cumulative, so the order is the platform's and not the alphabet's."""
    assert sorted(reversed(Tier)) == list(Tier)
    assert Tier.FREE < Tier.EARLY < Tier.MID < Tier.ENTERPRISE
    assert Tier.ENTERPRISE > Tier.EARLY
    assert Tier.MID >= Tier.MID
    assert Tier.MID <= Tier.MID
    assert Tier.FREE.rank == 0


def test_a_value_cannot_be_changed() -> None:
    """What was checked at collection is what the report prints."""
    value = BusinessValue(tier=Tier.FREE, goals=frozenset({Goal.REVENUE}), impact=IMPACT)

    with pytest.raises(ValueError, match="frozen"):
        value.tier = Tier.MID
