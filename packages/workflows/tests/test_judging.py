"""What a tenant uploads is known by its content, whatever it is called, and judged together, nothing twice."""

import gzip
import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from netra_workflows import Bills, BillUnreadable, Kind, read_inventory, read_prices, read_requests, recommend
from netra_workflows.answers import doubts
from netra_workflows.generator import Bill
from netra_workflows.judging import Upload, judge, kind_of
from netra_workflows.page import page
from netra_workflows.report import markdown

from .conftest import WriteBill
from .test_detectors import GP2, GP3, IDLE
from .test_inventory import AS_OF, DISK, VOLUME, aws, azure, google

MODEL = {
    "litellm_provider": "them", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
    "max_input_tokens": 9000, "max_output_tokens": 9000, "deprecation_date": "2027-01-01",
    "input_cost_per_token_batches": 5e-07, "output_cost_per_token_batches": 1e-06,
}  # fmt: skip
ADVICE = {"category": "Cost", "resourceMetadata": {"resourceId": "s"}, "extendedProperties": {
    "annualSavingsAmount": "600", "savingsCurrency": "EUR"}}  # fmt: skip
RECOMMENDED = {"name": "r", "recommenderSubtype": "STOP", "primaryImpact": {"costProjection": {
    "cost": {"currencyCode": "USD", "units": "-8", "nanos": 5}, "duration": "2592000s"}}}  # fmt: skip
HUB = {
    "items": [
        {"resourceId": "i-1", "actionType": "Stop", "estimatedMonthlyCost": 5, "estimatedMonthlySavings": 4}
    ]
}
DAY = {"year": 2020, "month": 1, "day": 1}
ANSWERS = (
    aws("ec2.DescribeVolumes", {"Volumes": [VOLUME]}),
    aws("ec2.DescribeSnapshots", {"Snapshots": [{"SnapshotId": "s", "StartTime": DAY}]}),
    aws("ec2.DescribeInstances", {"Reservations": [{"Instances": [
        {"InstanceId": "i", "InstanceType": "m4.large", "State": {"Name": "running"}}]}]}),
    aws("cost-optimization-hub.ListRecommendations", HUB), azure(DISK | {"sku": {"name": "x"}}),
    azure({"properties": ADVICE}), google({"kind": "compute#disk", "selfLink": "d"}, "disks"), google(RECOMMENDED),
)  # fmt: skip
ODD = (None, 7, -1, True, "", "x\x00\ud800y", [], [[]], [None], {}, {"a": []}, "9" * 5000, 10**400)


def mutilated(whole: Any) -> Iterator[Any]:
    """Put something odd in the place of each part of an answer, one after another."""

    def places(part: Any, *way: Any) -> Iterator[tuple[Any, ...]]:
        inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in inside:
            yield (*way, key)
            yield from places(value, *way, key)

    for way in places(whole):
        for odd in ODD:
            changed = deepcopy(whole)
            part = changed
            for key in way[:-1]:
                part = part[key]
            part[way[-1]] = odd
            yield changed


def upload(path: Path, kind: Kind, name: str | None = None) -> Upload:
    return Upload(name or path.name, kind, path, AS_OF)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"BilledCost,ChargeCategory\n1,Usage\n", Kind.BILL),
        (b"PAR1....", Kind.BILL),
        (b"", Kind.BILL),
        (b'{"a": 1}\n{"b": 2}\n', Kind.BILL),
        (b'{"data": "no answer"}\n', Kind.BILL),
        (b"[" * 100_000, Kind.BILL),
        (b'{"a":' * 100_000, Kind.BILL),
        (gzip.compress(b"ContextTokens,GeneratedTokens\n", mtime=0)[:-9], Kind.BILL),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", Kind.REQUESTS),
        (b"\xef\xbb\xbfContextTokens,GeneratedTokens\r\n1,2\r\n", Kind.REQUESTS),
        (b'{"input_length": 1, "output_length": 2}\n', Kind.REQUESTS),
        (json.dumps(ANSWERS[0]).encode(), Kind.INVENTORY),
        (json.dumps({"one": MODEL}).encode(), Kind.PRICES),
        (json.dumps({"one": MODEL}, indent=1).encode(), Kind.PRICES),
    ],
)
def test_an_upload_is_known_by_its_content(tmp_path: Path, content: bytes, kind: Kind) -> None:
    """Nobody has to say what a file is, and its name says nothing; what is nothing else is held for a bill."""
    for packed in (content, gzip.compress(content)):
        path = tmp_path / "upload"
        path.write_bytes(packed)

        assert kind_of(path) is kind


