"""A large company's month fits on a small machine."""

import csv
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from netra_workflows.generator import Bill

ROWS = 1_000_000
TWO_GIGABYTES = 2 * 1024 * 1024  # in KiB, as Linux tells it
JUDGE = """
import resource, sys
from pathlib import Path
from netra_workflows import Bills, analyse
with Bills.opened(Path(sys.argv[2]), memory_mb=1024, threads=2) as bills:
    read = bills.ingest(Path(sys.argv[1]))
    analysis = analyse(bills)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, read.rows, read.refused, len(analysis.findings))
for total in read.totals:
    print(total.provider, total.billed)
"""


def judged(folder: Path, rows: int) -> tuple[int, int, Path, dict[str, Decimal]]:
    """Judge a generated bill in a process of its own; give its peak memory in KiB and what it says."""
    path = folder / "bill.csv"
    written = Bill(3, rows=rows).write(path).rows
    ran = subprocess.run(
        [sys.executable, "-c", JUDGE, path, folder / "bills.duckdb"],
        capture_output=True,
        text=True,
        check=True,
    )
    first, *totals = ran.stdout.splitlines()
    peak, kept, refused, findings = map(int, first.split())
    assert (kept, refused) == (written, 0)
    assert findings > 10
    return peak, kept, path, {line.rpartition(" ")[0]: Decimal(line.rpartition(" ")[2]) for line in totals}


def recounted(path: Path) -> dict[str, Decimal]:
    """Add up what was billed, by csv and Decimal."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    with path.open(encoding="utf-8", newline="") as text:
        rows = csv.reader(text)
        header = next(rows)
        provider, billed = header.index("ProviderName"), header.index("BilledCost")
        for row in rows:
            sums[row[provider]] += Decimal(row[billed])
    return dict(sums)


def test_a_bill_of_thousands_is_judged_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The path that a worker takes, with its bills in a file, on a small bill."""
    peak, _, path, totals = judged(tmp_path, 5000)

    assert totals == recounted(path)
    assert peak < TWO_GIGABYTES


@pytest.mark.soak
def test_a_million_rows_are_judged_within_two_gigabytes(tmp_path: Path) -> None:
    """A million rows are read, judged and added up to the last digit in 2 GiB of memory."""
    peak, kept, path, totals = judged(tmp_path, int(ROWS * 1.1))

    print(f"peak of {kept} rows: {peak} KiB")
    assert kept >= ROWS
    assert totals == recounted(path)
    assert peak < TWO_GIGABYTES
