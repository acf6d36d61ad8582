"""Who wants to see the platform at work types one command, and sees it work."""

import subprocess
import sys
from pathlib import Path

import pytest

from netra_fixtures import StartProgram, within

DEMO = Path(__file__).parents[3] / ".ci" / "demo.py"


def shown(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the demo to its end, and return how it ended and what it printed."""
    command = [sys.executable, str(DEMO), "--report", str(folder), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    return ran.returncode, ran.stdout


@pytest.mark.timeout(180)  # busy machines start a worker in tens of seconds
async def test_the_demo_goes_from_bills_to_savings(start_program: StartProgram, tmp_path: Path) -> None:
    """Every agent is seen at work, and what is printed at the end stands in the report."""
    demo = await start_program(DEMO, "--report", str(tmp_path), "--seed", "7", "--rows", "300")
    async with within(seconds=100):
        printed = (await demo.communicate()).decode()

    assert demo.returncode == 0
    assert "generated with seed 7; no real one" in printed
    lines = printed.splitlines()
    assert [line[:7] for line in lines if "agent_started" in line or "agent_completed" in line] == [
        "[     ]",
        "[#####]",
    ]
    [told] = [line for line in lines if "a month could be saved" in line]
    amount = told.split()[0]
    assert f"{float(amount):,.2f} USD a month" in (tmp_path / "savings.md").read_text(encoding="utf-8")
    page = tmp_path / "savings.html"
    assert lines[-1].startswith(f"The report: {page},")
    assert f"<strong>{float(amount):,.2f} USD</strong> a month" in page.read_text(encoding="utf-8")
    assert (tmp_path / "findings.csv").read_text(encoding="utf-8").startswith("rule,")


@pytest.mark.soak  # a whole platform for one sentence
def test_the_demo_says_what_is_wrong_with_a_bill_of_ones_own(tmp_path: Path) -> None:
    """A file that is no bill ends it with a sentence, and leaves no report."""
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")

    code, printed = shown(tmp_path / "report", "--bills", str(path))

    assert code == 1
    assert "mine.csv can't be read: its columns are those of no known bill" in printed
    assert not (tmp_path / "report").exists()
