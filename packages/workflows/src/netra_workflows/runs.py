"""A tenant's bills to savings: begin a run of the five agents, and read what it found."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from netra_agents import Caller, Orchestrator, RunId, TenantId, Tier, UserId
from netra_agents.roles import Report as Told
from netra_agents.roles import Request
from netra_auth import Access, Permission, Principal, Resource
from netra_workflows.agents import cost_optimization
from netra_workflows.record import Record, Report, StoredFinding
from netra_workflows.review import READ
from netra_workflows.wording import LONGEST_NAME, check_text

START: Final = Permission("run:start")


class CostOptimization:
    """The runs of one installation's users; the run, its analysis and its plan have one id.

    Any call may raise `AccessDenied`, where the principal's role doesn't allow it in their tenant.
    """

    def __init__(self, *, runs: Orchestrator, access: Access, record: Record) -> None:
        self._runs, self._access, self._record = runs, access, record
        self._plan = cost_optimization()

    async def begin(
        self, principal: Principal, question: str, *, sources: Sequence[str] = (), tier: Tier = Tier.FREE,
        key: str | None = None,
    ) -> RunId:  # fmt: skip
        """Let the agents look for savings; their events go to the principal's screens.

        Args:
            sources: names of uploaded bills; those that the question names, or all, if there are none.
            key: an idempotency key: calls of a tenant with one key are one run.

        Raises:
            InvalidText: the question or a name can't be kept.
        """
        check_text(question, "a question", longest=20_000, lines=True)
        for source in sources:
            check_text(source, "a bill's name", longest=LONGEST_NAME)
        await self._require(principal, START, "run")
        request = Request(question=question, sources=tuple(sources))
        return await self._runs.start(self._plan, request, caller=_caller(principal, tier), key=key)

    async def told(self, principal: Principal, run: RunId, *, within: timedelta) -> Told:
        """Wait for the end of a run of the principal's tenant, and return what its user is told.

        Raises:
            RunNotFound, RunEnded, StillRunning: as `netra_agents.Orchestrator.result` has it.
        """
        await self._require(principal, READ, "saving")
        return await self._runs.result(self._plan, run, caller=_caller(principal), within=within)

    async def findings(self, principal: Principal, run: UUID) -> tuple[StoredFinding, ...]:
        """Return what a run found, the largest saving first, with the rows that prove it."""
        await self._require(principal, READ, "saving")
        return await self._record.findings(run, tenant=principal.tenant)

    async def report(self, principal: Principal, run: UUID) -> Report:
        """Return the report of a run.

        Raises:
            PlanNotFound: the tenant has none.
        """
        await self._require(principal, READ, "saving")
        return await self._record.report(run, tenant=principal.tenant)

    async def _require(self, principal: Principal, permission: Permission, kind: str) -> None:
        await self._access.require(principal, permission, Resource(kind=kind, tenant=principal.tenant))


def _caller(principal: Principal, tier: Tier = Tier.FREE) -> Caller:
    return Caller(tenant=TenantId(principal.tenant), user=UserId(principal.user), tier=tier)
