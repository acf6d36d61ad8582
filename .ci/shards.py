"""Turn --shard 2/5 into the options of pytest-split: a fair part of the tests, by what they took last time."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

LATEST = Path("reports", "latest", "report.json")
PHASES = ("setup_s", "call_s", "teardown_s")


def asked(arguments: Sequence[str]) -> tuple[tuple[int, int] | None, list[str]]:
    """Take --shard out of the arguments, as its number and how many there are; the rest is pytest's.

    Raises:
        ValueError: it can't be read; the sentence says what to write.
    """
    rest = list(arguments)
    at = next((place for place, one in enumerate(rest) if one.partition("=")[0] == "--shard"), None)
    if at is None:
        return None, rest
    _, equals, said = rest.pop(at).partition("=")
    if not equals:
        said = rest.pop(at) if at < len(rest) else ""
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", said)
    if not found or int(found[1]) > int(found[2]):
        raise ValueError(f"--shard: {said!r} is no part of a whole; give one such as 2/5")
    return (int(found[1]), int(found[2])), rest


def options(number: int, of: int, durations: Path) -> list[str]:
    """Give pytest's options for one part; its report goes to a folder of its own, to be merged."""
    return [
        *(f"--splits={of}", f"--group={number}", "--splitting-algorithm=least_duration"),
        *(f"--durations-path={durations}", f"--report-dir=reports/shard-{number}-of-{of}"),
    ]


def record(root: Path, durations: Path) -> None:
    """Write what pytest-split reads, from the last report; where there is none, all tests count alike.

    Args:
        durations: seconds by node id, as JSON.
    """
    try:
        tests = json.loads((root / LATEST).read_bytes())["tests"]
    except (OSError, ValueError, KeyError):
        tests = []
    took = {test["nodeid"]: round(sum(test[phase] for phase in PHASES), 3) for test in tests}
    durations.write_text(json.dumps(took))
