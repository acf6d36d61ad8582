"""What providers' own answers show idle, old or recommended is found, once for each resource."""

import gzip
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from netra_fixtures.data import ThirdPartyData
from netra_workflows import AnalysisPolicy, Bills, BillUnreadable, analyse
from netra_workflows.inventory import InventoryFinding, read_inventory

from .conftest import WriteBill
from .test_detectors import GP3

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)


def aws(operation: str, answer: dict[str, Any], status: int = 200) -> dict[str, Any]:
    return {"case": "c", "file": f"{operation}_1.json", "data": {"status_code": status, "data": answer}}


def azure(item: dict[str, Any], method: str = "GET") -> dict[str, Any]:
    answer = {"response": {"body": {"data": {"value": [item]}}}, "request": {"method": method}}
    return {"case": "c", "file": "f", "data": {"version": 1, "interactions": [answer]}}


def google(item: dict[str, Any], scope: str | None = None) -> dict[str, Any]:
    body = {"items": {"zones/a": {scope: [item]}}} if scope else {"items": [item]}
    return {"case": "c", "file": "f", "data": {"headers": {}, "body": body}}


def ago(days: int) -> str:
    return (AS_OF - timedelta(days=days)).isoformat()


def found(folder: Path, *recorded: dict[str, Any]) -> dict[str, InventoryFinding]:
    """Read recordings, and give findings by resource."""
    path = folder / "inventory.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in recorded).encode()))
    return {finding.resource: finding for finding in read_inventory([path], as_of=AS_OF)}


VOLUME = {"VolumeId": "vol-1", "State": "available", "Attachments": [], "VolumeType": "gp3"}
DISK = {"type": "Microsoft.Compute/disks", "id": "disk", "properties": {"diskState": "Unattached"}}
PUBLIC = {"type": "Microsoft.Network/publicIPAddresses", "id": "ip", "properties": {}}
PLAN = {
    "type": "Microsoft.Web/serverfarms",
    "id": "plan",
    "sku": {"tier": "Basic"},
    "properties": {"numberOfSites": 0},
}
SNAPSHOT = {
    "type": "Microsoft.Compute/snapshots",
    "id": "snap",
    "sku": {"name": "Premium_LRS"},
    "properties": {},
}


