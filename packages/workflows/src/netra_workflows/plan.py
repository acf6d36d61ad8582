"""What to commit to: a linear programme over the hours that were paid on demand, solved by HiGHS, proved by its dual.

Each provider sells commitments in money an hour, for one kind of machine or for all. What is committed is paid each hour
whether used or not, and buys use at a discount; what it doesn't cover is paid on demand. Least cost over the hours of
the bill is the plan. The dual solution is a bound that no plan can undercut, and is recomputed here from the problem.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import linprog
from scipy.sparse import coo_array

from netra_workflows.columns import table
from netra_workflows.errors import PlanUnproved
from netra_workflows.model import Frozen

GAP: Final = 1e-6


class Offer(Frozen):
    """A commitment that a provider sells: for one kind of machine or for all of its machines."""

    provider: str
    programme: str
    scope: str = Field(pattern="^(kind|all)$")
    months: int
    discount: Decimal = Field(gt=0, lt=1)
    basis: str


class Commitment(Frozen):
    """What to buy: an amount an hour, for a kind of machine or for all."""

    programme: str
    kind: str | None
    an_hour: Decimal


class Proof(Frozen):
    """Why no plan is cheaper: `bound` is the dual's value, recomputed from the problem; costs are of all hours."""

    cost: float
    bound: float
    variables: int
    constraints: int

    @property
    def gap(self) -> float:
        """The part of the cost by which a better plan could at most be better."""
        return (self.cost - self.bound) / max(abs(self.cost), 1.0)


class CommitmentPlan(Frozen):
    """What to commit to with one provider, and what it would have saved over the bill's hours."""

    provider: str
    currency: str
    hours: int
    on_demand: Decimal
    cost: Decimal
    commitments: tuple[Commitment, ...]
    covered: tuple[str, ...] = Field(description="kinds of machine that the commitments cover")
    proof: Proof

    @property
    def saving(self) -> Decimal:
        """What the bill would have been less."""
        return max(Decimal(0), self.on_demand - self.cost)


@dataclass(frozen=True)
class Demand:
    """Use of kinds of machine, on demand.

    Args:
        units: by kind, how many ran in each slot.
        price: by kind, what one costs an hour on demand.
        slot_hours: how long a slot is.
    """

    provider: str
    currency: str
    units: Mapping[str, NDArray[np.float64]]
    price: Mapping[str, float]
    slot_hours: int

    @property
    def on_demand(self) -> float:
        """What all of it costs without commitments."""
        return sum(float(u.sum()) * self.price[kind] * self.slot_hours for kind, u in self.units.items())


def known_offers() -> tuple[Offer, ...]:
    """Give the offers of the table `offers`."""
    return tuple(Offer.model_validate(row) for row in table("offers"))


def commit(demand: Demand, offers: Sequence[Offer]) -> CommitmentPlan | None:
    """Find the cheapest commitments for *demand*; None where the provider has no offer, or nothing would be saved.

    Raises:
        PlanUnproved: HiGHS ended otherwise than optimal, or its dual doesn't prove the optimum.
    """
    own = [offer for offer in offers if offer.provider == demand.provider]
    if not own or not demand.units:
        return None
    problem = _Problem(demand, own)
    found = linprog(problem.cost, A_ub=problem.rows, b_ub=problem.limit, bounds=(0, None), method="highs")
    if found.status != 0:
        raise PlanUnproved(f"HiGHS status {found.status}")
    proof = problem.proved(found.x, found.ineqlin.marginals)
    if abs(proof.gap) > GAP:
        raise PlanUnproved(f"a gap of {proof.gap:.1e}")
    plan = problem.plan(found.x, proof)
    return plan if plan.saving > 0 and plan.commitments else None


class _Problem:
    """Variables: each commitment's amount an hour, then for each use of it in each slot what it covers."""

    def __init__(self, demand: Demand, offers: Sequence[Offer]) -> None:
        self.demand, self.kinds = demand, sorted(demand.units)
        self.slots = len(next(iter(demand.units.values())))
        self.bought = [
            (offer, kind) for offer in offers for kind in (self.kinds if offer.scope == "kind" else [None])
        ]
        uses = [
            (b, k)
            for b, (_, kind) in enumerate(self.bought)
            for k, own in enumerate(self.kinds)
            if kind in (None, own)
        ]
        t, b, k = self.slots, len(self.bought), len(self.kinds)
        hours = demand.slot_hours
        price = np.array([demand.price[kind] for kind in self.kinds])
        pays = np.array([1 - float(offer.discount) for offer, _ in self.bought])
        use_b, use_k = np.array([u[0] for u in uses]), np.array([u[1] for u in uses])
        first = b + np.arange(len(uses)) * t
        column = (first[:, None] + np.arange(t)).ravel()
        slot = np.tile(np.arange(t), len(uses))
        # what a commitment covers in a slot costs no more than it, and no kind is covered beyond its use
        spent = np.repeat((price[use_k] * pays[use_b]), t)
        by_commitment = np.repeat(use_b, t) * t + slot
        by_kind = b * t + np.repeat(use_k, t) * t + slot
        own_rows = np.arange(b * t)
        self.rows = coo_array(
            (
                np.concatenate([spent, -np.ones(b * t), np.ones(len(column))]),
                (np.concatenate([by_commitment, own_rows, by_kind]), np.concatenate([column, own_rows // t, column])),
            ),
            shape=((b + k) * t, b + len(column)),
        ).tocsr()
        self.limit = np.concatenate([np.zeros(b * t), *(demand.units[kind] for kind in self.kinds)])
        self.cost = np.concatenate([np.full(b, t * hours), -np.repeat(price[use_k] * hours, t)]).astype(float)
        self._use_k = use_k

    def proved(self, x: NDArray[np.float64], marginals: NDArray[np.float64]) -> Proof:
        """Recompute the dual's value: marginals made feasible, so that it bounds every plan from below."""
        dual = np.minimum(marginals, 0)
        slack = self.cost - self.rows.T @ dual
        bought = len(self.bought)
        # where rounding left a reduced cost below zero, the most that a variable can be makes the bound hold
        most = np.concatenate(
            [
                np.full(bought, sum(float(u.max()) * self.demand.price[k] for k, u in self.demand.units.items())),
                *(self.demand.units[self.kinds[k]] for k in self._use_k),
            ]
        )
        bound = float(self.limit @ dual + np.minimum(slack, 0) @ most)
        whole = self.demand.on_demand
        return Proof(
            cost=whole + float(self.cost @ x), bound=whole + bound, variables=len(x), constraints=len(self.limit)
        )

    def plan(self, x: NDArray[np.float64], proof: Proof) -> CommitmentPlan:
        """Round commitments down to a hundredth of a cent an hour and reckon what the plan then costs."""
        bought = len(self.bought)
        commitments = tuple(
            Commitment(programme=offer.programme, kind=kind, an_hour=_money(amount))
            for (offer, kind), amount in zip(self.bought, x[:bought], strict=True)
            if amount > 1e-4
        )
        used = x[bought:].reshape(len(self._use_k), self.slots).sum(axis=1)
        covered = sorted({self.kinds[k] for k, amount in zip(self._use_k, used, strict=True) if amount > 1e-6})
        return CommitmentPlan(
            provider=self.demand.provider,
            currency=self.demand.currency,
            hours=self.slots * self.demand.slot_hours,
            on_demand=_money(self.demand.on_demand),
            cost=_money(proof.cost),
            commitments=commitments,
            covered=tuple(covered),
            proof=proof,
        )


def _money(amount: float) -> Decimal:
    return Decimal(repr(float(amount))).quantize(Decimal("0.0001"))
