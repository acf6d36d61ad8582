"""What cloud providers' APIs say of resources: idle, orphaned, of an old kind; and what they recommend themselves.

An inventory has no prices: a finding of it saves what the provider itself estimates, or is priced by a bill that holds
the same resource (`analyse(bills, inventory=…)`). Answers are JSON lines as Cloud Custodian's tests record them.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import Field

from netra_workflows.columns import table
from netra_workflows.errors import BillUnreadable
from netra_workflows.model import Certainty, Frozen, Rows

SNAPSHOT_DAYS: Final = next(
    int(row["value"]) for row in table("thresholds") if row["name"] == "snapshot_days"
)
_FAMILIES: Final = frozenset(row["family"] for row in table("families") if "." not in row["family"])
_THRIFTY: Final = "steampipe-mod-{}-thrifty: {}"
_TOOLKIT: Final = "microsoft/finops-toolkit: {}"


class InventoryFinding(Frozen):
    """A resource that a published rule, or its provider, says could cost less. Amounts are for a month."""

    rule: str
    published: str
    provider: str
    resource: str
    idle: bool = Field(description="whether the resource could go altogether")
    certainty: Certainty
    rows: tuple[Rows, ...]
    currency: str | None = None
    cost: Decimal | None = Field(
        default=None, description="what it costs now, by the provider's own estimate"
    )
    saving: Decimal | None = Field(default=None, description="the provider's own estimate")


class _Doubt(NamedTuple):
    rank: int
    rule: str
    published: str
    resource: str
    idle: bool
    currency: str | None = None
    cost: Decimal | None = None
    saving: Decimal | None = None


Record = Mapping[str, Any]


def read_inventory(paths: Iterable[Path], *, as_of: datetime) -> tuple[InventoryFinding, ...]:
    """Find what recorded answers show; one finding a resource, that of the strongest rule.

    Args:
        as_of: the day from which ages are counted.

    Raises:
        BillUnreadable: a file is no JSON lines, or its gzip stream is broken.
    """
    found: dict[tuple[str, str], tuple[_Doubt, dict[str, list[int]]]] = {}
    for path in paths:
        for number, record in enumerate(_records(path), start=1):
            provider, doubts = _doubts(record, as_of)
            for doubt in doubts:
                key = (provider, doubt.resource.lower())
                before, rows = found.get(key, (doubt, {}))
                if _strength(doubt) > _strength(before):
                    before, rows = doubt, {}
                if _strength(doubt) == _strength(before):
                    rows.setdefault(path.name, []).append(number)
                found[key] = (before, rows)
    made = (_finding(provider, doubt, rows) for (provider, _), (doubt, rows) in sorted(found.items()))
    return tuple(sorted(made, key=lambda f: (-(f.saving or 0), f.rule, f.provider, f.resource)))


def _strength(doubt: _Doubt) -> tuple[int, Decimal]:
    """Rank doubts about one resource; of offers that exclude each other the one that saves most counts."""
    return (-doubt.rank, doubt.saving or Decimal(0))


def _finding(provider: str, doubt: _Doubt, rows: Mapping[str, Sequence[int]]) -> InventoryFinding:
    return InventoryFinding(
        rule=doubt.rule,
        published=doubt.published,
        provider=provider,
        resource=doubt.resource,
        idle=doubt.idle,
        certainty=Certainty.HIGH if doubt.idle or doubt.saving else Certainty.MEDIUM,
        rows=tuple(Rows(source=name, records=tuple(sorted(set(own)))) for name, own in sorted(rows.items())),
        currency=doubt.currency,
        cost=doubt.cost,
        saving=doubt.saving,
    )


def _records(path: Path) -> Iterator[Record]:
    try:
        with path.open("rb") as packed:
            compressed = packed.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as file:
            for line in file:
                record = json.loads(line, parse_float=Decimal)
                yield record if isinstance(record, dict) else {}
    except (OSError, EOFError, ValueError) as error:
        raise BillUnreadable(path.name, "it is no file of JSON lines") from error


def _doubts(record: Record, as_of: datetime) -> tuple[str, Iterator[_Doubt]]:
    data = record.get("data")
    data = data if isinstance(data, dict) else {}
    if "interactions" in data:
        return "Microsoft", _azure(data["interactions"], as_of)
    if "body" in data:
        return "Google Cloud", _google(data["body"], as_of)
    operation = str(record.get("file", "")).rpartition("/")[2].rpartition("_")[0]
    answer = data.get("data")
    read = _AWS.get(operation)
    if read is None or data.get("status_code") != 200 or not isinstance(answer, dict):
        return "AWS", iter(())
    return "AWS", read(answer, as_of)


def _items(answer: Any, *names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    for item in answer if isinstance(answer, list) else ():
        if isinstance(item, dict):
            yield item


def _volumes(answer: Record, _: datetime) -> Iterator[_Doubt]:
    for volume in _items(answer, "Volumes"):
        name = str(volume.get("VolumeId"))
        if volume.get("State") == "available" and not volume.get("Attachments"):
            yield _Doubt(0, "unattached_volume", _THRIFTY.format("aws", "unattached_ebs_volumes"), name, True)
        elif volume.get("VolumeType") == "gp2":
            yield _Doubt(3, "gp2_volume", _THRIFTY.format("aws", "gp2_volumes"), name, False)


def _snapshots(answer: Record, as_of: datetime) -> Iterator[_Doubt]:
    for snapshot in _items(answer, "Snapshots"):
        if _is_old(_moment(snapshot.get("StartTime")), as_of):
            published = _THRIFTY.format("aws", "ebs_snapshot_max_age")
            yield _Doubt(2, "old_snapshot", published, str(snapshot.get("SnapshotId")), False)


def _addresses(answer: Record, _: datetime) -> Iterator[_Doubt]:
    for address in _items(answer, "Addresses"):
        if not address.get("AssociationId") and not address.get("InstanceId"):
            name = str(address.get("AllocationId") or address.get("PublicIp"))
            yield _Doubt(0, "unattached_address", _THRIFTY.format("aws", "unattached_eips"), name, True)


def _instances(answer: Record, _: datetime) -> Iterator[_Doubt]:
    for reservation in _items(answer, "Reservations"):
        for instance in _items(reservation, "Instances"):
            family = str(instance.get("InstanceType")).partition(".")[0]
            state = instance.get("State")
            if family in _FAMILIES and isinstance(state, dict) and state.get("Name") == "running":
                published = _THRIFTY.format("aws", "ec2_instance_older_generation")
                yield _Doubt(3, "previous_generation", published, str(instance.get("InstanceId")), False)


def _balancers(answer: Record, _: datetime) -> Iterator[_Doubt]:
    for balancer in _items(answer, "LoadBalancerDescriptions"):
        if not balancer.get("Instances"):
            published = _THRIFTY.format("aws", "ec2_classic_lb_unused")
            yield _Doubt(0, "idle_load_balancer", published, str(balancer.get("LoadBalancerName")), True)


def _hub(answer: Record, _: datetime) -> Iterator[_Doubt]:
    """Cost Optimization Hub: the monthly cost that it estimates is that after the change."""
    for item in _items(answer, "items"):
        saving, after = (
            _amount(item.get("estimatedMonthlySavings")),
            _amount(item.get("estimatedMonthlyCost")),
        )
        if saving is not None and saving > 0:
            cost = None if after is None else after + saving
            action = str(item.get("actionType", "")).lower()
            name = str(item.get("resourceId") or item.get("resourceArn"))
            currency = str(item.get("currencyCode", "USD"))
            published = "AWS Cost Optimization Hub"
            yield _Doubt(
                1, f"recommended_{action}", published, name, action == "delete", currency, cost, saving
            )


_AWS: Final[Mapping[str, Callable[[Record, datetime], Iterator[_Doubt]]]] = {
    "ec2.DescribeVolumes": _volumes,
    "ec2.DescribeSnapshots": _snapshots,
    "ec2.DescribeAddresses": _addresses,
    "ec2.DescribeInstances": _instances,
    "elasticloadbalancing.DescribeLoadBalancers": _balancers,
    "cost-optimization-hub.ListRecommendations": _hub,
}


def _azure(interactions: Any, as_of: datetime) -> Iterator[_Doubt]:
    for interaction in interactions if isinstance(interactions, list) else ():
        if interaction.get("request", {}).get("method") != "GET":
            continue
        body = interaction.get("response", {}).get("body")
        data = body.get("data") if isinstance(body, dict) else None
        for item in _items(data, "value"):
            properties = item.get("properties")
            if isinstance(properties, dict):
                kind = str(item.get("type", "")).lower() or "microsoft.advisor/recommendations"
                yield from _azure_item(kind, str(item.get("id")), item, properties, as_of)


def _azure_item(kind: str, name: str, item: Record, properties: Record, as_of: datetime) -> Iterator[_Doubt]:
    sku = item.get("sku") if isinstance(item.get("sku"), dict) else {}
    if kind == "microsoft.compute/disks":
        if not item.get("managedBy") and properties.get("diskState") != "ActiveSAS":
            yield _Doubt(0, "unattached_disk", _TOOLKIT.format("Microsoft-UnattachedDisks"), name, True)
    elif kind == "microsoft.network/publicipaddresses":
        if not properties.get("ipConfiguration") and not properties.get("natGateway"):
            yield _Doubt(
                0, "unattached_address", _TOOLKIT.format("Microsoft-UnattachedPublicIPs"), name, True
            )
    elif kind == "microsoft.compute/snapshots":
        if str((sku or {}).get("name", "")).lower() == "premium_lrs":
            yield _Doubt(1, "premium_snapshot", _TOOLKIT.format("Microsoft-PremiumSnapshots"), name, False)
        elif _is_old(_moment(properties.get("timeCreated")), as_of):
            yield _Doubt(2, "old_snapshot", _THRIFTY.format("azure", "compute_snapshot_max_age"), name, False)
    elif kind == "microsoft.web/serverfarms":
        if properties.get("numberOfSites") == 0 and str((sku or {}).get("tier", "")).lower() != "free":
            yield _Doubt(
                0, "empty_app_service_plan", _TOOLKIT.format("Microsoft-EmptyAppServicePlans"), name, True
            )
    elif kind == "microsoft.advisor/recommendations" and properties.get("category") == "Cost":
        yield from _advice(properties)


def _advice(properties: Record) -> Iterator[_Doubt]:
    """Azure Advisor: a year's saving, of which a month is a twelfth."""
    more = properties.get("extendedProperties")
    saving = _amount((more or {}).get("annualSavingsAmount"))
    if isinstance(more, dict) and saving is not None and saving > 0:
        target = (properties.get("resourceMetadata") or {}).get("resourceId")
        name = "/".join(
            part for part in (str(target), *(str(more.get(p, "")) for p in ("sku", "region"))) if part
        )
        currency = str(more.get("savingsCurrency", "USD"))
        published = _TOOLKIT.format("Microsoft-AdvisorCost")
        yield _Doubt(1, "recommended", published, name, False, currency, None, saving / 12)