def test_all_that_is_uploaded_is_judged_together(bills: Bills, write_bill: WriteBill, tmp_path: Path) -> None:
    """The bill keeps what it prices, the inventory what it alone knows, and a list prices requests."""
    bill = write_bill(
        *(GP3 | {"ResourceId": name} for name in ("vol-1", "vol-4")),
        *(GP2 | {"ResourceId": "vol-2"}, IDLE | {"ResourceId": "eip-1"}),
    )
    idle = [VOLUME | {"VolumeId": name} for name in ("vol-1", "vol-3")]
    gone = {
        "resourceId": "vol-4",
        "actionType": "Delete",
        "estimatedMonthlyCost": 0,
        "estimatedMonthlySavings": 3,
    }
    advice = {"items": [*HUB["items"], gone]}
    gp2 = VOLUME | {"VolumeId": "vol-2", "State": "in-use", "VolumeType": "gp2"}
    told = [
        aws("ec2.DescribeVolumes", {"Volumes": [*idle, gp2]}), aws("cost-optimization-hub.ListRecommendations", advice),
        aws("ec2.DescribeAddresses", {"Addresses": [{"AllocationId": "eip-1"}]}),
    ]  # fmt: skip
    inventory = written(tmp_path / "a", "".join(f"{json.dumps(one)}\n" for one in told))
    requests = written(tmp_path / "b", "ContextTokens,GeneratedTokens\n1000,100\n3000,100\n")
    prices = written(tmp_path / "c", json.dumps({"house": MODEL, "house-large": MODEL | {"mode": "other"}}))
    uploads = [
        upload(requests, Kind.REQUESTS, "to house-large, march"), upload(requests, Kind.REQUESTS, "to a warehouse"),
        upload(inventory, Kind.INVENTORY, "cloud"), upload(bill, Kind.BILL), upload(prices, Kind.PRICES),
    ]  # fmt: skip

    analysis, proofs = judge(bills, uploads)

    found = {one.rule.id: (one.resources, one.billed, one.saving) for one in analysis.findings}
    assert found == {
        "idle_resource": (("vol-1", "vol-4"), 20, 20), "aws_gp2": (("vol-2",), 10, 2),
        "aws_idle_address": (("eip-1",), 10, 10),
        "unattached_volume": (("vol-3",), 0, 0), "recommended_stop": (("i-1",), 9, 4),
        "token_batch": (("house-large",), Decimal("0.0044"), Decimal("0.0022")),
    }  # fmt: skip
    [why] = [one.why for one in analysis.findings if one.rule.id == "idle_resource"]
    assert why.endswith("(AWS Cost Optimization Hub, steampipe-mod-aws-thrifty: unattached_ebs_volumes)")
    assert analysis.warnings == (
        "house-large is withdrawn on 2027-01-01: move to another model",
        "to a warehouse was not judged: upload a price list, and name the model in the file's name",
    )
    for one in analysis.findings:
        rows = [(own.source, record, own.part) for own in one.rows for record in own.records]
        assert sum(proofs[row] for row in rows) == one.billed
    assert len(proofs) == sum(len(own.records) for one in analysis.findings for own in one.rows)
    assert [(one.source, one.format, one.rows) for one in analysis.read][2:] == [
        ("cloud", Kind.INVENTORY, 3), ("bill.csv", "focus", 4), ("c", Kind.PRICES, 2),
    ]  # fmt: skip


def test_an_inventory_alone_is_judged_too(bills: Bills, tmp_path: Path) -> None:
    """Who has no bill at hand learns what their provider advises, and what has no price is not called free."""
    path = written(tmp_path / "cloud.jsonl", "".join(f"{json.dumps(one)}\n" for one in ANSWERS))

    analysis, _ = judge(bills, [upload(path, Kind.INVENTORY)])
    advice = recommend(analysis)

    assert [(own.currency, own.a_month) for own in advice.sums] == [("EUR", 50), ("USD", Decimal("12.00"))]
    html, text = page(advice, analysis), markdown(advice, analysis)
    assert "Without a price" in html
    assert "no price at stake" in html
    assert "| no price | no price |" in text
    assert "0.00 XXX" not in html + text


