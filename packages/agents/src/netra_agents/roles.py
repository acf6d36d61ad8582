"""The roles of the platform's agents, as the types that they take and give; who plays them is composed elsewhere.

A role's result names where each figure comes from, so that the next role, and a reader, can follow it.
"""

from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from netra_agents.agent import Agent
from netra_agents.plan import Plan, Step

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Request(_Said):
    """What the user asks, and which of the tenant's sources it may be answered from."""

    question: str = Field(min_length=1, max_length=20_000)
    sources: tuple[Name, ...] = ()


class Triage(_Said):
    """What kind of request it is, and which sources are to be read for it."""

    kind: Name
    reason: str
    sources: tuple[Name, ...]


class Figure(_Said):
    """An amount that was found, with where it stands: a source and the ids of its rows."""

    name: Name
    amount: Decimal
    currency: Currency
    source: Name
    rows: tuple[str, ...] = ()


class Findings(_Said):
    """What the sources say about the request."""

    figures: tuple[Figure, ...]
    missing: tuple[Name, ...] = ()


class Saving(_Said):
    """What could be saved, by which rule, and the figures that it follows from."""

    rule: Name
    amount: Decimal = Field(ge=0)
    currency: Currency
    figures: tuple[Name, ...] = Field(min_length=1)


class Optimization(_Said):
    """What could be saved, none of it counted twice."""

    savings: tuple[Saving, ...]


class Action(_Said):
    """One thing to do, and the rules of the savings that it brings."""

    title: Name
    rules: tuple[Name, ...] = Field(min_length=1)
    reversible: bool


class Actions(_Said):
    """What is to be done, in order."""

    actions: tuple[Action, ...]


class Context(_Said):
    """All that came before a report; what failed on the way is None."""

    request: Request
    findings: Findings
    optimization: Optimization | None
    actions: Actions | None


class Report(_Said):
    """What the user is told."""

    title: Name
    text: str
    total: dict[Currency, Decimal]


class Optimizing(_Said):
    """What an optimization works on."""

    request: Request
    findings: Findings


TriageAgent: TypeAlias = Agent[Request, Triage]
DataAgent: TypeAlias = Agent[Triage, Findings]
OptimizationAgent: TypeAlias = Agent[Optimizing, Optimization]
ActionsAgent: TypeAlias = Agent[Optimization, Actions]
ReportingAgent: TypeAlias = Agent[Context, Report]


def five_roles(
    triage: TriageAgent,
    data: DataAgent,
    optimization: OptimizationAgent,
    actions: ActionsAgent,
    reporting: ReportingAgent,
    *,
    name: str = "optimization",
    version: str = "1",
    **rules: Any,
) -> Plan[Request, Report]:
    """Plan the five roles one after another; *rules* are those of each step: retries, timeout, what a failure means."""
    context: dict[str, str | tuple[str, ...]] = {
        "request": "input", "findings": "data", "optimization": "optimization", "actions": "actions",
    }  # fmt: skip
    steps = [
        Step("triage", triage, **rules),
        Step("data", data, "triage", **rules),
        Step("optimization", optimization, {"request": "input", "findings": "data"}, **rules),
        Step("actions", actions, "optimization", **rules),
        Step("reporting", reporting, context, **rules),
    ]
    return Plan(name, Request, Report, steps, version=version)