def _google(body: Any, as_of: datetime) -> Iterator[_Doubt]:
    for item in _google_items(body):
        kind, name = str(item.get("kind", "")), str(item.get("selfLink") or item.get("name"))
        if kind == "compute#disk" or "/diskTypes/" in str(item.get("type", "")):
            if not item.get("users"):
                yield _Doubt(
                    0, "unattached_disk", _THRIFTY.format("gcp", "compute_disk_unattached"), name, True
                )
        elif kind == "compute#address":
            if item.get("status") == "RESERVED" and not item.get("users"):
                yield _Doubt(
                    0, "unattached_address", _THRIFTY.format("gcp", "compute_address_unattached"), name, True
                )
        elif kind == "compute#snapshot":
            if _is_old(_moment(item.get("creationTimestamp")), as_of):
                yield _Doubt(
                    2, "old_snapshot", _THRIFTY.format("gcp", "compute_snapshot_max_age"), name, False
                )
        elif "primaryImpact" in item:
            yield from _recommended(item)


def _google_items(body: Any) -> Iterator[dict[str, Any]]:
    items = body.get("items") if isinstance(body, dict) else None
    if isinstance(items, dict):
        for scope in items.values():
            yield from _items(scope, "disks")
            yield from _items(scope, "addresses")
    yield from _items(body, "items")
    yield from _items(body, "recommendations")