@pytest.mark.parametrize(
    ("recorded", "rule"),
    [
        (aws("ec2.DescribeVolumes", {"Volumes": [VOLUME]}), "unattached_volume"),
        (aws("ec2.DescribeVolumes", {"Volumes": [VOLUME]}, status=400), None),
        (aws("ec2.DescribeVolumes", {"Volumes": [VOLUME | {"State": "in-use"}]}), None),
        (aws("ec2.DescribeVolumes", {"Volumes": [VOLUME | {"State": "in-use", "VolumeType": "gp2"}]}), "gp2_volume"),
        (aws("ec2.DescribeVolumes", {"Volumes": [VOLUME | {"VolumeType": "gp2"}]}), "unattached_volume"),
        (aws("ec2.DeleteVolume", {"Volumes": [VOLUME]}), None),
        (aws("ec2.DescribeAddresses", {"Addresses": [{"AllocationId": "a"}]}), "unattached_address"),
        (aws("ec2.DescribeAddresses", {"Addresses": [{"AllocationId": "a", "AssociationId": "b"}]}), None),
        (aws("ec2.DescribeSnapshots", {"Snapshots": [{"SnapshotId": "s", "StartTime": ago(91)}]}), "old_snapshot"),
        (aws("ec2.DescribeSnapshots", {"Snapshots": [{"SnapshotId": "s", "StartTime": ago(90)}]}), None),
        (aws("ec2.DescribeSnapshots", {"Snapshots": [{"SnapshotId": "s"}]}), None),
        (aws("elasticloadbalancing.DescribeLoadBalancers",
             {"LoadBalancerDescriptions": [{"LoadBalancerName": "l", "Instances": []}]}), "idle_load_balancer"),
        (aws("elasticloadbalancing.DescribeLoadBalancers",
             {"LoadBalancerDescriptions": [{"LoadBalancerName": "l", "Instances": [{"InstanceId": "i"}]}]}), None),
        (aws("ec2.DescribeInstances", {"Reservations": [{"Instances": [
            {"InstanceId": "i", "InstanceType": "m4.large", "State": {"Name": "running"}}]}]}), "previous_generation"),
        (aws("ec2.DescribeInstances", {"Reservations": [{"Instances": [
            {"InstanceId": "i", "InstanceType": "m4.large", "State": {"Name": "stopped"}}]}]}), None),
        (aws("ec2.DescribeInstances", {"Reservations": [{"Instances": [
            {"InstanceId": "i", "InstanceType": "m5.large", "State": {"Name": "running"}}]}]}), None),
        (azure(DISK), "unattached_disk"),
        (azure(DISK, method="DELETE"), None),
        (azure(DISK | {"managedBy": "machine"}), None),
        (azure(DISK | {"properties": {"diskState": "ActiveSAS"}}), None),
        (azure(PUBLIC), "unattached_address"),
        (azure(PUBLIC | {"properties": {"ipConfiguration": {"id": "x"}}}), None),
        (azure(PUBLIC | {"properties": {"natGateway": {"id": "x"}}}), None),
        (azure(PLAN), "empty_app_service_plan"),
        (azure(PLAN | {"sku": {"tier": "Free"}}), None),
        (azure(PLAN | {"properties": {"numberOfSites": 1}}), None),
        (azure(SNAPSHOT), "premium_snapshot"),
        (azure(SNAPSHOT | {"sku": {"name": "Standard_LRS"}, "properties": {"timeCreated": ago(91)}}), "old_snapshot"),
        (azure(SNAPSHOT | {"sku": {"name": "Standard_LRS"}, "properties": {"timeCreated": ago(89)}}), None),
        (google({"kind": "compute#disk", "selfLink": "d"}, "disks"), "unattached_disk"),
        (google({"kind": "compute#disk", "selfLink": "d", "users": ["i"]}, "disks"), None),
        (google({"kind": "compute#address", "selfLink": "a", "status": "RESERVED"}), "unattached_address"),
        (google({"kind": "compute#address", "selfLink": "a", "status": "IN_USE"}), None),
        (google({"kind": "compute#snapshot", "selfLink": "s", "creationTimestamp": ago(91)}), "old_snapshot"),
        (google({"kind": "compute#snapshot", "selfLink": "s", "creationTimestamp": ago(90)}), None),
    ],
)  # fmt: skip
def test_a_rule_fires_on_its_resource_and_not_on_the_next_one(
    tmp_path: Path, recorded: dict[str, Any], rule: str | None
) -> None:
    """What is attached, in use, young or of a current kind is left in peace."""
    findings = found(tmp_path, recorded)

    assert [finding.rule for finding in findings.values()] == ([rule] if rule else [])


def test_a_resource_is_one_finding_however_often_it_was_seen(tmp_path: Path) -> None:
    """Two recordings of a volume are two proofs of one finding, and the stronger rule names it."""
    gp2 = aws("ec2.DescribeVolumes", {"Volumes": [VOLUME | {"State": "in-use", "VolumeType": "gp2"}]})
    idle = aws("ec2.DescribeVolumes", {"Volumes": [VOLUME]})

    findings = found(tmp_path, gp2, idle, gp2, idle)

    assert {name: (f.rule, f.rows[0].records) for name, f in findings.items()} == {
        "vol-1": ("unattached_volume", (2, 4))
    }


def test_what_a_provider_estimates_is_taken_as_it_means_it(tmp_path: Path) -> None:
    """The hub's cost is that after the change; Advisor tells a year; Google tells a duration and a minus."""
    hub = aws("cost-optimization-hub.ListRecommendations", {"items": [
        {"resourceId": "vol-9", "actionType": "Upgrade", "currencyCode": "USD", "estimatedMonthlyCost": 2.56,
         "estimatedMonthlySavings": 0.64}]})  # fmt: skip
    advisor = [
        azure({"properties": {"category": "Cost", "resourceMetadata": {"resourceId": "sub"}, "extendedProperties": {
            "annualSavingsAmount": amount, "savingsCurrency": "EUR", "sku": "B4ms", "region": "eastus", "term": term}}})
        for amount, term in (("600", "P1Y"), ("900", "P3Y"))
    ]  # fmt: skip
    recommended = google({"name": "r", "recommenderSubtype": "DELETE_DISK", "primaryImpact": {"costProjection": {
        "cost": {"currencyCode": "USD", "units": "-8", "nanos": -500000000}, "duration": "2592000s"}}})  # fmt: skip

    findings = found(tmp_path, hub, *advisor, recommended)

    assert {name: (f.currency, f.cost, f.saving) for name, f in findings.items()} == {
        "vol-9": ("USD", Decimal("3.20"), Decimal("0.64")),
        "sub/B4ms/eastus": ("EUR", None, Decimal(75)),
        "r": ("USD", None, Decimal("8.5")),
    }


