"""From a bill of a million rows to ranked findings, against a bare DuckDB group-by of the same rows."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from figures import Figure, Limit, LimitOn
from netra_workflows import Bills, analyse
from netra_workflows.generator import Bill
from turns import Subject, timed

FIVE = Limit(on=LimitOn.RATIO_AT_MOST, bound=5)
ROWS = 1_090_000  # asked for; a little more than a million come
ROWS_QUICK = 109_000
THREADS = os.cpu_count() or 1
BARE = (
    "select ProviderName, ServiceName, SubAccountId, ChargeCategory, BillingCurrency,"
    " sum(cast(BilledCost as decimal(38, 18))) from read_csv(?, all_varchar = true) group by all"
)
BARE_TABLE = (
    "select provider, service, account, category, currency, sum(billed)"
    " from charge join meter using (meter_id) group by all"
)


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure the way from a file to findings, and the analysis alone."""
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
