"""The rules once more, in plain Python over recounted rows: what the SQL finds has to be this."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from statistics import median

from .recount import Charge

EC2 = {"Amazon Elastic Compute Cloud", "AmazonEC2"}
RDS = {"Amazon Relational Database Service", "AmazonRDS"}
TYPE = re.compile(
    r"(?:^|[^a-z0-9.])((?:db\.|cache\.)?[a-z][a-z0-9-]*)\.(?:nano|micro|small|medium|large|metal|\d*xlarge)"
)
RATES = {
    "t1": "0.48", "m1": "0.451428", "m2": "0.485714", "m3": "0.278195", "m4": "0.04", "c1": "0.346153",
    "c3": "0.190476", "c4": "0.15", "r3": "0.240963", "r4": "0.052631", "t2": "0.103448", "i2": "0.634232",
    "db.m3": "0.075675", "db.m4": "0.022857",
}  # fmt: skip
ORDER = (
    "unused_commitment", "aws_idle_address", "gcp_idle_address", "aws_idle_nat", "aws_idle_load_balancer",
    "aws_extended_support", "aws_trails", "aws_gp2", "azure_premium_snapshot", "aws_previous_generation",
    "aws_db_previous_generation", "anomaly", "untagged",
)  # fmt: skip

Sums = dict[tuple[str, str, str, str], tuple[Decimal, Decimal, set[int]]]


def findings(rows: Iterable[Charge]) -> Sums:
    """Give, by rule, provider, account and currency, what was billed, what is saved, and the rows."""
    rows = list(rows)
    wasted = waste(rows)
    idle = idle_things(rows)
    odd = unusual(rows)
    nets: dict[tuple[str, ...], list[tuple[Charge, Decimal]]] = defaultdict(list)
    for row in rows:
        doubts = list(doubted(row, idle, odd)) if on_demand(row) else []
        if (row.provider, row.currency, row.commitment) in wasted and (
            row.category == "Purchase" or (row.category == "Usage" and row.status == "Unused")
        ):
            doubts = [("unused_commitment", Decimal(1))]
        if doubts:
            rule, rate = min(doubts, key=lambda doubt: ORDER.index(doubt[0]))
            nets[
                rule, row.provider, row.account, row.currency, row.commitment or row.resource, str(rate)
            ].append((row, rate))
    sums: Sums = {}
    for (rule, provider, account, currency, *_), own in nets.items():
        billed, rate = sum((row.billed for row, _ in own), Decimal(0)), own[0][1]
        saved = billed * rate
        if rule == "unused_commitment":
            unused = sum((row.effective for row, _ in own), Decimal(0))
            saved = max(Decimal(0), min(billed, unused))
            if billed < 0 or (billed == 0 and unused <= 0):
                continue
        elif billed <= 0:
            continue
        key = (rule, provider, account, currency)
        before = sums.get(key, (Decimal(0), Decimal(0), set()))
        sums[key] = (before[0] + billed, before[1] + saved, before[2] | {row.record for row, _ in own})
    return sums


def on_demand(row: Charge) -> bool:
    """Tell usage that was paid for by use."""
    return (
        row.category == "Usage" and not row.correction and row.status is None and row.billed != 0
        and row.pricing != "Committed"
    )  # fmt: skip


def doubted(
    row: Charge, idle: set[tuple[str, ...]], odd: set[tuple[object, ...]]
) -> Iterable[tuple[str, Decimal]]:
    """Give the rules that doubt a row, with what their act saves of it."""
    text = row.description.lower()
    one = Decimal(1)
    if row.provider == "AWS":
        if "idle public ipv4 address" in text:
            yield "aws_idle_address", one
        if "extended support" in text and row.service in RDS:
            yield "aws_extended_support", one
        if "paid event" in text and row.service in {"AWS CloudTrail", "AWSCloudTrail"}:
            yield "aws_trails", one
        if "(gp2) provisioned storage" in text and row.service in {*EC2, "Amazon Elastic Block Store"}:
            yield "aws_gp2", Decimal("0.2")
        yield from generation(row, text)
        for rule, there in (
            ("aws_idle_nat", "nat gateway hour"),
            ("aws_idle_load_balancer", "loadbalancer-hour"),
        ):
            if there in text and (rule, row.account, row.currency, row.resource) in idle:
                yield rule, one
    if row.provider == "Google Cloud" and text.startswith("static ip charge"):
        yield "gcp_idle_address", one
    if row.provider in {"Microsoft", "Microsoft Azure"} and "snapshot" in text.partition("premium")[2]:
        yield "azure_premium_snapshot", Decimal("0.6")
    if (row.provider, row.account, row.service, row.currency, row.started.date()) in odd and by_day(row):
        yield "anomaly", Decimal(0)
    if row.tagged is False:
        yield "untagged", Decimal(0)


def generation(row: Charge, text: str) -> Iterable[tuple[str, Decimal]]:
    """Give the rule of previous generations, where the machine is of one."""
    family = row.instance.rpartition(".")[0] if row.instance else None
    if family is None and (named := TYPE.search(row.description)):
        family = named[1]
    if family in RATES and row.unit in {"hours", "hrs"} and re.search("instance.*hour", text):
        if family.startswith("db.") and row.service in RDS:
            yield "aws_db_previous_generation", Decimal(RATES[family])
        elif not family.startswith("db.") and row.service in EC2:
            yield "aws_previous_generation", Decimal(RATES[family])


def waste(rows: Iterable[Charge]) -> set[tuple[str, str, str | None]]:
    """Give the commitments of which a part was not used."""
    unused: dict[tuple[str, str, str | None], Decimal] = defaultdict(Decimal)
    for row in rows:
        counts = row.category == "Purchase" or (row.category == "Usage" and row.status == "Unused")
        if row.commitment and counts:
            unused[row.provider, row.currency, row.commitment] += row.effective
    return {key for key, amount in unused.items() if amount > 0}


def idle_things(rows: Iterable[Charge]) -> set[tuple[str, ...]]:
    """No third-party bill tells a week of one gateway; what does, the tests of the detectors hold."""
    hours: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        text = row.description.lower()
        if row.provider == "AWS" and ("nat gateway hour" in text or "loadbalancer-hour" in text):
            hours[row.account, row.currency, row.resource] += 1
    assert max(hours.values(), default=0) < 168
    return set()


def by_day(row: Charge) -> bool:
    """Tell charges that can be told by the day."""
    return (
        row.category == "Usage" and not row.correction and row.status is None and row.frequency == "usage-based"
        and row.ended <= row.started + timedelta(days=1)
    )  # fmt: skip


def unusual(rows: Iterable[Charge]) -> set[tuple[object, ...]]:
    """Give days of a service that cost far more than others, of charges that don't come monthly."""
    rows = [row for row in rows if by_day(row)]
    days: dict[tuple[object, ...], set[object]] = defaultdict(set)
    for row in rows:
        days[meter(row)].add(row.started.date())
    monthly = {key for key, own in days.items() if comes_monthly(own)}
    series: dict[tuple[object, ...], dict[object, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        if meter(row) not in monthly:
            weekend = row.started.isoweekday() > 5
            series[row.provider, row.account, row.service, row.currency, weekend][row.started.date()] += (
                row.billed
            )
    found: set[tuple[object, ...]] = set()
    for key, costs in series.items():
        if len(costs) < 5:
            continue
        usual = median(map(float, costs.values()))
        spread = max(median(abs(float(c) - usual) for c in costs.values()), 0.01 * usual, 0.000001)
        for day, cost in costs.items():
            more = float(cost) - usual
            if 0.6745 * more / spread > 3.5 and float(cost) > usual * 1.4 and more >= 1:
                found.add((*key[:4], day))
    return found


def meter(row: Charge) -> tuple[object, ...]:
    """Tell what is measured."""
    return (
        row.account,
        row.currency,
        row.provider,
        row.service,
        row.description,
        row.unit,
        row.pricing,
        *row.meter,
    )


def comes_monthly(days: set[object]) -> bool:
    """Tell what comes once a month, on the same day."""
    months = {(day.year, day.month) for day in days}  # type: ignore[attr-defined]
    of_month = {day.day for day in days}  # type: ignore[attr-defined]
    return len(months) == len(days) and len(of_month) == 1 and (len(days) > 1 or of_month == {1})
