"""What the agents act through: tools that list, read and judge a tenant's uploads, draw up the plan, write the report.

A tool whose worker died is called again, and what it writes is written once.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

from pydantic import Field, JsonValue

from netra_agents import AgentError
from netra_agents import Caller as AgentCaller
from netra_agents import TransientError as TransientAgentError
from netra_tools import (
    Call,
    Caller,
    Context,
    Outcome,
    StillRunning,
    Tool,
    ToolError,
    ToolExecutor,
    ToolFailed,
    ToolsError,
    WhenLost,
)
from netra_tools import StoreUnavailable as ToolStoreUnavailable
from netra_tools import TenantId as ToolTenantId
from netra_tools import UserId as ToolUserId
from netra_workflows.advice import recommend
from netra_workflows.analysis import Analysis
from netra_workflows.archive import Archive
from netra_workflows.bills import Bills
from netra_workflows.errors import BillRefused, NotFound
from netra_workflows.judging import Upload, judge, read
from netra_workflows.model import Frozen, Kind, Total
from netra_workflows.page import page
from netra_workflows.record import Record, Report
from netra_workflows.report import findings_csv, markdown

_Given = TypeVar("_Given")
_Done = TypeVar("_Done")
_PATIENCE: Final = timedelta(minutes=5)


class Nothing(Frozen):
    """A tool that knows all it needs from its caller."""


class BillName(Frozen):
    """Which upload."""

    name: str = Field(max_length=100)


class BillNames(Frozen):
    """Which uploads."""

    names: tuple[str, ...] = Field(min_length=1)


class Missing(Frozen):
    """Which uploads could not be read."""

    names: tuple[str, ...]


class Listed(Frozen):
    """An upload, and what it is by its content."""

    name: str
    kind: Kind


class Uploads(Frozen):
    """The uploads that there are."""

    uploads: tuple[Listed, ...]


class BillRead(Frozen):
    """What an upload holds, and a bill comes to."""

    rows: int
    refused: int
    totals: tuple[Total, ...]
    notes: tuple[str, ...]


class FoundSaving(Frozen):
    """What one finding would save, and in which uploads its rows stand."""

    rule: str
    provider: str
    currency: str
    amount: Decimal
    sources: tuple[str, ...]


class FoundSavings(Frozen):
    """What was found, the largest saving first."""

    savings: tuple[FoundSaving, ...]
    warnings: tuple[str, ...]


class PlannedStep(Frozen):
    """What to do, and by which rule."""

    rule: str
    action: str
    risk: str
    wave: str


class PlannedSteps(Frozen):
    """What to do, in order."""

    steps: tuple[PlannedStep, ...]


class Written(Frozen):
    """What the report says first: what could be saved a month, by currency."""

    a_month: dict[str, Decimal]
    a_year: dict[str, Decimal]
    steps: int
    characters: int


class BillTools:
    """The tools of one worker.

    Args:
        memory_mb, threads: what DuckDB may take for the bills of one run.
        at_once: the bills of how many runs are read or judged at once; the others wait.
    """

    def __init__(
        self, archive: Archive, record: Record, *, memory_mb: int = 1024, threads: int = 1, at_once: int = 2
    ) -> None:
        self._archive, self._record = archive, record
        self._memory_mb, self._threads = memory_mb, threads
        self._room = asyncio.Semaphore(at_once)

    def all(self) -> tuple[Tool[Any, Any], ...]:
        """Give them, as a registry takes them."""
        rules: dict[str, Any] = {"timeout": _PATIENCE, "when_lost": WhenLost.REPEAT, "breaker": None}
        return (
            Tool.typed("list_bills", self._list, Nothing, Uploads, **rules),
            Tool.typed("read_bill", self._read, BillName, BillRead, **rules),
            Tool.typed("find_savings", self._find, BillNames, FoundSavings, **rules),
            Tool.typed("draft_plan", self._plan, Nothing, PlannedSteps, **rules),
            Tool.typed("write_report", self._write, Missing, Written, **rules),
        )

    async def _list(self, _: Nothing, context: Context) -> Uploads:
        there = await self._archive.bills(context.caller.tenant)
        return Uploads(uploads=tuple(Listed(name=one.name, kind=one.kind) for one in there))

    async def _read(self, bill: BillName, context: Context) -> BillRead:
        kept = await self._uploaded(bill.name, context)
        async with self._room:
            one = await asyncio.to_thread(self._in_bills, read, kept)
        return BillRead(rows=one.rows, refused=one.refused, totals=one.totals, notes=one.notes)

    async def _find(self, bills: BillNames, context: Context) -> FoundSavings:
        kept = [await self._uploaded(name, context) for name in bills.names]
        async with self._room:
            analysis, proofs = await asyncio.to_thread(self._in_bills, judge, kept)
        caller = context.caller
        await self._record.add(
            _run(context), analysis, proofs, tenant=caller.tenant, user=caller.user, sources=bills.names
        )
        found = (
            FoundSaving(
                rule=f.rule.id, provider=f.provider, currency=f.currency, amount=f.saving,
                sources=tuple(sorted({rows.source for rows in f.rows})),
            )
            for f in analysis.findings
        )  # fmt: skip
        return FoundSavings(savings=tuple(found), warnings=analysis.warnings)

    async def _plan(self, _: Nothing, context: Context) -> PlannedSteps:
        run, caller = _run(context), context.caller
        advice = recommend(await self._analysis(run, caller))
        await self._record.draft(run, advice, tenant=caller.tenant, user=caller.user)
        steps = (
            PlannedStep(rule=r.rule, action=r.action, risk=r.risk, wave=step.wave)
            for step in advice.plan for r in (step.recommendation,)
        )  # fmt: skip
        return PlannedSteps(steps=tuple(steps))

    async def _write(self, missing: Missing, context: Context) -> Written:
        run = _run(context)
        analysis = await self._analysis(run, context.caller)
        advice = recommend(analysis)
        text = markdown(advice, analysis, missing.names)
        html = page(advice, analysis, missing.names)
        report = Report(markdown=text, html=html, findings_csv=findings_csv(analysis))
        await self._record.add_report(run, report)
        return Written(
            a_month={own.currency: own.a_month for own in advice.sums},
            a_year={own.currency: own.a_year for own in advice.sums},
            steps=len(advice.plan),
            characters=len(text),
        )

    async def _uploaded(self, name: str, context: Context) -> Upload:
        tenant = context.caller.tenant
        try:
            kept = await self._archive.find(tenant, name)
        except (NotFound, ValueError) as error:
            raise ToolError(str(error)) from error
        return Upload(kept.name, kept.kind, self._archive.path(tenant, kept), kept.uploaded_at)

    async def _analysis(self, run: UUID, caller: Caller) -> Analysis:
        try:
            return await self._record.analysis(run, tenant=caller.tenant)
        except NotFound as error:
            raise ToolError("nothing was analysed yet; find savings first") from error

    def _in_bills(self, work: Callable[[Bills, _Given], _Done], given: _Given) -> _Done:
        """Work with bills of its own, in a thread."""
        try:
            with Bills.opened(memory_mb=self._memory_mb, threads=self._threads) as opened:
                return work(opened, given)
        except BillRefused as error:
            raise ToolError(error.reason) from error


class ToolGaveUp(AgentError):
    """A tool can't do what it was asked, and says why."""


