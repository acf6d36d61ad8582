"""A commitment plan is the cheapest there is, and brings the proof of it."""

import itertools
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netra_workflows import AnalysisPolicy, Bills, Offer, analyse
from netra_workflows.plan import GAP, Demand, commit

from .conftest import WriteBill
from .test_detectors import M4, M5


def offer(scope: str, discount: str, provider: str = "AWS") -> Offer:
    return Offer(
        provider=provider, programme=scope, scope=scope, months=12, discount=Decimal(discount), basis="a test"
    )


def demand(*units: list[float], price: float = 1.0, slot_hours: int = 1) -> Demand:
    kinds = {f"{place}@": np.array(own, dtype=float) for place, own in enumerate(units)}
    return Demand(
        provider="AWS", currency="USD", units=kinds, price=dict.fromkeys(kinds, price), slot_hours=slot_hours
    )


def cost_of(units: list[list[float]], discount: float, shared: float) -> float:
    """Reckon what one commitment for all kinds, at price 1, makes of the hours."""
    total = 0.0
    for hour in zip(*units, strict=True):
        covered = min(sum(hour), shared / (1 - discount))
        total += shared + sum(hour) - covered
    return total


@settings(max_examples=30, deadline=None)
@given(
    units=st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=3),
    discount=st.sampled_from(["0.1", "0.27", "0.5"]),
)
def test_no_commitment_tried_out_is_cheaper(units: list[list[float]], discount: str) -> None:
    """Every amount at which the cost can turn is tried; the plan costs no more than the best of them."""
    rate = float(discount)
    turns = {sum(hour) * (1 - rate) for hour in zip(*units, strict=True)}
    best = min(cost_of(units, rate, shared) for shared in {0.0, *turns})

    plan = commit(demand(*units), [offer("all", discount)])

    whole = float(sum(map(sum, units)))
    assert (float(plan.cost) if plan else whole) == pytest.approx(best, abs=2e-3)


def test_kinds_and_the_whole_are_weighed_against_each_other() -> None:
    """Of two offers the dearer one is bought where only it fits: grids of all amounts find nothing cheaper."""
    one, two = [2.0, 2, 2, 2], [0.0, 3, 0, 3]
    grid = [amount / 20 for amount in range(61)]

    def cost(own: float, other: float, shared: float) -> float:
        total = 0.0
        for a, b in zip(one, two, strict=True):
            rest = [max(0.0, a - own / 0.6), max(0.0, b - other / 0.6)]
            total += own + other + shared + max(0.0, sum(rest) - shared / 0.75)
        return total

    best = min(cost(*amounts) for amounts in itertools.product(grid[::3], repeat=3))
    plan = commit(demand(one, two), [offer("kind", "0.4"), offer("all", "0.25")])

    assert plan is not None
    assert float(plan.cost) <= best + 1e-9
    assert float(plan.cost) == pytest.approx(best, abs=0.2)


def test_the_proof_is_a_bound_that_the_cost_meets() -> None:
    """Nobody has to believe the solver: the dual, recomputed from the problem, leaves no room below the plan."""
    random = np.random.default_rng(3)
    units = [list(random.integers(0, 9, 48).astype(float)) for _ in range(6)]

    plan = commit(demand(*units), [offer("kind", "0.37"), offer("all", "0.27")])

    assert plan is not None
    assert abs(plan.proof.gap) <= GAP
    assert plan.proof.bound <= float(plan.cost) + 1e-3
    assert plan.saving == plan.on_demand - plan.cost > 0


@pytest.mark.parametrize(
    ("units", "offers"),
    [
        ([[1.0, 0, 0, 0]], [offer("all", "0.5")]),
        ([[1.0, 1, 1, 1]], []),
        ([[1.0, 1, 1, 1]], [offer("all", "0.5", "Google Cloud")]),
        ([], [offer("all", "0.5")]),
    ],
    ids=["used a quarter of the time", "no offer", "another provider's", "no use"],
)
def test_where_nothing_is_saved_nothing_is_bought(units: list[list[float]], offers: list[Offer]) -> None:
    """A commitment that costs as much as it spares is no advice."""
    assert commit(demand(*units), offers) is None


@pytest.mark.parametrize("scope", ["all", "kind"])
def test_half_the_time_is_the_turning_point_of_half_the_price(scope: str) -> None:
    """At half the price a machine pays off from one hour in two, and not before."""
    below, above = [1.0] * 49 + [0.0] * 51, [1.0] * 51 + [0.0] * 49

    assert commit(demand(below), [offer(scope, "0.5")]) is None
    assert commit(demand(above), [offer(scope, "0.5")]) is not None


def hours(days: int, **row: Any) -> list[dict[str, str]]:
    return [
        M5 | {"ChargePeriodStart": f"2026-03-{day:02}T{hour:02}:00:00Z", "BilledCost": "0.096",
              "ChargePeriodEnd": f"2026-03-{day:02}T{hour:02}:59:59Z", "ResourceId": "web", **row}
        for day in range(1, days + 1) for hour in range(24)
    ]  # fmt: skip


def test_a_machine_that_always_runs_is_worth_a_commitment(bills: Bills, write_bill: WriteBill) -> None:
    """Eight days around the clock on demand: the finding names those rows, and saves what the offer takes off."""
    bills.ingest(write_bill(*hours(8), M4 | {"BilledCost": "0.1"}))

    analysis = analyse(bills)

    [plan] = analysis.plans
    [finding] = [f for f in analysis.findings if f.rule.id == "commitment_plan"]
    assert (plan.hours, plan.on_demand) == (192, Decimal("18.4320"))
    assert [c.an_hour for c in plan.commitments] == [Decimal("0.0605")]
    assert (
        finding.saving
        == plan.saving
        == pytest.approx(Decimal("18.432") * Decimal("0.37"), abs=Decimal("0.001"))
    )
    assert finding.rows[0].records == tuple(range(1, 193))


@pytest.mark.parametrize(
    "rows",
    [hours(6), hours(8, PricingCategory="Dynamic"), hours(8, CommitmentDiscountStatus="Used"),
     hours(8, ChargeDescription=M4["ChargeDescription"])],
    ids=["less than a week", "spot", "covered already", "to be replaced first"],
)  # fmt: skip
def test_what_is_no_ground_to_commit_on_is_left_out(
    bills: Bills, write_bill: WriteBill, rows: list[dict[str, str]]
) -> None:
    """Six days, spot, what a commitment pays already, and machines of an old generation bind nobody for a year."""
    bills.ingest(write_bill(*rows))

    assert analyse(bills).plans == ()


def test_sixty_kinds_over_a_month_are_planned_and_beat_the_rule_of_thumb() -> None:
    """Committing to the lowest use of each kind, as the rule of thumb has it, saves less than the plan."""
    random = np.random.default_rng(7)
    units = [
        list(np.maximum(0, random.normal(base, base / 3, 720)).round()) for base in random.uniform(1, 20, 60)
    ]

    plan = commit(demand(*units), [offer("kind", "0.37"), offer("all", "0.27")])

    thumb = sum(min(own) * len(own) * 0.37 for own in units)
    assert plan is not None
    assert float(plan.saving) > thumb
    assert abs(plan.proof.gap) <= GAP


def test_offers_are_the_callers_to_make(bills: Bills, write_bill: WriteBill) -> None:
    """Whoever negotiated a better price plans with that."""
    bills.ingest(write_bill(*hours(8)))

    [plan] = analyse(bills, AnalysisPolicy(offers=(offer("all", "0.6"),))).plans

    assert plan.saving == pytest.approx(Decimal("18.432") * Decimal("0.6"), abs=Decimal("0.01"))
