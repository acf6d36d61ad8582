"""Bills once more, by csv and Decimal alone: what DuckDB found has to be this."""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

NOTHING = {"", "NULL", "null", "None"}
CATEGORIES = {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}
AWS_CATEGORIES = {
    **dict.fromkeys(("Fee", "RIFee", "SavingsPlanUpfrontFee", "SavingsPlanRecurringFee"), "Purchase"),
    "Tax": "Tax", "Credit": "Credit", "Refund": "Adjustment",
}  # fmt: skip


def records(path: Path) -> Iterator[dict[str, str]]:
    """Read a file's rows as text."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as text:
        yield from csv.DictReader(text)  # type: ignore[arg-type]


def told(row: Mapping[str, str], *names: str) -> str | None:
    """Give the first of the cells that says something."""
    for name in names:
        cell = row.get(name)
        if cell is not None and cell not in NOTHING:
            return cell
    return None


def amount(cell: str | None) -> Decimal | None:
    """Read a decimal."""
    if cell is None:
        return None
    plain = cell.strip().replace(",", "").replace("$", "") if "$" in cell else cell.strip()
    try:
        return Decimal(plain)
    except InvalidOperation:
        return None


def instant(cell: str | None) -> datetime | None:
    """Read a time, in UTC."""
    if cell is None:
        return None
    try:
        if "/" in cell:
            return datetime.strptime(
                cell, "%m/%d/%Y" if len(cell.split("/")[2]) == 4 else "%m/%d/%y"
            ).replace(tzinfo=UTC)
        read = datetime.fromisoformat(cell)
        return read if read.tzinfo else read.replace(tzinfo=UTC)
    except ValueError:
        return None


def instance(row: Mapping[str, str]) -> str | None:
    """Give the type of machine that a row's price is about."""
    details = told(row, "SkuPriceDetails")
    found = json.loads(details).get("InstanceType") if details and details.startswith("{") else None
    return str(found) if found else None


@dataclass(frozen=True)
class Charge:
    """A row that holds money."""

    record: int
    provider: str
    account: str
    currency: str
    category: str
    billed: Decimal
    effective: Decimal
    service: str
    description: str
    unit: str
    resource: str
    started: datetime
    ended: datetime
    commitment: str | None
    status: str | None
    pricing: str | None
    correction: bool
    frequency: str
    region: str
    tagged: bool | None
    meter: tuple[str | None, ...] = ()
    instance: str | None = None


def focus(path: Path) -> Iterator[Charge | int]:
    """Read a FOCUS bill: charges, and the numbers of rows that can't be one."""
    for record, row in enumerate(records(path), start=1):
        billed = amount(told(row, "BilledCost"))
        effective = amount(told(row, "EffectiveCost"))
        started, ended = instant(told(row, "ChargePeriodStart")), instant(told(row, "ChargePeriodEnd"))
        category = told(row, "ChargeCategory")
        odd = told(row, "EffectiveCost") is not None and effective is None
        if billed is None or odd or not started or not ended or ended < started or category not in CATEGORIES:
            yield record
            continue
        tags = told(row, "Tags")
        yield Charge(
            record=record, billed=billed, effective=billed if effective is None else effective, started=started,
            ended=ended, category=category, provider=told(row, "ServiceProviderName", "ProviderName") or "unknown",
            account=told(row, "SubAccountId", "BillingAccountId") or "unknown",
            currency=told(row, "BillingCurrency") or "XXX", service=told(row, "ServiceName") or "unknown",
            description=told(row, "ChargeDescription") or "", unit=(told(row, "PricingUnit") or "").lower(),
            resource=told(row, "ResourceId") or "", commitment=told(row, "CommitmentDiscountId"),
            status=told(row, "CommitmentDiscountStatus"), pricing=told(row, "PricingCategory"),
            correction=told(row, "ChargeClass") is not None, region=told(row, "RegionId") or "",
            frequency=(told(row, "ChargeFrequency") or "usage-based").lower(),
            meter=(told(row, "SkuPriceDetails"),), instance=instance(row),
            tagged=None if "Tags" not in row else tags not in (None, "{}", "[]"),
        )  # fmt: skip


def charges(path: Path) -> list[Charge]:
    """Give the rows of a FOCUS bill that are kept."""
    return [row for row in focus(path) if isinstance(row, Charge)]


def by_provider(rows: list[Charge]) -> dict[tuple[str, str], Decimal]:
    """Add up what was billed."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row.provider, row.currency] += row.billed
    return dict(sums)
