"""Five small agents in the platform's roles: what they say follows from the bill that their tool reads."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

from netra_agents import Agent, AgentError, Caller, Turn
from netra_agents.roles import (
    Action,
    Actions,
    Context,
    Figure,
    Findings,
    Optimization,
    Optimizing,
    Report,
    Request,
    Saving,
    Triage,
)

Bill = Mapping[str, Mapping[str, str]]


class BillTools:
    """Reads bills, a mapping of sources to the cost of each service; every call is kept."""

    def __init__(self, bills: Bill) -> None:
        self._bills = bills
        self.calls: list[tuple[str, str]] = []

    async def run(
        self, tool: str, arguments: Mapping[str, JsonValue], *, caller: Caller, key: str
    ) -> JsonValue:
        """Read one bill."""
        self.calls.append((tool, key))
        source = str(arguments["source"])
        if source not in self._bills:
            raise AgentError(f"there is no bill of {source}")
        return dict(self._bills[source])


async def triage(request: Request, turn: Turn) -> Triage:
    """Pick the sources that the question names."""
    await turn.think("which bills does the question name?")
    named = tuple(source for source in request.sources if source in request.question)
    return Triage(kind="savings", reason=f"{len(named)} of {len(request.sources)} are named", sources=named)


async def collect(work: Triage, turn: Turn) -> Findings:
    """Read each bill."""
    figures: list[Figure] = []
    for source in work.sources:
        bill: Any = await turn.tool("read_bill", {"source": source})
        figures += [
            Figure(name=f"{source}/{service}", amount=Decimal(cost), currency="USD", source=source)
            for service, cost in bill.items()
        ]
    return Findings(figures=tuple(figures))


async def optimize(work: Optimizing, turn: Turn) -> Optimization:
    """Find what idles: a tenth of each cost above 100."""
    await turn.think(f"{len(work.findings.figures)} costs are to be looked at")
    high = [figure for figure in work.findings.figures if figure.amount > 100]
    return Optimization(
        savings=tuple(
            Saving(rule=f"idle {one.name}", amount=one.amount / 10, currency="USD", figures=(one.name,))
            for one in high
        )
    )


async def act(found: Optimization, turn: Turn) -> Actions:
    """Switch off what idles, the dearest first."""
    dearest = sorted(found.savings, key=lambda saving: -saving.amount)
    return Actions(
        actions=tuple(Action(title=f"end {one.rule}", rules=(one.rule,), reversible=True) for one in dearest)
    )


async def report(context: Context, turn: Turn) -> Report:
    """Add it up."""
    savings = context.optimization.savings if context.optimization else ()
    steps = [action.title for action in context.actions.actions] if context.actions else []
    total = sum((saving.amount for saving in savings), Decimal(0))
    return Report(title="what you could save", text="; ".join(steps), total={"USD": total})


TRIAGE = Agent("triage", triage, Request, Triage)
DATA = Agent("data", collect, Triage, Findings)
OPTIMIZATION = Agent("optimization", optimize, Optimizing, Optimization)
ACTIONS = Agent("actions", act, Optimization, Actions)
REPORTING = Agent("reporting", report, Context, Report)
