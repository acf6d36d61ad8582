"""The first thing that somebody tries works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from netra_workflows.generator import Bill

README = Path(__file__).parents[1] / "README.md"


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Documentation that does not run costs every reader an hour."""
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)

    exec(compile(example, README, "exec"), {"__name__": "__main__"})

    first, best, step = capsys.readouterr().out.splitlines()
    assert first == "focus 0 ['AWS', 'Google Cloud', 'Microsoft']"
    assert best.endswith(" True")
    assert step.startswith("this week - ")


def test_the_generator_says_that_it_generates(tmp_path: Path) -> None:
    """Nobody takes a made-up bill for a real one, and another seed is another bill."""
    path = tmp_path / "bill.csv"
    ran = subprocess.run(
        [sys.executable, "-m", "netra_workflows.generator", "--seed", "7", "--rows", "300", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    bills = [path.read_text(encoding="utf-8")]
    for seed in (7, 8):
        Bill(seed, rows=300).write(path)
        bills.append(path.read_text(encoding="utf-8"))

    assert "generated with seed 7, no real bill" in ran.stdout
    assert bills[0] == bills[1]
    one, other = (re.findall(r"^[-\d.]+", bill, re.MULTILINE) for bill in bills[1:])
    shared = {cost for cost in one if float(cost)} & {cost for cost in other if float(cost)}
    assert len(shared) < len(one) / 50
    assert all("generated with seed" in line for line in bills[0].splitlines()[1:])
