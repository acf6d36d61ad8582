"""A large company's month fits on a small machine."""

import csv
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from netra_fixtures import StartProgram, within
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


class Judged(NamedTuple):
    """What a process told that judged a generated bill."""

    peak_kib: int
    rows: int
    totals: dict[str, Decimal]


def told(printed: str, written: int) -> Judged:
    """Read what the process printed, and hold that it read every row and found something."""
    first, *totals = printed.splitlines()
    peak, kept, refused, findings = map(int, first.split())
    assert (kept, refused) == (written, 0)
    assert findings > 10
    sums = {line.rpartition(" ")[0]: Decimal(line.rpartition(" ")[2]) for line in totals}
    return Judged(peak, kept, sums)


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


async def test_a_bill_of_thousands_is_judged_in_a_process_of_its_own(
    start_program: StartProgram, tmp_path: Path
) -> None:
    """The path that a worker takes, with its bills in a file, on a small bill."""
    path, judge = tmp_path / "bill.csv", tmp_path / "judge.py"
    written = Bill(3, rows=5000).write(path).rows
    judge.write_text(JUDGE, encoding="utf-8")

    process = await start_program(judge, str(path), str(tmp_path / "bills.duckdb"))
    async with within(seconds=50):
        judged = told((await process.communicate()).decode(), written)

    assert judged.totals == recounted(path)
    assert judged.peak_kib < TWO_GIGABYTES


@pytest.mark.soak
def test_a_million_rows_are_judged_within_two_gigabytes(tmp_path: Path) -> None:
    """A million rows are read, judged and added up to the last digit in 2 GiB of memory."""
    path = tmp_path / "bill.csv"
    written = Bill(3, rows=int(ROWS * 1.1)).write(path).rows

    command = [sys.executable, "-c", JUDGE, path, tmp_path / "bills.duckdb"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)

    judged = told(ran.stdout, written)
    print(f"peak of {judged.rows} rows: {judged.peak_kib} KiB")
    assert judged.rows >= ROWS
    assert judged.totals == recounted(path)
    assert judged.peak_kib < TWO_GIGABYTES
