"""What was found in a tenant's bills, in PostgreSQL: findings, the rows that prove them, plans and reports."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_workflows.advice import Advice
from netra_workflows.analysis import Analysis
from netra_workflows.database import Database, Transaction
from netra_workflows.errors import PlanNotFound
from netra_workflows.judging import Proofs
from netra_workflows.model import Finding, Frozen, Rows, Rule

_AT_ONCE: Final = 20_000


def _insert(table: str, columns: Mapping[str, str], *, fixed: str = "analysis") -> TextClause:
    """Write an insert of many rows, a list a column."""
    lists = ", ".join(f"cast(:{name} as {kind}[])" for name, kind in columns.items())
    return text(
        f"insert into workflows.{table} ({fixed}, {', '.join(columns)})"  # nosec B608
        f" select :id, * from unnest({lists})"
    )


_ADD: Final = text(
    "insert into workflows.analysis (id, namespace, tenant, asked_by, sources, document)"
    " values (:id, :namespace, :tenant, :asked_by, :sources, :document) on conflict do nothing returning id"
)
_FINDING: Final = text(
    "insert into workflows.finding (id, analysis, place, rule, published, terms, provider, account, currency,"
    " resources, billed, at_stake, saving, months, why) values (:finding, :id, :place, :rule, :published,"
    " cast(:terms as json), :provider, :account, :currency, :resources, :billed, :at_stake, :saving, :months, :why)"
)
_PROOF: Final = _insert(
    "proof", {"source": "text", "record": "bigint", "part": "text", "finding": "uuid", "billed": "numeric"}
)
_OURS: Final = "namespace = :namespace and tenant = :tenant"
_ONE: Final = text(
    f"select id, sources, document from workflows.analysis where id = :id and {_OURS}"  # nosec B608
)
_FOUND: Final = text(
    "select f.*, cast(f.terms as text) as told from workflows.finding f join workflows.analysis a on a.id = f.analysis"
    f" where a.id = :id and {_OURS} order by f.place"  # nosec B608
)
_PROVEN: Final = text(
    "select finding, source, part, array_agg(record order by record) as records from workflows.proof"
    " where analysis = :id group by finding, source, part order by source, part"
)
_PLAN: Final = text(
    "insert into workflows.plan (id, namespace, tenant, state, revision)"
    " values (:id, :namespace, :tenant, 'draft', 1) on conflict do nothing returning id"
)
_STEPS: Final = _insert(
    "step",
    {
        "number": "integer", "wave": "text", "rule": "text", "title": "text", "provider": "text", "currency": "text",
        "action": "text", "risk": "text", "effort": "text", "certainty": "text", "saving": "numeric",
        "a_month": "numeric", "a_year": "numeric", "cost": "numeric", "years_return": "numeric",
    },
    fixed="plan",
)  # fmt: skip
_DRAFTED: Final = text(
    "with trailed as (insert into workflows.trail (plan, revision, actor, act, became, said)"
    " values (:id, 1, :user, 'drafted', 'draft', 'the agents drew the plan up'))"
    " insert into workflows.concerned (plan, user_id) values (:id, :user)"
)
_REPORT: Final = text(
    "insert into workflows.report (analysis, markdown, html, findings_csv)"
    " values (:id, :markdown, :html, :findings_csv) on conflict do nothing"
)
_REPORTED: Final = text(
    "select r.markdown, r.html, r.findings_csv from workflows.report r join workflows.analysis a on a.id = r.analysis"
    f" where a.id = :id and {_OURS}"  # nosec B608
)


class StoredFinding(Frozen):
    """A finding with its row's id."""

    id: UUID
    finding: Finding


class Report(Frozen):
    """What a person reads, as Markdown and as a page that opens offline, and the findings as CSV."""

    markdown: str
    html: str
    findings_csv: str


