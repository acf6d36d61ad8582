"""Unusual days are found, and nobody is alarmed by what comes every month or every weekend."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from netra_fixtures import Measured
from netra_workflows import AnalysisPolicy, Bills, analyse
from netra_workflows.generator import Bill

from .conftest import WriteBill

NOTHING_TO_BUY = AnalysisPolicy(offers=())
FIRST = date(2026, 3, 1)
FLOOR = 0.9


def of_day(offset: int, cost: float | str, **change: str) -> Mapping[str, str]:
    """Make a day of usage."""
    day = FIRST + timedelta(days=offset)
    return {
        "ChargePeriodStart": f"{day}T00:00:00Z", "ChargePeriodEnd": f"{day + timedelta(days=1)}T00:00:00Z",
        "BillingPeriodStart": f"{day.replace(day=1)}T00:00:00Z", "BilledCost": str(cost), **change,
    }  # fmt: skip


def usual(days: int = 31) -> list[Mapping[str, str]]:
    """Make days that cost ten, give or take a little, and half of it at weekends."""
    costs = (
        (10 + offset % 5 / 10) / (2 if (FIRST + timedelta(days=offset)).isoweekday() > 5 else 1)
        for offset in range(days)
    )
    return [of_day(offset, cost) for offset, cost in enumerate(costs)]


def test_a_day_that_costs_twice_as_much_is_told(bills: Bills, write_bill: WriteBill) -> None:
    """Somebody who left a fleet running hears of it, with the day and what is usual."""
    bills.ingest(write_bill(*usual(), of_day(16, 10)))

    analysis = analyse(bills, NOTHING_TO_BUY)

    [anomaly] = analysis.anomalies
    assert (anomaly.day, anomaly.service) == (FIRST + timedelta(days=16), "Amazon Elastic Compute Cloud")
    assert anomaly.usual == Decimal("10.2")
    assert anomaly.score > 3.5
    [finding] = analysis.findings
    assert (finding.rule.id, finding.saving, finding.rows[0].records) == ("anomaly", Decimal(0), (17, 32))


def alarmed(bills: Bills, write_bill: WriteBill, accounts: Mapping[str, list[Mapping[str, str]]]) -> set[str]:
    """Judge a bill of accounts that have nothing to do with each other, and name those with an unusual day."""
    bills.ingest(write_bill(*(row | {"SubAccountId": name} for name, own in accounts.items() for row in own)))
    return {anomaly.account for anomaly in analyse(bills, NOTHING_TO_BUY).anomalies}


def test_a_day_is_unusual_from_two_fifths_more(bills: Bills, write_bill: WriteBill) -> None:
    """Below that, a busy day is a busy day."""
    # a day that costs 10.2, as is usual, and so much more
    accounts = {more: [*usual(), of_day(17, more)] for more in ("4.09", "4.07")}

    assert alarmed(bills, write_bill, accounts) == {"4.09"}


def test_what_is_usual_needs_days_to_be_known(bills: Bills, write_bill: WriteBill) -> None:
    """Of a service that began on Monday nobody can say on Thursday what it usually costs."""
    accounts = {
        f"{days} days": [of_day(2, 30), *(of_day(offset, 10) for offset in range(1, days + 1))]
        for days in (4, 5)
    }

    assert alarmed(bills, write_bill, accounts) == {"5 days"}


def test_what_comes_every_month_alarms_nobody(bills: Bills, write_bill: WriteBill) -> None:
    """Support, licences and taxes are fifty times a usual day, and no surprise."""
    own = {
        "on the first": [of_day(0, 500, ChargeDescription="support")],
        "each month on one day": [of_day(day, 500, ChargeDescription="licence") for day in (14, 45)],
        "not by use": [of_day(5, 500, ChargeFrequency=often) for often in ("Recurring", "One-Time")],
        "for a month": [of_day(5, 500) | {"ChargePeriodEnd": "2026-04-01T00:00:00Z"}],
        "no usage": [of_day(5, 500, ChargeCategory=category) for category in ("Purchase", "Tax")],
        "a correction": [
            of_day(5, 500, ChargeClass="Correction"), of_day(5, 500, ChargeCategory="Adjustment")
        ],
        "by use": [of_day(5, 500)],
    }  # fmt: skip
    accounts = {name: [*usual(61), *rows] for name, rows in own.items()}

    assert alarmed(bills, write_bill, accounts) == {"by use"}


def test_a_new_thing_that_runs_for_one_day_is_told(bills: Bills, write_bill: WriteBill) -> None:
    """A machine that nobody had before, in the middle of the month, is no monthly charge."""
    bills.ingest(write_bill(*usual(), of_day(16, 500, ChargeDescription="a machine with eight GPUs")))

    assert [anomaly.day.day for anomaly in analyse(bills, NOTHING_TO_BUY).anomalies] == [17]


def scored(folder: Path, seeds: range) -> tuple[float, float]:
    """Give precision and recall over generated bills."""
    hits = found = planted = 0
    for seed in seeds:
        path = folder / f"{seed}.csv"
        labels = {
            (a.provider, a.account, a.service, a.day) for a in Bill(seed, rows=4000).write(path).anomalies
        }
        with Bills.opened(threads=1) as bills:
            bills.ingest(path)
            told = {
                (a.provider, a.account, a.service, a.day) for a in analyse(bills, NOTHING_TO_BUY).anomalies
            }
        hits, found, planted = hits + len(told & labels), found + len(told), planted + len(labels)
    return hits / max(found, 1), hits / planted


def hold_floor(scores: tuple[float, float], measured: Measured) -> None:
    """Put precision and recall into the report, and hold them against the floor."""
    for name, score in zip(("precision", "recall"), scores, strict=True):
        measured.figure(name, f"{score:.3f} of {FLOOR} at least")
    assert min(scores) >= FLOOR


def test_planted_days_are_found_and_few_others(tmp_path: Path, measured: Measured) -> None:
    """Nine in ten of the days planted in generated bills are found, and as many of those found were planted."""
    hold_floor(scored(tmp_path, range(1, 4)), measured)


@pytest.mark.soak
def test_planted_days_are_found_in_forty_bills(tmp_path: Path, measured: Measured) -> None:
    """The floor holds over five hundred planted days too."""
    hold_floor(scored(tmp_path, range(100, 140)), measured)