class AgentTools:
    """Runs the tools of an executor for agents; it is the `Tools` that a worker takes."""

    def __init__(self, executor: ToolExecutor) -> None:
        self._executor = executor

    async def run(
        self, tool: str, arguments: Mapping[str, JsonValue], *, caller: AgentCaller, key: str
    ) -> JsonValue:
        """Run a tool once for each *key*, and return its result.

        Raises:
            ToolGaveUp: in the tool's own words.
            TransientError: a store is away.
            AgentError: the tool was not called, or was not done in time.
        """
        own = Caller(
            tenant=ToolTenantId(caller.tenant), user=ToolUserId(caller.user), work=key.partition("/")[0]
        )
        try:
            outcome: Outcome[Any] = await self._executor.run(Call(tool, dict(arguments), key=key), caller=own)
        except (ToolStoreUnavailable, StillRunning) as error:
            raise TransientAgentError(str(error)) from error
        except ToolFailed as error:
            raise ToolGaveUp(error.reason) from error
        except ToolsError as error:
            raise AgentError(str(error)) from error
        given: JsonValue = outcome.result.model_dump(mode="json")
        return given


def _run(context: Context) -> UUID:
    """Return the run of agents that the call is part of."""
    if context.caller.work is None:
        raise ToolError("this tool works for a run of agents only")
    return UUID(context.caller.work)
