"""What single answers of cloud providers' APIs show: published rules on idle, orphaned and old resources, and advice.

An answer comes from whoever uploads it, so that nothing of its shape is taken for granted.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from netra_workflows.columns import table

SNAPSHOT_DAYS: Final = next(
    int(row["value"]) for row in table("thresholds") if row["name"] == "snapshot_days"
)
LONGEST_NAME: Final = 500
MOST: Final = Decimal(10**12)  # a month of one resource; what is more is no amount
_FAMILIES: Final = frozenset(row["family"] for row in table("families") if "." not in row["family"])
_THRIFTY: Final = "steampipe-mod-{}-thrifty: {}"
_TOOLKIT: Final = "microsoft/finops-toolkit: {}"
_NO_LETTERS: Final = re.compile("[^a-z_]+")
_CURRENCY: Final = re.compile("[A-Z]{3}")


class Doubt(NamedTuple):
    """What a rule says of one resource; of several rules that of the lowest rank counts."""

    rank: int
    rule: str
    published: str
    resource: str
    idle: bool
    currency: str | None = None
    cost: Decimal | None = None
    saving: Decimal | None = None


Record = Mapping[str, Any]


def doubts(record: Record, as_of: datetime) -> tuple[str, Iterator[Doubt]]:
    """Tell what an answer shows, and whose it is. Names are kept as far as they can be printed."""
    provider, found = _told(record, as_of)
    return provider, (doubt._replace(resource=_printed(doubt.resource)) for doubt in found)


def _printed(name: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in name)[:LONGEST_NAME]


def _told(record: Record, as_of: datetime) -> tuple[str, Iterator[Doubt]]:
    data = _part(record, "data")
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


def _part(answer: Any, *names: str) -> dict[str, Any]:
    """Go down to a part of an answer; an empty one where there is none."""
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer if isinstance(answer, dict) else {}


def _items(answer: Any, *names: str) -> Iterator[dict[str, Any]]:
    items = _part(answer, *names[:-1]).get(names[-1])
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield item


def _volumes(answer: Record, _: datetime) -> Iterator[Doubt]:
    for volume in _items(answer, "Volumes"):
        name = str(volume.get("VolumeId"))
        if volume.get("State") == "available" and not volume.get("Attachments"):
            yield Doubt(0, "unattached_volume", _THRIFTY.format("aws", "unattached_ebs_volumes"), name, True)
        elif volume.get("VolumeType") == "gp2":
            yield Doubt(3, "gp2_volume", _THRIFTY.format("aws", "gp2_volumes"), name, False)


def _snapshots(answer: Record, as_of: datetime) -> Iterator[Doubt]:
    for snapshot in _items(answer, "Snapshots"):
        if _is_old(_moment(snapshot.get("StartTime")), as_of):
            published = _THRIFTY.format("aws", "ebs_snapshot_max_age")
            yield Doubt(2, "old_snapshot", published, str(snapshot.get("SnapshotId")), False)


def _addresses(answer: Record, _: datetime) -> Iterator[Doubt]:
    for address in _items(answer, "Addresses"):
        if not address.get("AssociationId") and not address.get("InstanceId"):
            name = str(address.get("AllocationId") or address.get("PublicIp"))
            yield Doubt(0, "unattached_address", _THRIFTY.format("aws", "unattached_eips"), name, True)


def _instances(answer: Record, _: datetime) -> Iterator[Doubt]:
    for reservation in _items(answer, "Reservations"):
        for instance in _items(reservation, "Instances"):
            family = str(instance.get("InstanceType")).partition(".")[0]
            if family in _FAMILIES and _part(instance, "State").get("Name") == "running":
                published = _THRIFTY.format("aws", "ec2_instance_older_generation")
                yield Doubt(3, "previous_generation", published, str(instance.get("InstanceId")), False)


def _balancers(answer: Record, _: datetime) -> Iterator[Doubt]:
    for balancer in _items(answer, "LoadBalancerDescriptions"):
        if not balancer.get("Instances"):
            published = _THRIFTY.format("aws", "ec2_classic_lb_unused")
            yield Doubt(0, "idle_load_balancer", published, str(balancer.get("LoadBalancerName")), True)


def _hub(answer: Record, _: datetime) -> Iterator[Doubt]:
    """Cost Optimization Hub: the monthly cost that it estimates is that after the change."""
    for item in _items(answer, "items"):
        saving, after = (
            _amount(item.get("estimatedMonthlySavings")),
            _amount(item.get("estimatedMonthlyCost")),
        )
        if saving is not None and saving > 0:
            cost = None if after is None else after + saving
            action = _word(item.get("actionType"))
            name = str(item.get("resourceId") or item.get("resourceArn"))
            currency = _currency(item.get("currencyCode", "USD"))
            published = "AWS Cost Optimization Hub"
            yield Doubt(
                1, f"recommended_{action}", published, name, action == "delete", currency, cost, saving
            )


_AWS: Final[Mapping[str, Callable[[Record, datetime], Iterator[Doubt]]]] = {
    "ec2.DescribeVolumes": _volumes,
    "ec2.DescribeSnapshots": _snapshots,
    "ec2.DescribeAddresses": _addresses,
    "ec2.DescribeInstances": _instances,
    "elasticloadbalancing.DescribeLoadBalancers": _balancers,
    "cost-optimization-hub.ListRecommendations": _hub,
}


def _azure(interactions: Any, as_of: datetime) -> Iterator[Doubt]:
    for interaction in interactions if isinstance(interactions, list) else ():
        if _part(interaction, "request").get("method") != "GET":
            continue
        for item in _items(_part(interaction, "response", "body", "data"), "value"):
            properties = item.get("properties")
            if isinstance(properties, dict):
                kind = str(item.get("type", "")).lower() or "microsoft.advisor/recommendations"
                yield from _azure_item(kind, str(item.get("id")), item, properties, as_of)


def _azure_item(kind: str, name: str, item: Record, properties: Record, as_of: datetime) -> Iterator[Doubt]:
    sku = _part(item, "sku")
    if kind == "microsoft.compute/disks":
        if not item.get("managedBy") and properties.get("diskState") != "ActiveSAS":
            yield Doubt(0, "unattached_disk", _TOOLKIT.format("Microsoft-UnattachedDisks"), name, True)
    elif kind == "microsoft.network/publicipaddresses":
        if not properties.get("ipConfiguration") and not properties.get("natGateway"):
            yield Doubt(0, "unattached_address", _TOOLKIT.format("Microsoft-UnattachedPublicIPs"), name, True)
    elif kind == "microsoft.compute/snapshots":
        if str(sku.get("name", "")).lower() == "premium_lrs":
            yield Doubt(1, "premium_snapshot", _TOOLKIT.format("Microsoft-PremiumSnapshots"), name, False)
        elif _is_old(_moment(properties.get("timeCreated")), as_of):
            yield Doubt(2, "old_snapshot", _THRIFTY.format("azure", "compute_snapshot_max_age"), name, False)
    elif kind == "microsoft.web/serverfarms":
        if properties.get("numberOfSites") == 0 and str(sku.get("tier", "")).lower() != "free":
            yield Doubt(
                0, "empty_app_service_plan", _TOOLKIT.format("Microsoft-EmptyAppServicePlans"), name, True
            )
    elif kind == "microsoft.advisor/recommendations" and properties.get("category") == "Cost":
        yield from _advice(properties)


def _advice(properties: Record) -> Iterator[Doubt]:
    """Azure Advisor: a year's saving, of which a month is a twelfth."""
    more = _part(properties, "extendedProperties")
    saving = _amount(more.get("annualSavingsAmount"))
    if saving is not None and saving > 0:
        target = _part(properties, "resourceMetadata").get("resourceId")
        name = "/".join(
            part for part in (str(target), *(str(more.get(p, "")) for p in ("sku", "region"))) if part
        )
        currency = _currency(more.get("savingsCurrency", "USD"))
        published = _TOOLKIT.format("Microsoft-AdvisorCost")
        yield Doubt(1, "recommended", published, name, False, currency, None, saving / 12)


