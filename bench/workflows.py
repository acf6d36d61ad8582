"""From a bill of a million rows to ranked findings, against a bare DuckDB group-by; and how long a user waits."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from figures import Figure, Limit, LimitOn
from netra_workflows import Bills, analyse
from netra_workflows.generator import Bill
from runs import ROOT, pytest, run
from turns import Subject, timed

FIVE = Limit(on=LimitOn.RATIO_AT_MOST, bound=5)
ROWS = 1_090_000  # asked for; a little more than a million come
ROWS_QUICK = 109_000
NAMED = "packages/workflows/tests/test_comprehensive_business_workflows.py"
THREADS = os.cpu_count() or 1
BARE = (
    "select ProviderName, ServiceName, SubAccountId, ChargeCategory, BillingCurrency,"
    " sum(cast(BilledCost as decimal(38, 18))) from read_csv(?, all_varchar = true) group by all"
)
BARE_TABLE = (
    "select provider, service, account, category, currency, sum(billed)"
    " from charge join meter using (meter_id) group by all"
)


def named_test() -> list[float]:
    """Run the first named test, and give its duration, a user's wait in it, and what of that no tool worked; in ms."""
    with tempfile.TemporaryDirectory() as folder:
        run(pytest("-k", "complete", NAMED, f"--report-dir={folder}/report"), ROOT)
        [test] = json.loads(Path(folder, "report", "report.json").read_text(encoding="utf-8"))["tests"]
    waits = [float(figure.removesuffix(" s")) for figure in test["figures"].values()]
    return [seconds * 1000 for seconds in (test["setup_s"] + test["call_s"] + test["teardown_s"], *waits)]


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure the way from a file to findings, the analysis alone, and the first named test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bill.csv")
        rows = Bill(1, rows=ROWS_QUICK if subject.quick else ROWS).write(path).rows

        def ours() -> None:
            with Bills.opened(threads=THREADS) as bills:
                bills.ingest(path)
                analyse(bills)

        def bare() -> None:
            with duckdb.connect(config={"threads": THREADS}) as connection:
                connection.execute(BARE, [str(path)]).fetchall()

        whole, plain = subject.in_turns(timed(ours), timed(bare), turns=5, seconds=40)
        yield subject.figure(
            f"{rows:,} rows of CSV to ranked findings",
            whole,
            [("a bare group-by of the file", plain)],
            limit=FIVE,
        )
        with Bills.opened(threads=THREADS) as bills:
            bills.ingest(path)
            alone, grouped = subject.in_turns(
                timed(lambda: analyse(bills)),
                timed(lambda: bills.connection.execute(BARE_TABLE).fetchall()),
                turns=5, seconds=15,
            )  # fmt: skip
        yield subject.figure(
            f"analysis of {rows:,} rows read before", alone, [("a bare group-by of the table", grouped)]
        )
    lasted, asked, idle = named_test()
    yield subject.figure(
        "the first named test",
        [lasted],
        [("of it from question to report", [asked]), ("of that no tool at work", [idle])],
    )