@pytest.mark.parametrize(
    ("shown", "named"),
    [
        ("vol-1", "vol-1"),
        ("vol-1", "arn:aws:ec2:us-east-1:1:volume/vol-1"),
        ("vol-1", "VOL-1"),
        ("/group/disks/one", "/Group/disks/ONE"),
        ("/group/disks/one", "one"),
    ],
)
def test_an_idle_resource_is_priced_by_the_bill_that_holds_it(
    bills: Bills, write_bill: WriteBill, tmp_path: Path, shown: str, named: str
) -> None:
    """The inventory knows that nobody uses the volume, the bill what it costs; together they are a saving."""
    bills.ingest(write_bill(GP3 | {"ResourceId": named}, GP3 | {"ResourceId": "vol-11"}))
    idle = VOLUME | {"VolumeId": shown}
    inventory = found(tmp_path, aws("ec2.DescribeVolumes", {"Volumes": [idle]})).values()

    [finding] = analyse(bills, AnalysisPolicy(offers=()), inventory=inventory).findings

    assert (finding.rule.id, finding.saving, finding.rows[0].records) == ("idle_resource", Decimal(10), (1,))


def test_a_file_that_is_no_inventory_is_refused(tmp_path: Path) -> None:
    """A broken upload is named."""
    path = tmp_path / "broken.jsonl"
    path.write_text("no json\n")

    with pytest.raises(BillUnreadable, match=r"broken\.jsonl"):
        read_inventory([path], as_of=AS_OF)


def test_recorded_inventories_are_judged_as_in_a_recount(third_party_data: ThirdPartyData) -> None:
    """Unattached volumes, gp2, addresses and recommendations of real answers, counted once more by hand."""
    for path in third_party_data.files("cloud-inventory", "aws_*.jsonl.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        expected: dict[str, set[str]] = defaultdict(set)
        saving: dict[str, float] = defaultdict(float)
        for row in rows:
            operation = row["file"].split("/")[-1].rsplit("_", 1)[0]
            answer = row["data"].get("data") if row["data"].get("status_code") == 200 else None
            for volume in (answer or {}).get("Volumes") or [] if operation == "ec2.DescribeVolumes" else []:
                if volume["State"] == "available" and not volume.get("Attachments"):
                    expected["unattached_volume"].add(volume["VolumeId"])
            for address in (
                (answer or {}).get("Addresses") or [] if operation == "ec2.DescribeAddresses" else []
            ):
                if not address.get("AssociationId") and not address.get("InstanceId"):
                    expected["unattached_address"].add(address.get("AllocationId") or address["PublicIp"])
            for item in (
                (answer or {}).get("items") or []
                if operation.startswith("cost-optimization-hub.List")
                else []
            ):
                saving[item["resourceId"]] = max(saving[item["resourceId"]], item["estimatedMonthlySavings"])

        findings = read_inventory([path], as_of=AS_OF)

        for rule in ("unattached_volume", "unattached_address"):
            assert {f.resource for f in findings if f.rule == rule} == expected[rule]
        idle = expected["unattached_volume"] | expected["unattached_address"]
        kept = {name: amount for name, amount in saving.items() if amount > 0 and name not in idle}
        assert {f.resource: float(f.saving) for f in findings if f.saving} == pytest.approx(kept)
        third_party_data.read(path, cases=len(findings))


@pytest.mark.parametrize("pattern", ["aws_*.jsonl.gz", "azure_*.jsonl.gz", "gcp_*.jsonl.gz"])
def test_any_recorded_inventory_keeps_the_invariants(third_party_data: ThirdPartyData, pattern: str) -> None:
    """One finding a resource, each with its recordings, no saving beyond its cost."""
    for path in third_party_data.files("cloud-inventory", pattern):
        findings = read_inventory([path], as_of=AS_OF)

        assert len({(f.provider, f.resource.lower()) for f in findings}) == len(findings)
        assert all(f.rows and all(rows.records for rows in f.rows) for f in findings)
        assert all(f.saving is None or f.saving > 0 for f in findings)
        assert all(f.cost is None or (f.saving or 0) <= f.cost for f in findings)
        third_party_data.read(path, cases=len(findings))