def _google(body: Any, as_of: datetime) -> Iterator[Doubt]:
    for item in _google_items(body):
        kind, name = str(item.get("kind", "")), str(item.get("selfLink") or item.get("name"))
        if kind == "compute#disk" or "/diskTypes/" in str(item.get("type", "")):
            if not item.get("users"):
                yield Doubt(
                    0, "unattached_disk", _THRIFTY.format("gcp", "compute_disk_unattached"), name, True
                )
        elif kind == "compute#address":
            if item.get("status") == "RESERVED" and not item.get("users"):
                yield Doubt(
                    0, "unattached_address", _THRIFTY.format("gcp", "compute_address_unattached"), name, True
                )
        elif kind == "compute#snapshot":
            if _is_old(_moment(item.get("creationTimestamp")), as_of):
                yield Doubt(
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


def _recommended(item: Record) -> Iterator[Doubt]:
    """Google's Recommender: a projected cost below zero is a saving, over a duration in seconds."""
    projection = _part(item, "primaryImpact", "costProjection")
    cost = _part(projection, "cost")
    seconds = _amount(str(projection.get("duration", "")).rstrip("s"))
    amount = (_amount(cost.get("units", 0)) or Decimal(0)) + (
        _amount(cost.get("nanos", 0)) or Decimal(0)
    ) / 10**9
    if seconds and amount < 0:
        month = -amount * 30 * 86400 / seconds
        kind = _word(item.get("recommenderSubtype"))
        currency = _currency(cost.get("currencyCode", "USD"))
        yield Doubt(
            1,
            f"recommended_{kind}",
            "Google Cloud Recommender",
            str(item.get("name")),
            False,
            currency,
            None,
            month,
        )


def _currency(value: Any) -> str | None:
    return value if isinstance(value, str) and _CURRENCY.fullmatch(value) else None


def _word(value: Any) -> str:
    """Make a part of a rule's name of what an answer calls its advice."""
    return _NO_LETTERS.sub("", str(value).lower())[:60]


def _amount(value: Any) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < MOST else None


def _moment(value: Any) -> datetime | None:
    """Read a time: ISO 8601, or an object of boto's with year, month, day."""
    try:
        if isinstance(value, dict):
            return datetime(value["year"], value["month"], value["day"], tzinfo=UTC)
        read = datetime.fromisoformat(str(value)[:19])
        return read.replace(tzinfo=UTC)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None


def _is_old(made: datetime | None, as_of: datetime) -> bool:
    return made is not None and as_of - made > timedelta(days=SNAPSHOT_DAYS)
