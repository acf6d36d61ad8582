"""How a run of pytest inside a test ended."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Outcome:
    """How a run of pytest ended."""

    result: pytest.RunResult
    folder: Path

    @property
    def text(self) -> str:
        return self.result.stdout.str() + self.result.stderr.str()

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "reports" / "latest" / "report.json").read_text())

    def test(self, name: str) -> dict[str, Any]:
        """Give the report of the one test with *name* in its id."""
        (found,) = (test for test in self.report["tests"] if name in test["nodeid"])
        return found


Run = Callable[..., Outcome]