def test_no_answer_breaks_the_reading_of_an_inventory(tmp_path: Path) -> None:
    """Whatever stands in the place of a part of it, the others count, and what is kept can be stored and shown."""
    odd = [one for answer in ANSWERS for one in mutilated(answer)]
    for answer in odd:
        for one in doubts(answer, AS_OF)[1]:
            assert (one.resource.isprintable(), one.rule.isprintable()) == (True, True)
            assert (len(one.resource) <= 500, len(one.rule) <= 100) == (True, True)
            assert one.currency is None or (one.currency.isalpha() and one.currency.isupper())
            assert all(amount is None or abs(amount) < 10**13 for amount in (one.cost, one.saving))
    path = written(
        tmp_path / "cloud.jsonl", "".join(f"{json.dumps(one)}\n" for one in [7, None, *odd, *ANSWERS])
    )
    rules = {one.rule for one in read_inventory([path], as_of=AS_OF)}
    assert rules >= {
        "unattached_volume",
        "old_snapshot",
        "previous_generation",
        "unattached_disk",
        "recommended_stop",
    }


def test_no_entry_breaks_the_reading_of_a_price_list(tmp_path: Path) -> None:
    """A list of thousands of models is not lost for one that is written oddly."""
    odd = {f"odd-{place}": entry["one"] for place, entry in enumerate(mutilated({"one": MODEL}))}
    path = written(tmp_path / "prices.json", json.dumps({"good": MODEL, "ba\x00d": MODEL, **odd}))

    models = read_prices(path)

    assert "good" in models
    assert "ba\x00d" not in models
    assert all(
        model.provider.isprintable() and 0 <= model.prices[0].input < 10**3 for model in models.values()
    )


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    """A few bytes that become one endless line take no memory that others need."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(b'{"data": {' + b" " * (17 << 20), compresslevel=1))

    with pytest.raises(BillUnreadable, match="a line is longer than 16 megabytes"):
        read_inventory({"bomb": bomb}, as_of=datetime.now(UTC))
    with pytest.raises(BillUnreadable, match="a line is longer than 16 megabytes"):
        read_prices(bomb)


def test_more_than_a_worker_can_hold_is_refused(tmp_path: Path) -> None:
    """A file of too many requests or resources is refused by name, and not until memory ends."""
    requests = written(tmp_path / "requests", "ContextTokens,GeneratedTokens\n1,2\n1,2\n1,2\n")
    cloud = written(tmp_path / "cloud", f"{json.dumps(ANSWERS[0])}\n{json.dumps(ANSWERS[2])}\n")

    assert len([*read_requests(requests, most=3)]) == len(read_inventory([cloud], as_of=AS_OF, most=2)) + 1
    with pytest.raises(BillUnreadable, match="more than 2 requests"):
        list(read_requests(requests, most=2))
    with pytest.raises(BillUnreadable, match="more than 1 resources"):
        read_inventory([cloud], as_of=AS_OF, most=1)


def test_a_generated_bill_and_its_own_inventory_agree(bills: Bills, tmp_path: Path) -> None:
    """Whatever of a bill's volumes and addresses an inventory shows, no resource is saved on twice."""
    path = tmp_path / "bill.csv"
    Bill(11, rows=800, days=31).write(path)
    rows = path.read_text(encoding="utf-8").splitlines()
    names = {
        cell
        for row in rows
        for cell in row.split(",")
        if cell.startswith(("volume-", "address-", "instance-"))
    }
    told = [
        aws("ec2.DescribeVolumes", {"Volumes": [VOLUME | {"VolumeId": name} for name in sorted(names)]}),
        aws("cost-optimization-hub.ListRecommendations", {"items": [
            {"resourceId": name, "estimatedMonthlySavings": 1} for name in sorted(names)]}),
    ]  # fmt: skip
    inventory = written(tmp_path / "cloud.jsonl", "".join(f"{json.dumps(one)}\n" for one in told))

    analysis, proofs = judge(bills, [upload(path, Kind.BILL), upload(inventory, Kind.INVENTORY)])

    saved = [name for one in analysis.findings if one.saving > 0 for name in one.resources if name in names]
    assert len(saved) == len(set(saved))
    assert set(saved) == names
    rows_of = [
        (own.source, n, own.part) for one in analysis.findings for own in one.rows for n in own.records
    ]
    assert len(rows_of) == len(set(rows_of)) == len(proofs)
    for total in analysis.totals:
        assert sum(one.saving for one in analysis.findings if one.provider == total.provider) <= total.billed
