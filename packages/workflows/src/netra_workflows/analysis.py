"""From bills to ranked findings: the SQL in `sql/analysis`, run in its order, and what Python adds to it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import Any, Final

import duckdb
from pydantic import Field

from netra_workflows.bills import Bills
from netra_workflows.columns import table
from netra_workflows.estimates import of_inventory, of_requests, shown
from netra_workflows.inventory import InventoryFinding
from netra_workflows.model import (
    Anomaly,
    CommitmentUse,
    ContractUse,
    Coverage,
    Finding,
    Frozen,
    Ingested,
    ModelSpend,
    Rows,
    Rule,
    Tagging,
    Total,
)
from netra_workflows.plan import CommitmentPlan, Offer, commit, demand, known_offers
from netra_workflows.queries import fill, sql
from netra_workflows.tokens import TokenSpend

_DIGITS: Final = 60
_PRECEDENCE_OF_PLAN: Final = 50
_NET: Final = ("precedence", "provider", "account", "currency", "resource", "rate", "billed", "unused")


class AnalysisPolicy(Frozen):
    """What an analysis may be told: thresholds by name, in place of those of the table, and what can be bought."""

    thresholds: dict[str, Decimal] = Field(default_factory=dict)
    offers: tuple[Offer, ...] | None = None


class Analysis(Frozen):
    """All that was found in the bills read so far; findings are ranked, largest saving first in each currency."""

    findings: tuple[Finding, ...]
    totals: tuple[Total, ...]
    commitments: tuple[CommitmentUse, ...]
    contracts: tuple[ContractUse, ...] = ()
    plans: tuple[CommitmentPlan, ...]
    coverage: tuple[Coverage, ...]
    tagging: tuple[Tagging, ...]
    anomalies: tuple[Anomaly, ...]
    models: tuple[ModelSpend, ...]
    months: dict[str, int] = Field(description="by currency, how many months the bills span")
    read: tuple[Ingested, ...] = Field(description="what became of each file")
    tokens: tuple[TokenSpend, ...] = Field(description="what requests to models cost, by file")
    warnings: tuple[str, ...]


@cache
def rules() -> Mapping[int, Rule]:
    """Give the rules by precedence."""
    made = [{key: value for key, value in row.items() if key != "rate"} for row in table("rules")]
    return {int(row["precedence"]): Rule.model_validate(row) for row in made}


def analyse(
    bills: Bills,
    policy: AnalysisPolicy | None = None,
    *,
    inventory: Iterable[InventoryFinding] = (),
    tokens: Iterable[TokenSpend] = (),
) -> Analysis:
    """Find what the bills that were read could have cost less, and what in them is unusual.

    Args:
        inventory: what an inventory shows; the bills' rows of its idle resources are findings of their own, and what
            bills save on is left to them.
        tokens: what requests to models cost; they count as one month's.

    Raises:
        PlanUnproved: no commitment plan could be proved.
    """
    policy = policy or AnalysisPolicy()
    inventory, tokens = tuple(inventory), tuple(tokens)
    run = _Run(bills.connection)
    run.reference(policy)
    run.make("meter_rule", "meters")
    run.make("meter_role", "roles")
    run.make("idle", "idle")
    run.idle_claims([finding.resource for finding in inventory if finding.idle])
    commitments = [
        CommitmentUse(**row) for row in run.read("commitments", "provider", "commitment", "currency")
    ]
    run.waste(commitments)
    run.make("meter_day", "days")
    run.make("monthly", "monthly")
    unusual = run.read("anomalies", "provider", "account", "service", "currency", "day")
    anomalies = [Anomaly(**_exact(row)) for row in unusual]
    run.unusual(anomalies)
    run.make("machine", "machines")
    run.make("claim", "claims")
    plans = run.plans(policy)
    run.planned(plans)
    run.make("taken", "taken")
    run.make("net", "nets")
    months = {row["currency"]: int(row["months"]) for row in run.read("months", "currency")}
    billed = [*shown(run.findings(plans, months), inventory)]
    findings = [*billed, *of_inventory(inventory, billed), *of_requests(tokens)]
    return Analysis(
        findings=tuple(sorted(findings, key=_rank)),
        totals=bills.totals(),
        commitments=tuple(commitments),
        contracts=tuple(run.contracts()),
        plans=tuple(plans),
        coverage=tuple(Coverage(**row) for row in run.read("coverage", "provider", "programme", "currency")),
        tagging=tuple(Tagging(**row) for row in run.read("tagging", "provider", "currency")),
        anomalies=tuple(anomalies),
        models=tuple(
            ModelSpend(**row)
            for row in run.read("models", "provider", "model", "direction", "cache", "currency")
        ),
        months=months,
        read=tuple(bills.read),
        tokens=tokens,
        warnings=tuple(spend.warning for spend in tokens if spend.warning),
    )


def _rank(finding: Finding) -> tuple[Any, ...]:
    where = (finding.provider, finding.account, finding.currency)
    return (-finding.saving, -finding.at_stake, finding.rule.precedence, *where)


def _exact(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "cost": Decimal(repr(row["cost"])), "usual": Decimal(repr(row["usual"]))}


class _Run:
    """One analysis: temporary tables beside the bills, made anew each time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._names = dict(connection.execute("select source_id, name from source").fetchall())

    def make(self, name: str, query: str) -> None:
        self._connection.execute(f"create or replace temp table {name} as {sql(f'analysis/{query}')}")

    def read(self, query: str, *order: str) -> list[dict[str, Any]]:
        cursor = self._connection.execute(sql(f"analysis/{query}"))
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return sorted(rows, key=lambda row: tuple(row[column] for column in order))

    def _fill(self, name: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.execute(f"create or replace temp table {name} ({columns.replace(';', ',')})")
        fill(self._connection, name, [column.split(" ", 1)[1] for column in columns.split("; ")], rows)

    def reference(self, policy: AnalysisPolicy) -> None:
        """Make tables of the rules, families and thresholds, and of the programmes that rows name."""
        self._fill(
            "rule",
            "id varchar; precedence integer; rate decimal(9, 6)",
            [[row["id"], int(row["precedence"]), Decimal(row["rate"])] for row in table("rules")],
        )
        self._fill(
            "family",
            "family varchar; rate decimal(9, 6)",
            [[row["family"], Decimal(row["rate"])] for row in table("families")],
        )
        values = {row["name"]: Decimal(row["value"]) for row in table("thresholds")} | policy.thresholds
        self._fill("threshold", "name varchar; value double", [[n, float(v)] for n, v in values.items()])
        self._connection.execute(sql("read/programmes"))

    def idle_claims(self, shown: Sequence[str]) -> None:
        """Spread idle things over their meters: those that the bills show, and those that an inventory does."""
        self._connection.execute(sql("read/idle_claims"))
        if shown:
            self._fill("shown", "resource varchar", [[resource.lower()] for resource in shown])
            self._connection.execute(sql("read/shown_claims"))

    def waste(self, commitments: Sequence[CommitmentUse]) -> None:
        rows = [[c.provider, c.commitment, c.currency] for c in commitments if c.unused > 0]
        self._fill("waste", "provider varchar; commitment varchar; currency varchar", rows)

    def unusual(self, anomalies: Sequence[Anomaly]) -> None:
        """Name the meters of each unusual day."""
        rows = [[a.provider, a.account, a.service, a.currency, a.day] for a in anomalies]
        self._fill(
            "unusual_day",
            "provider varchar; account varchar; service varchar; currency varchar; day date",
            rows,
        )
        [[precedence]] = self._connection.execute(
            "select precedence from rule where id = 'anomaly'"
        ).fetchall()
        self._connection.execute(
            "create or replace temp table unusual as select meter_day.account, meter_day.currency,"  # nosec B608
            f" meter_day.meter_id, meter_day.day, {int(precedence)} as precedence"
            " from meter_day join meter using (meter_id) join unusual_day using"
            " (provider, account, service, currency, day)"
            " anti join monthly using (account, currency, meter_id)"
        )

    def plans(self, policy: AnalysisPolicy) -> list[CommitmentPlan]:
        """Find what to commit to, by provider and currency."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in self.read("demand", "provider", "currency", "region", "meter_id", "day", "hour"):
            found[row["provider"], row["currency"]].append(row)
        offers = known_offers() if policy.offers is None else policy.offers
        least = policy.thresholds.get("plan_days", Decimal(7))
        demands = (demand(*key, rows) for key, rows in sorted(found.items()))
        plans = (commit(d, offers) for d in demands if d.days >= least)
        return [plan for plan in plans if plan is not None]

    def planned(self, plans: Sequence[CommitmentPlan]) -> None:
        rows = [
            [int(kind.split("@")[0]), p.currency, kind.split("@", 1)[1]] for p in plans for kind in p.covered
        ]
        self._fill("planned", "meter_id ubigint; currency varchar; region varchar", rows)

    def contracts(self) -> Iterator[ContractUse]:
        """Join what contracts agree on to the rows that use it."""
        if not self._connection.execute("select 1 from contract limit 1").fetchone():
            return
        self.make("link", "links")
        rows: dict[tuple[str, str], list[Rows]] = defaultdict(list)
        for row in self.read("contract_rows", "commitment", "currency", "source_id"):
            rows[row["commitment"], row["currency"]].append(self._rows(row))
        for row in self.read("contracts", "contract", "commitment", "currency"):
            yield ContractUse(**row, rows=tuple(rows[row["commitment"], row["currency"]]))

    def _rows(self, row: Mapping[str, Any]) -> Rows:
        """Name the rows of one source."""
        name = self._names[row["source_id"]]
        return Rows.model_construct(source=name, records=tuple(sorted(row["records"])))

    def findings(self, plans: Sequence[CommitmentPlan], months: Mapping[str, int]) -> Iterator[Finding]:
        """Put together what each rule found in each account."""
        proofs: dict[tuple[Any, ...], list[Rows]] = defaultdict(list)
        for row in self.read("rows", "precedence", "provider", "account", "currency", "source_id"):
            key = row["precedence"], row["provider"], row["account"], row["currency"]
            proofs[key].append(self._rows(row))
        nets: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
        for net in sorted(self._connection.execute("select * from net").fetchall()):
            nets[net[:4]].append(dict(zip(_NET, net, strict=True)))
        saved = {(p.provider, p.currency): p for p in plans}
        for key, proof in proofs.items():
            yield _finding(key, nets[key], tuple(proof), saved.get((key[1], key[3])), months[key[3]])


def _finding(
    key: tuple[Any, ...],
    nets: Sequence[Mapping[str, Any]],
    rows: tuple[Rows, ...],
    plan: CommitmentPlan | None,
    months: int,
) -> Finding:
    precedence, provider, account, currency = key
    rule = rules()[precedence]
    with localcontext() as context:
        context.prec = _DIGITS
        billed = sum((net["billed"] for net in nets), Decimal(0))
        saving = sum((_saving(rule.id, net) for net in nets), Decimal(0))
        at_stake = billed
        if rule.id == "unused_commitment":
            at_stake = sum((net["unused"] for net in nets), Decimal(0))
        elif precedence == _PRECEDENCE_OF_PLAN and plan is not None:
            saving = min(plan.saving, billed)
    return Finding(
        rule=rule,
        provider=provider,
        account=account,
        currency=currency,
        resources=tuple(sorted({net["resource"] for net in nets} - {""})),
        rows=rows,
        billed=billed,
        at_stake=at_stake,
        saving=saving,
        months=months,
        why=_why(rule, nets, plan),
    )


def _saving(rule: str, net: Mapping[str, Any]) -> Decimal:
    if rule == "unused_commitment":
        return max(Decimal(0), Decimal(min(net["unused"], net["billed"])))
    return Decimal(net["billed"]) * Decimal(net["rate"])


def _why(rule: Rule, nets: Sequence[Mapping[str, Any]], plan: CommitmentPlan | None) -> str:
    """Say by which rule, how much it saves, and which of the rates are assumed."""
    rates = sorted({Decimal(net["rate"]).normalize() for net in nets})
    told = f"{rule.title} ({rule.published})"
    if rule.precedence == _PRECEDENCE_OF_PLAN and plan is not None:
        offers = sorted({f"{one.programme} ({one.basis})" for one in plan.commitments})
        return f"{told}; {', '.join(offers)}"
    if rule.id == "unused_commitment" or not any(rates):
        return told
    saves = f"{told}; saves {' or '.join(f'{rate * 100:f}' for rate in rates)} %"
    return f"{saves}, assumed: {rule.assumed}" if rule.assumed else saves
