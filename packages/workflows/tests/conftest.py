"""What the tests of a bill share: DuckDB in memory, a way to write a bill, and the third-party bills."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from netra_workflows import Bills

WriteBill = Callable[..., Path]

ROW = {
    "BilledCost": "10", "EffectiveCost": "10", "ListCost": "10", "ContractedCost": "10",
    "BillingAccountId": "payer", "SubAccountId": "shop", "BillingCurrency": "USD",
    "BillingPeriodStart": "2026-03-01T00:00:00Z", "BillingPeriodEnd": "2026-04-01T00:00:00Z",
    "ChargePeriodStart": "2026-03-02T00:00:00Z", "ChargePeriodEnd": "2026-03-02T01:00:00Z",
    "ChargeCategory": "Usage", "ChargeClass": "", "ChargeDescription": "something", "ChargeFrequency": "Usage-Based",
    "PricingCategory": "Standard", "PricingQuantity": "1", "PricingUnit": "Hours", "ProviderName": "AWS",
    "RegionId": "us-east-1", "ResourceId": "thing-1", "ServiceName": "Amazon Elastic Compute Cloud",
    "ServiceCategory": "Compute", "SkuPriceId": "", "CommitmentDiscountId": "", "CommitmentDiscountType": "",
    "CommitmentDiscountStatus": "", "Tags": '{"team": "web"}',
}  # fmt: skip


@pytest.fixture
def bills() -> Iterator[Bills]:
    """Bills of one test, in memory."""
    with Bills.opened(memory_mb=512, threads=1) as bills:
        yield bills


def written(path: Path, *rows: Mapping[str, str], without: tuple[str, ...] = ()) -> Path:
    """Write a FOCUS bill of rows that each say only what differs from an ordinary hour of usage."""
    columns = [column for column in ROW if column not in without]
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROW | dict(row) for row in rows)
    return path


@pytest.fixture
def write_bill(tmp_path: Path) -> WriteBill:
    """Write a bill into the test's folder."""

    def write(*rows: Mapping[str, str], name: str = "bill.csv", without: tuple[str, ...] = ()) -> Path:
        return written(tmp_path / name, *rows, without=without)

    return write
