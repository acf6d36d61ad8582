"""Generated bills: seeded, in FOCUS 1.2, of three clouds, with labels of what is wrong in them. No real bill."""

import argparse
import csv
import gzip
import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from netra_workflows.model import Frozen

COLUMNS: Final = (
    *("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "BillingAccountId", "BillingAccountName"),
    *("BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"),
    *("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "CommitmentDiscountCategory"),
    *("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "InvoiceIssuerName", "ListUnitPrice"),
    *("PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId"),
    *("RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName"),
    *(
        "SkuId",
        "SkuMeter",
        "SkuPriceDetails",
        "SkuPriceId",
        "SubAccountId",
        "SubAccountName",
        "Tags",
        "x_Generated",
    ),
)


class Planted(Frozen):
    """An anomaly that was put into a bill: a day on which a service of an account cost a multiple."""

    provider: str
    account: str
    service: str
    day: date


class Labels(Frozen):
    """What a generated bill holds, for who scores what is found in it."""

    seed: int
    rows: int
    anomalies: tuple[Planted, ...]


class Line(NamedTuple):
    """What is billed once a day: a price list's entry."""

    service: str
    category: str
    description: str
    unit: str
    price: float
    quantity: float
    kind: str
    weekly: bool = False


_AWS: Final = (
    Line("Amazon Elastic Compute Cloud", "Compute", "$0.096 per On Demand Linux m5.large Instance Hour",
         "Hours", 0.096, 24, "instance", True),
    Line("Amazon Elastic Compute Cloud", "Compute", "$0.192 per On Demand Linux m5.xlarge Instance Hour",
         "Hours", 0.192, 24, "instance", True),
    Line("Amazon Elastic Compute Cloud", "Compute", "$0.10 per On Demand Linux m4.large Instance Hour",
         "Hours", 0.10, 24, "instance"),
    Line("Amazon Elastic Compute Cloud", "Storage",
         "$0.10 per GB-month of General Purpose SSD (gp2) provisioned storage", "GB-Months", 0.10, 3.3, "volume"),
    Line("Amazon Elastic Compute Cloud", "Storage",
         "$0.08 per GB-month of General Purpose (gp3) provisioned storage", "GB-Months", 0.08, 6.6, "volume"),
    Line("Amazon Virtual Private Cloud", "Networking", "$0.005 per Idle public IPv4 address per hour",
         "Hours", 0.005, 24, "address"),
    Line("Amazon Virtual Private Cloud", "Networking", "$0.005 per In-use public IPv4 address per hour",
         "Hours", 0.005, 24, "address"),
    Line("Amazon Relational Database Service", "Databases",
         "$0.171 per db.m5.large Single-AZ instance hour (or partial hour) running MySQL", "Hours", 0.171, 24, "db"),
    Line("Amazon Simple Storage Service", "Storage", "$0.023 per GB - first 50 TB / month of storage used",
         "GB-Months", 0.023, 80, "bucket"),
    Line("AWS Lambda", "Compute", "AWS Lambda - Total Compute - US East (Northern Virginia)", "Seconds",
         0.0000166667, 90000, "function", True),
)  # fmt: skip
_AZURE: Final = (
    Line("Virtual Machines", "Compute", "Virtual Machines Dsv5 Series - D2s v5 - US East", "Hours", 0.096, 24,
         "vm", True),
    Line("Virtual Machines", "Compute", "Virtual Machines Dsv5 Series - D4s v5 - US East", "Hours", 0.192, 24, "vm"),
    Line("Storage", "Storage", "Premium SSD Managed Disks - P10 LRS - US East", "Units/Month", 19.71, 0.0333, "disk"),
    Line("Storage", "Storage", "Premium SSD Managed Disks - Snapshots LRS - US East", "GB/Month", 0.12, 8, "snapshot"),
    Line("SQL Database", "Databases", "SQL Database Single Standard - S3 DTUs - US East", "Hours", 0.2, 24, "sql"),
    Line("Bandwidth", "Networking", "Bandwidth - Standard Data Transfer Out", "GB", 0.02, 200, "net", True),
)  # fmt: skip
_GOOGLE: Final = (
    Line("Compute Engine", "Compute", "N2 Instance Core running in Americas", "hour", 0.0316, 96, "vm", True),
    Line("Compute Engine", "Compute", "N2 Instance Ram running in Americas", "gibibyte hour", 0.0042, 384, "vm", True),
    Line("Compute Engine", "Networking", "Static Ip Charge", "hour", 0.01, 24, "address"),
    Line("Cloud Storage", "Storage", "Standard Storage US Regional", "gibibyte month", 0.02, 90, "bucket"),
    Line("BigQuery", "Analytics", "Analysis", "tebibyte", 6.25, 2.5, "dataset", True),
    Line("Cloud SQL", "Databases", "Cloud SQL for MySQL: Zonal - vCPU in Americas", "hour", 0.0413, 48, "sql"),
)  # fmt: skip
CLOUDS: Final = {"AWS": _AWS, "Microsoft": _AZURE, "Google Cloud": _GOOGLE}


class Bill:
    """A generated bill; the same seed and size give the same bytes, another seed changes every figure.

    Args:
        seed: any number.
        rows: about how many rows it has.
        days: how many days it covers, from *start*: two months.
        accounts: how many accounts each cloud has.
    """

    def __init__(
        self,
        seed: int,
        *,
        rows: int = 5000,
        days: int = 59,
        accounts: int = 2,
        start: date = date(2026, 1, 1),
    ) -> None:
        self.seed, self.days, self.start = seed, days, start
        self._random = random.Random(f"{seed}: accounts")  # nosec B311: seeded on purpose
        daily = sum(map(len, CLOUDS.values()))
        self._units = max(1, round(rows / (days * accounts * (daily + 2))))
        self._accounts = {
            cloud: [f"{self._random.randrange(10**11, 10**12)}" for _ in range(accounts)] for cloud in CLOUDS
        }
        self._level = {cloud: self._random.uniform(0.7, 1.6) for cloud in CLOUDS}
        self.anomalies = tuple(self._planted())

    def _planted(self) -> Iterator[Planted]:
        for cloud, lines in CLOUDS.items():
            for account in self._accounts[cloud]:
                services = sorted({line.service for line in lines})
                for service in self._random.sample(services, 2):
                    day = self.start + timedelta(days=self._random.randrange(3, self.days))
                    yield Planted(provider=cloud, account=account, service=service, day=day)

    def write(self, path: Path) -> Labels:
        """Write the bill as CSV, gzipped where the name ends in `.gz`."""
        opener: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
        rows = 0
        with opener(path, "wt", encoding="utf-8", newline="") as text:  # type: ignore[attr-defined]
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in self.rows():
                writer.writerow(row)
                rows += 1
        return Labels(seed=self.seed, rows=rows, anomalies=self.anomalies)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Give the rows, account by account and day by day."""
        chance = random.Random(f"{self.seed}: rows")  # nosec B311: seeded on purpose
        for cloud, accounts in self._accounts.items():
            for account in accounts:
                yield from self._account(chance, cloud, account)

    def _account(self, chance: random.Random, cloud: str, account: str) -> Iterator[tuple[str, ...]]:
        planted = {(a.service, a.day): chance.uniform(1.9, 5) for a in self.anomalies if a.account == account}
        growth = {line.service: chance.uniform(-0.1, 0.3) for line in CLOUDS[cloud]}
        fleet = [
            (
                line,
                f"{line.kind}-{account[-4:]}-{unit:05d}-{place}",
                self._tags(chance),
                chance.uniform(0.5, 1.5),
            )
            for unit in range(self._units)
            for place, line in enumerate(CLOUDS[cloud])
        ]
        for offset in range(self.days):
            day = self.start + timedelta(days=offset)
            quiet = 0.6 if day.isoweekday() > 5 else 1.0
            busy = {
                service: max(0.7, chance.gauss(1 + slope * offset / self.days, 0.06))
                for service, slope in growth.items()
            }
            for line, resource, tags, size in fleet:
                factor = (
                    size * chance.uniform(0.97, 1.03) * busy[line.service] * (quiet if line.weekly else 1)
                )
                factor *= planted.get((line.service, day), 1) * self._level[cloud]
                yield self._used(cloud, account, day, line, resource, tags, line.quantity * factor)
            yield from self._committed(chance, cloud, account, day)
            if day.day == 1:
                yield from self._monthly(chance, cloud, account, day)

    def _tags(self, chance: random.Random) -> str:
        if chance.random() < 0.15:
            return ""
        return f'{{"team": "{chance.choice(["data", "web", "core"])}", "env": "{chance.choice(["prod", "dev"])}"}}'

    def _used(
        self, cloud: str, account: str, day: date, line: Line, resource: str, tags: str, quantity: float
    ) -> tuple[str, ...]:
        quantity = round(quantity, 6)
        cost = f"{quantity * line.price:.10f}"
        return self._row(
            cloud,
            account,
            day,
            cost,
            cost,
            cost,
            line,
            resource=resource,
            tags=tags,
            quantity=f"{quantity:.6f}",
        )

    def _committed(
        self, chance: random.Random, cloud: str, account: str, day: date
    ) -> Iterator[tuple[str, ...]]:
        """A day of one commitment: what was bought, what of it was used, what was not."""
        line = CLOUDS[cloud][0]
        whole = 1.6 * self._level[cloud] * self._units
        used = whole * chance.uniform(0.6, 0.9)
        plan = f"plan-{account[-4:]}"
        fields = {"commitment": plan, "resource": plan, "tags": '{"team": "core"}'}
        yield self._row(cloud, account, day, f"{whole:.10f}", "0", f"{whole:.10f}", line,
                        category="Purchase", frequency="Recurring", quantity=f"{whole:.6f}", **fields)  # fmt: skip
        yield self._row(cloud, account, day, "0", f"{used:.10f}", f"{used * 1.4:.10f}", line,
                        status="Used", pricing="Committed", quantity=f"{used:.6f}", **fields)  # fmt: skip
        yield self._row(cloud, account, day, "0", f"{whole - used:.10f}", f"{whole - used:.10f}", line,
                        status="Unused", pricing="Committed", quantity=f"{whole - used:.6f}", **fields)  # fmt: skip

    def _monthly(
        self, chance: random.Random, cloud: str, account: str, day: date
    ) -> Iterator[tuple[str, ...]]:
        """What comes once a month, and must alarm nobody: support, tax, a credit, a refund."""
        service = CLOUDS[cloud][0].service
        support = Line(
            service, "Other", "Monthly support plan", "Months", 400 * self._level[cloud], 1, "support"
        )
        amount = f"{support.price * chance.uniform(0.99, 1.01) * self._units:.10f}"
        yield self._row(cloud, account, day, amount, amount, amount, support, resource="support")
        yield self._row(cloud, account, day, f"{float(amount) * 0.08:.10f}", f"{float(amount) * 0.08:.10f}", "0",
                        support, category="Tax", frequency="One-Time")  # fmt: skip
        minus = f"{-float(amount) * 0.05:.10f}"
        yield self._row(
            cloud, account, day, minus, minus, "0", support, category="Credit", frequency="One-Time"
        )
        yield self._row(cloud, account, day, minus, minus, "0", support, correction="Correction")

    def _row(
        self, cloud: str, account: str, day: date, billed: str, effective: str, listed: str, line: Line, *,
        resource: str = "", tags: str = "", quantity: str = "1", category: str = "Usage", correction: str = "",
        frequency: str = "Usage-Based", pricing: str = "Standard", commitment: str = "", status: str = "",
    ) -> tuple[str, ...]:  # fmt: skip
        price = f"{line.price:.10f}"
        committed = (
            ("Spend", commitment, f"{commitment} of {cloud}", status, "Savings Plan")
            if commitment
            else ("",) * 5
        )
        return (
            billed, effective, listed, effective, f"payer-{cloud}", "Generated Bills", "USD",
            *_periods(day),
            category, correction, line.description, frequency, *committed,
            quantity, line.unit, price, cloud, price, pricing if category == "Usage" else "", quantity, line.unit,
            cloud, cloud, "us-east-1", "US East", resource, resource, line.kind, line.category, line.service,
            f"sku-{line.kind}", line.kind, "", f"price-{line.kind}-{line.price}", account, f"account {account[-4:]}",
            tags, f"generated with seed {self.seed}",
        )  # fmt: skip


@cache
def _periods(day: date) -> tuple[str, str, str, str]:
    """Write when the month of a day begins and ends, and when the day does."""
    month = day.replace(day=1)
    after = (month + timedelta(days=32)).replace(day=1)
    begins, ends, today, tomorrow = (f"{d}T00:00:00Z" for d in (month, after, day, day + timedelta(days=1)))
    return begins, ends, today, tomorrow


def main() -> None:
    """Write a generated bill: `netra-bills --seed 7 --rows 5000 bill.csv.gz`."""
    parser = argparse.ArgumentParser(prog="netra-bills", description="Write a generated bill in FOCUS 1.2.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=5000, help="about how many (5000)")
    chosen = parser.parse_args()
    labels = Bill(chosen.seed, rows=chosen.rows).write(chosen.path)
    planted = len(labels.anomalies)
    print(
        f"{chosen.path}: generated with seed {labels.seed}, no real bill; {labels.rows} rows, {planted} anomalies"
    )


if __name__ == "__main__":
    main()
