"""The five agents of the platform, composed over the real tools; what each says follows from what it was given."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

from netra_agents import Agent, AgentError, Plan, RetryPolicy, Turn
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
    five_roles,
)
from netra_workflows.model import NO_CURRENCY, Kind
from netra_workflows.tools import (
    BillRead,
    FoundSaving,
    FoundSavings,
    PlannedSteps,
    ToolGaveUp,
    Uploads,
    Written,
)

_NO_WAY_BACK: Final = ("gone", "snapshot", "binds", "delete")
_SHORT: Final = 60


async def triage(request: Request, turn: Turn) -> Triage:
    """Find out which of the tenant's uploads are meant: those named, else those that the question names, else all.

    Price lists are meant along with whatever they price.
    """
    await turn.think("Which uploads are meant?")
    uploads = Uploads.model_validate(await turn.tool("list_bills", {})).uploads
    there = [one.name for one in uploads]
    missing = [name for name in request.sources if name not in there]
    if missing:
        raise AgentError(f"there is no upload called {missing[0]}; upload it first")
    named = request.sources or tuple(name for name in there if name in request.question)
    if not there:
        raise AgentError("there is no bill to look at; upload one first")
    prices = [one.name for one in uploads if one.kind is Kind.PRICES and one.name not in named]
    chosen = [*named, *prices] if named else there
    why = f"{len(named or there)} of {len(there)} uploads {'are named' if named else 'are there, and none is named'}"
    await turn.think(f"{why}.")
    return Triage(kind="savings", reason=why, sources=tuple(chosen))


async def collect(work: Triage, turn: Turn) -> Findings:
    """Read each upload, and say what it comes to; one that can't be read is missing, and the others count."""
    figures: list[Figure] = []
    missing: list[str] = []
    for place, source in enumerate(work.sources, start=1):
        try:
            read = BillRead.model_validate(await turn.tool("read_bill", {"name": source}))
        except ToolGaveUp as error:
            await turn.think(f"{source} can't be read: {error}")
            missing.append(source)
            continue
        figures += _figures(source, read)
        await turn.think(
            f"{source}, upload {place} of {len(work.sources)}: {read.rows} rows read, {read.refused} refused."
        )
    if not figures:
        raise AgentError("none of the uploads can be read; export them again and upload the whole files")
    return Findings(figures=tuple(figures), missing=tuple(missing))


def _figures(source: str, read: BillRead) -> list[Figure]:
    if not read.totals:
        return [Figure(name=_name(source), amount=Decimal(0), currency=NO_CURRENCY, source=source)]
    return [
        Figure(
            name=_name(source, total.provider, total.currency), amount=total.billed, currency=total.currency,
            source=source,
        )
        for total in read.totals
    ]  # fmt: skip


def _name(source: str, provider: str = "", currency: str = NO_CURRENCY) -> str:
    return f"{source}: {provider[:_SHORT]} {currency}"


def _figures_of(one: FoundSaving, known: Collection[str]) -> tuple[str, ...]:
    """Name the figures that a saving is a part of: a bill's of its cloud, else all of what an upload holds."""
    names = ((_name(source, one.provider, one.currency), _name(source)) for source in one.sources)
    return tuple(own for told in names if (own := next((name for name in told if name in known), None)))


async def optimize(work: Optimizing, turn: Turn) -> Optimization:
    """Judge the uploads by the published rules; each saving names the figures that it is a part of."""
    sources = sorted({figure.source for figure in work.findings.figures})
    known = {figure.name for figure in work.findings.figures}
    await turn.think(f"{len(sources)} uploads are judged by the published rules.")
    found = FoundSavings.model_validate(await turn.tool("find_savings", {"names": [*sources]}))
    for warning in found.warnings:
        await turn.think(warning)
    savings = tuple(
        Saving(rule=one.rule, amount=one.amount, currency=one.currency, figures=_figures_of(one, known))
        for one in found.savings
    )
    worth = sum(1 for one in savings if one.amount > 0)
    await turn.think(f"{len(savings)} findings, of which {worth} save money.")
    return Optimization(savings=savings)


async def act(found: Optimization, turn: Turn) -> Actions:
    """Draw up the plan: what is quick and certain first."""
    await turn.think(f"A plan is made of {len(found.savings)} findings.")
    steps = PlannedSteps.model_validate(await turn.tool("draft_plan", {})).steps
    return Actions(
        actions=tuple(
            Action(
                title=step.action[:200], rules=(step.rule,),
                reversible=not any(word in step.risk.lower() for word in _NO_WAY_BACK),
            )
            for step in steps
        )
    )  # fmt: skip


async def report(context: Context, turn: Turn) -> Report:
    """Write the report, and say what it comes to."""
    written = Written.model_validate(await turn.tool("write_report", {"names": [*context.findings.missing]}))
    await turn.think(f"The report has {written.characters} characters.")
    lines = [
        f"{written.a_month[currency]} {currency} a month could be saved, {written.a_year[currency]} a year."
        for currency in sorted(written.a_month)
    ]
    lines += _told(context)
    return Report(title="What you could save", text="\n".join(lines), total=written.a_month)


def _told(context: Context) -> Sequence[str]:
    actions = context.actions.actions if context.actions else ()
    lines = [f"{number}. {action.title}" for number, action in enumerate(actions, start=1)]
    if context.findings.missing:
        lines.append(f"Not read: {', '.join(context.findings.missing)}.")
    return lines


def cost_optimization() -> Plan[Request, Report]:
    """Plan the five agents one after another; a store that is away is asked again."""
    return five_roles(
        Agent("triage", triage, Request, Triage),
        Agent("data", collect, Triage, Findings),
        Agent("optimization", optimize, Optimizing, Optimization),
        Agent("actions", act, Optimization, Actions),
        Agent("reporting", report, Context, Report),
        name="cost_optimization",
        timeout=timedelta(minutes=4),
        retry=RetryPolicy(attempts=5, first_wait=timedelta(milliseconds=500)),
    )