def _recommended(item: Record) -> Iterator[_Doubt]:
    """Google's Recommender: a projected cost below zero is a saving, over a duration in seconds."""
    projection = (item.get("primaryImpact") or {}).get("costProjection")
    cost = projection.get("cost") if isinstance(projection, dict) else None
    if not isinstance(projection, dict) or not isinstance(cost, dict):
        return
    seconds = _amount(str(projection.get("duration", "")).rstrip("s"))
    amount = (_amount(cost.get("units", 0)) or Decimal(0)) + (
        _amount(cost.get("nanos", 0)) or Decimal(0)
    ) / 10**9
    if seconds and amount < 0:
        month = -amount * 30 * 86400 / seconds
        kind = str(item.get("recommenderSubtype", "")).lower()
        currency = str(cost.get("currencyCode", "USD"))
        yield _Doubt(
            1,
            f"recommended_{kind}",
            "Google Cloud Recommender",
            str(item.get("name")),
            False,
            currency,
            None,
            month,
        )


def _amount(value: Any) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _moment(value: Any) -> datetime | None:
    """Read a time: ISO 8601, or an object of boto's with year, month, day."""
    try:
        if isinstance(value, dict):
            return datetime(value["year"], value["month"], value["day"], tzinfo=UTC)
        read = datetime.fromisoformat(str(value)[:19])
        return read.replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        return None


def _is_old(made: datetime | None, as_of: datetime) -> bool:
    return made is not None and as_of - made > timedelta(days=SNAPSHOT_DAYS)