class Record:
    """The analyses of one installation, named by its *namespace*; any call may raise `StoreUnavailable`.

    What was written once stays as it is, so that an agent whose worker died may write it again.

    Args:
        patience: how long an analysis may take to write and to read: it has as many rows as its bills.
    """

    def __init__(
        self, *, engine: AsyncEngine, namespace: str, patience: timedelta = timedelta(minutes=1)
    ) -> None:
        self._database = Database(engine, deadline=patience)
        self._namespace = namespace

    async def add(
        self, id: UUID, analysis: Analysis, proofs: Proofs, *, tenant: str, user: str, sources: Sequence[str]
    ) -> None:
        """Write an analysis with the rows that prove it, all or nothing."""
        document = analysis.model_dump_json(exclude={"findings"})
        async with self._database.transaction() as transaction:
            added = await transaction.execute(
                _ADD, id=id, namespace=self._namespace, tenant=tenant, asked_by=user, sources=list(sources),
                document=document,
            )  # fmt: skip
            if not added:
                return
            for place, finding in enumerate(analysis.findings, start=1):
                await _add_finding(transaction, id, place, finding, proofs)

    async def analysis(self, id: UUID, *, tenant: str) -> Analysis:
        """Read an analysis as it was made.

        Raises:
            PlanNotFound: the tenant has none of that id.
        """
        ours = {"id": id, "namespace": self._namespace, "tenant": tenant}
        rows = await self._database.execute(_ONE, **ours)
        if not rows:
            raise PlanNotFound
        found = [one.finding for one in await self.findings(id, tenant=tenant)]
        rest = Analysis.model_validate_json(f'{{"findings": [], {rows[0].document[1:]}')
        return rest.model_copy(update={"findings": tuple(found)})

    async def findings(self, id: UUID, *, tenant: str) -> tuple[StoredFinding, ...]:
        """Return the findings of an analysis, the largest saving first; none where the tenant has no such analysis."""
        ours = {"id": id, "namespace": self._namespace, "tenant": tenant}
        rows = await self._database.execute(_FOUND, **ours)
        if not rows:
            return ()
        proven: dict[UUID, list[Rows]] = {row.id: [] for row in rows}
        for proof in await self._database.execute(_PROVEN, id=id):
            own = Rows.model_construct(source=proof.source, records=tuple(proof.records), part=proof.part)
            proven[proof.finding].append(own)
        return tuple(StoredFinding(id=row.id, finding=_finding(row, proven[row.id])) for row in rows)

    async def draft(self, id: UUID, advice: Advice, *, tenant: str, user: str) -> None:
        """Write the plan of an analysis as a draft of *user*'s, all or nothing."""
        async with self._database.transaction() as transaction:
            added = await transaction.execute(_PLAN, id=id, namespace=self._namespace, tenant=tenant)
            if not added:
                return
            await transaction.execute(_STEPS, id=id, **_columns(advice))
            await transaction.execute(_DRAFTED, id=id, user=user)

    async def add_report(self, id: UUID, report: Report) -> None:
        """Write the report of an analysis."""
        await self._database.execute(_REPORT, id=id, **report.model_dump())

    async def report(self, id: UUID, *, tenant: str) -> Report:
        """Return the report of an analysis.

        Raises:
            PlanNotFound: the tenant has none.
        """
        rows = await self._database.execute(_REPORTED, id=id, namespace=self._namespace, tenant=tenant)
        if not rows:
            raise PlanNotFound
        return Report(**rows[0]._mapping)


async def _add_finding(
    transaction: Transaction, id: UUID, place: int, finding: Finding, proofs: Proofs
) -> None:
    own = uuid5(id, str(place))
    await transaction.execute(
        _FINDING, id=id, finding=own, place=place, rule=finding.rule.id, published=finding.rule.published,
        terms=finding.rule.model_dump_json(), provider=finding.provider, account=finding.account,
        currency=finding.currency, resources=list(finding.resources), billed=finding.billed,
        at_stake=finding.at_stake, saving=finding.saving, months=finding.months, why=finding.why,
    )  # fmt: skip
    rows = [(rows.source, record, rows.part) for rows in finding.rows for record in rows.records]
    for some in _batches(rows):
        sources, records, parts = zip(*some, strict=True)
        await transaction.execute(
            _PROOF, id=id, source=list(sources), record=list(records), part=list(parts), finding=[own] * len(some),
            billed=[proofs[row] for row in some],
        )  # fmt: skip


def _batches(rows: Sequence[tuple[str, int, str]]) -> Iterable[Sequence[tuple[str, int, str]]]:
    return (rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE))


def _finding(row: Row[Any], rows: Sequence[Rows]) -> Finding:
    own = row._mapping
    said = {name: own[name] for name in Finding.model_fields if name not in ("rule", "rows", "resources")}
    return Finding(
        **said, rule=Rule.model_validate_json(row.told), rows=tuple(rows), resources=tuple(row.resources)
    )


def _columns(advice: Advice) -> dict[str, list[Any]]:
    told = [
        {"number": step.number, "wave": step.wave.value, **step.recommendation.model_dump(mode="python")}
        for step in advice.plan
    ]
    names = (
        "number", "wave", "rule", "title", "provider", "currency", "action", "risk", "effort", "certainty", "saving",
        "a_month", "a_year", "cost", "years_return",
    )  # fmt: skip
    return {name: [one[name] for one in told] for name in names}
