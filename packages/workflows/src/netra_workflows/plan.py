"""What to commit to: a linear programme over the hours that were paid on demand, solved by HiGHS, proved by its dual.

Each provider sells commitments in money an hour, for one kind of machine or for all. What is committed is paid each
hour whether used or not, and buys use at a discount; what it doesn't cover is paid on demand. Least cost over the hours
of the bill is the plan. The dual solution is a bound that no plan can undercut, and is recomputed from the problem.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from netra_workflows.columns import table
from netra_workflows.errors import PlanUnproved
from netra_workflows.model import Frozen

GAP: Final = 1e-6
LEAST: Final = 1e-6


class Offer(Frozen):
    """A commitment that a provider sells: for one kind of machine or for all of its machines.

    `basis` is where the discount is from; one that no source of ours publishes begins with `assumed:`.
    """

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
    basis: str = ""


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

    @property
    def days(self) -> Decimal:
        """How long all of it lasts."""
        return Decimal(len(next(iter(self.units.values()))) * self.slot_hours) / 24


def demand(provider: str, currency: str, rows: Sequence[Mapping[str, Any]]) -> Demand:
    """Lay use on a grid of hours, or of days where a bill tells days only."""
    hours = 24 if any(row["span"] > 1 for row in rows) else 1
    first = min(row["day"] for row in rows)
    last = max(row["day"] for row in rows)
    slots = ((last - first).days + 1) * (24 // hours)
    units: dict[str, Any] = {}
    paid: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        kind = f"{row['meter_id']}@{row['region']}"
        own = units.setdefault(kind, np.zeros(slots))
        own[_slot(row["day"], first, int(row["hour"]), hours)] += row["quantity"] / hours
        paid[kind][0] += row["billed"]
        paid[kind][1] += row["quantity"]
    price = {kind: billed / quantity for kind, (billed, quantity) in paid.items()}
    return Demand(provider=provider, currency=currency, units=units, price=price, slot_hours=hours)


def _slot(day: date, first: date, hour: int, hours: int) -> int:
    return (day - first).days * (24 // hours) + (hour if hours == 1 else 0)


def known_offers() -> tuple[Offer, ...]:
    """Give the offers of the table `offers`."""
    return tuple(Offer.model_validate(row) for row in table("offers"))


def commit(demand: Demand, offers: Sequence[Offer]) -> CommitmentPlan | None:
    """Find the cheapest commitments for *demand*; None where the provider has no offer, or nothing would be saved.

    Raises:
        PlanUnproved: HiGHS ended otherwise than optimal, or its dual doesn't prove the optimum.
    """
    from scipy.optimize import linprog  # heavy, and nothing that those who only read bills need

    own = [offer for offer in offers if offer.provider == demand.provider]
    if not own or not demand.units:
        return None
    problem = _Problem(demand, own)
    bounds = np.column_stack([np.zeros(len(problem.most)), problem.most])
    found = linprog(problem.cost, A_ub=problem.rows, b_ub=problem.limit, bounds=bounds, method="highs")
    if found.status != 0:
        raise PlanUnproved(f"HiGHS status {found.status}")
    proof = problem.proved(found.x, found.ineqlin.marginals)
    if abs(proof.gap) > GAP:
        raise PlanUnproved(f"a gap of {proof.gap:.1e}")
    plan = problem.plan(found.x, proof)
    return plan if plan.saving > 0 and plan.commitments else None


class _Problem:
    """The programme's numbers.

    Variables are the amount an hour committed for all kinds, what it covers in each slot, and of each kind its levels:
    a level is so many machines that run in the same slots, those in which at least as many do. A level that runs too
    seldom to pay off even against the price on demand is left out; no optimum has it.
    """

    def __init__(self, demand: Demand, offers: Sequence[Offer]) -> None:
        from scipy.sparse import coo_array

        self.demand = demand
        self.slots = len(next(iter(demand.units.values())))
        self._all = max((o for o in offers if o.scope == "all"), key=lambda o: o.discount, default=None)
        self._kind = max((o for o in offers if o.scope == "kind"), key=lambda o: o.discount, default=None)
        t, hours = self.slots, demand.slot_hours
        self.spend = sum((u * demand.price[kind] for kind, u in demand.units.items()), np.zeros(t))
        self.levels = [*self._levels()]
        pays = 1 - float(self._all.discount) if self._all else 1.0
        rows, columns, values = [np.arange(t), t + np.arange(t), t + np.arange(t)], [], []
        columns += [1 + np.arange(t), 1 + np.arange(t), np.zeros(t, dtype=int)]
        values += [np.ones(t), np.full(t, pays), -np.ones(t)]
        for place, (kind, _, runs) in enumerate(self.levels):
            rows.append(np.flatnonzero(runs))
            columns.append(np.full(len(rows[-1]), 1 + t + place))
            values.append(np.full(len(rows[-1]), demand.price[kind]))
        index = (np.concatenate(rows), np.concatenate(columns))
        shape = (2 * t, 1 + t + len(self.levels))

        self.rows = coo_array((np.concatenate(values), index), shape=shape).tocsr()
        self.limit = np.concatenate([self.spend, np.zeros(t)])
        keeps = 1 - float(self._kind.discount) if self._kind else 1.0
        self.cost = hours * np.array(
            [
                float(t),
                *[-1.0] * t,
                *(demand.price[k] * (keeps * t - runs.sum()) for k, _, runs in self.levels),
            ]
        )
        most = float(self.spend.max()) if self._all else 0.0
        self.most = np.array(
            [most, *(self.spend if self._all else np.zeros(t)), *(w for _, w, _ in self.levels)]
        )

    def _levels(self) -> Iterator[tuple[str, float, NDArray[np.bool_]]]:
        """Give kinds, how many machines run together, and in which slots."""
        if self._kind is None:
            return
        for kind, units in sorted(self.demand.units.items()):
            below = 0.0
            for level in np.unique(units[units > 0]):
                runs = units >= level
                if runs.mean() <= 1 - float(self._kind.discount):
                    break
                yield kind, float(level) - below, runs
                below = float(level)

    def proved(self, x: NDArray[np.float64], marginals: NDArray[np.float64]) -> Proof:
        """Recompute the dual's value: with multipliers of the right sign it bounds every plan from below."""
        dual = np.minimum(marginals, 0)
        slack = self.cost - self.rows.T @ dual
        bound = float(self.limit @ dual + np.minimum(slack, 0) @ self.most)
        whole = self.demand.on_demand
        return Proof(
            cost=whole + float(self.cost @ x),
            bound=whole + bound,
            variables=len(x),
            constraints=len(self.limit),
        )

    def plan(self, x: NDArray[np.float64], proof: Proof) -> CommitmentPlan:
        """Say it in money an hour."""
        commitments, covered = [], set()
        if self._all and x[0] > LEAST:
            commitments.append(_bought(self._all, None, x[0]))
            covered |= set(self.demand.units)
        bought: dict[str, float] = defaultdict(float)
        for (kind, _, _), amount in zip(self.levels, x[1 + self.slots :], strict=True):
            bought[kind] += float(amount)
        for kind, machines in bought.items():
            if self._kind and machines > LEAST:
                an_hour = machines * self.demand.price[kind] * (1 - float(self._kind.discount))
                commitments.append(_bought(self._kind, kind, an_hour))
                covered.add(kind)
        return CommitmentPlan(
            provider=self.demand.provider,
            currency=self.demand.currency,
            hours=self.slots * self.demand.slot_hours,
            on_demand=_money(self.demand.on_demand),
            cost=_money(proof.cost),
            commitments=tuple(commitments),
            covered=tuple(sorted(covered)),
            proof=proof,
        )


def _bought(offer: Offer, kind: str | None, an_hour: float) -> Commitment:
    return Commitment(programme=offer.programme, kind=kind, an_hour=_money(an_hour), basis=offer.basis)


def _money(amount: float) -> Decimal:
    return Decimal(repr(float(amount))).quantize(Decimal("0.0001"))
