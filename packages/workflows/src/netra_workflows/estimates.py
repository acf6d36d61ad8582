"""Findings that no bill prices: what an inventory shows, by its provider's estimates, and requests by a price list."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from netra_workflows.inventory import InventoryFinding
from netra_workflows.model import NO_CURRENCY, Effort, Finding, Rows, Rule
from netra_workflows.tokens import Alternative, TokenSpend

LAST: Final = 100  # these rules take no row that another takes
IDLE: Final = "idle_resource"
_WAYS: Final[Mapping[str, tuple[str, str, Effort, str]]] = {
    "token_cache": (
        "Prompts that begin alike",
        "Mark the beginning that prompts share for the provider's cache",
        Effort.SMALL,
        "None known",
    ),
    "token_batch": (
        "Requests that could be a batch",
        "Send what nobody waits for as batches",
        Effort.MEDIUM,
        "Answers take up to a day",
    ),
    "token_model": (
        "Requests that a smaller model could answer",
        "Try the smaller model that the finding names on recorded requests",
        Effort.MEDIUM,
        "Answers may be worse: compare first",
    ),
}


def of_inventory(inventory: Iterable[InventoryFinding], billed: Sequence[Finding]) -> Iterator[Finding]:
    """Put together what each rule shows with each provider; what bills save on already is theirs."""
    saved = Names(name for finding in billed if finding.saving > 0 for name in finding.resources)
    groups: dict[tuple[str, str, str], list[InventoryFinding]] = defaultdict(list)
    for one in inventory:
        if one.resource not in saved:
            groups[one.rule, one.provider, one.currency or NO_CURRENCY].append(one)
    for (_, provider, currency), own in groups.items():
        rule = _rule(own[0])
        yield Finding(
            rule=rule, provider=provider, account="", currency=currency, months=1,
            resources=tuple(sorted(one.resource for one in own)), rows=tuple(rows for one in own for rows in one.rows),
            billed=sum(map(estimate, own), Decimal(0)), at_stake=sum(map(estimate, own), Decimal(0)),
            saving=sum((one.saving or Decimal(0) for one in own), Decimal(0)), why=f"{rule.title} ({rule.published})",
        )  # fmt: skip


def estimate(one: InventoryFinding) -> Decimal:
    """Tell what a resource costs a month: as its provider says, and at least what it could save."""
    return max(one.cost or Decimal(0), one.saving or Decimal(0))


def _rule(one: InventoryFinding) -> Rule:
    return Rule(
        id=one.rule, title=one.rule.replace("_", " ").capitalize(), published=one.published, certainty=one.certainty,
        effort=Effort.SMALL if one.idle else Effort.MEDIUM, precedence=LAST,
        action="Delete what nobody uses" if one.idle else "Change it as the rule says",
        risk="What was on it is gone: keep a snapshot" if one.idle else "See the provider's own advice",
    )  # fmt: skip


def of_requests(spends: Iterable[TokenSpend]) -> Iterator[Finding]:
    """Give the best way of each file's requests; they count as one month's."""
    for spend in spends:
        if way := spend.finding:
            yield _way(spend, way)


def _way(spend: TokenSpend, way: Alternative) -> Finding:
    title, action, effort, risk = _WAYS[way.rule]
    rule = Rule(
        id=way.rule, title=title, published=way.published, certainty=way.certainty, effort=effort, precedence=LAST,
        action=action, risk=risk,
    )  # fmt: skip
    instead = f"; {way.model} in place of {spend.model}" if way.model else ""
    return Finding(
        rule=rule, provider=spend.provider, account=spend.source, currency="USD", months=1, resources=(spend.model,),
        rows=(Rows(source=spend.source, records=tuple(range(1, spend.requests + 1))),), billed=spend.cost,
        at_stake=spend.cost, saving=way.saving, why=f"{title} ({way.published}){instead}",
    )  # fmt: skip


def shown(findings: Iterable[Finding], inventory: Iterable[InventoryFinding]) -> Iterator[Finding]:
    """Add to what bills hold of idle resources the answers that show them idle, each once, and by which rules."""
    left = [one for one in inventory if one.idle]
    for finding in findings:
        names = Names(finding.resources)
        own = [one for one in left if one.resource in names] if finding.rule.id == IDLE else []
        if own:
            left = [one for one in left if one.resource not in names]
            rows = (*finding.rows, *(rows for one in own for rows in one.rows))
            why = f"{finding.rule.title} ({', '.join(sorted({one.published for one in own}))})"
            finding = finding.model_copy(update={"rows": rows, "why": why})
        yield finding


class Names:
    """Names of resources, in any case: a name is among them as it is, or where one of both is the other's last part."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name.lower() for name in names}
        self._last = {name.rpartition("/")[2] for name in self._names}

    def __contains__(self, name: object) -> bool:
        told = str(name).lower()
        return told in self._names or told in self._last or told.rpartition("/")[2] in self._names
