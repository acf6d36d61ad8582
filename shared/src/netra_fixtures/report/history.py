"""The last runs, kept beside the report as one small file each, so that a run can say what has changed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pydantic import ValidationError

from netra_fixtures.report.folder import begun
from netra_fixtures.report.model import RunReport
from netra_fixtures.report.parts import Outcome, Part
from netra_fixtures.report.past import RunBefore

MOST_RUNS: Final = 20
SCHEMA_VERSION: Final = 1
_NAME = re.compile(r"\d{8}T\d{12}Z-.+\.json")
_UNUSUAL = re.compile(r"[^\w.-]")


class Ended(NamedTuple):
    """How a test ended in an earlier run; `call_s` is without its setup and teardown."""

    outcome: Outcome
    call_s: float
    reruns: int


class Kept(Part):
    """What is kept of one run."""

    schema_version: Literal[1]
    run: RunBefore
    tests: Mapping[str, Ended]


@dataclass(frozen=True, slots=True)
class Past:
    """The runs that are kept, the oldest first, and the files that hold none that can be read."""

    runs: tuple[Kept, ...] = ()
    unread: tuple[Path, ...] = ()


def place(directory: Path) -> Path:
    """Say where the history of the reports in *directory* is kept: reports/latest.history for reports/latest."""
    directory = directory.absolute()
    return directory.with_name(f"{directory.name}.history")


def read(directory: Path) -> Past:
    """Read the runs before; what can't be read is named and passed over."""
    runs: list[Kept] = []
    unread: list[Path] = []
    for file in _files(place(directory)):
        try:
            runs.append(Kept.model_validate_json(file.read_bytes()))
        except FileNotFoundError:
            continue  # another run that ended meanwhile keeps newer ones
        except (OSError, ValidationError):
            unread.append(file)
    return Past(tuple(runs), tuple(unread))


def keep(report: RunReport, directory: Path) -> None:
    """Add *report* to the history of *directory*, and let go of runs beyond the last 20.

    A file appears whole or not at all, under a name that no other run has, so that runs may end at once and be killed.

    Raises:
        OSError: it can't be written there.
    """
    folder = place(directory)
    folder.mkdir(parents=True, exist_ok=True)
    began = f"{report.run.started_at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
    name = f"{began}-{_UNUSUAL.sub('_', report.run.id)}.json"
    beside = begun(directory, report.run.id)
    fresh = beside.with_name(f"{beside.name}.{secrets.token_hex(8)}.new")
    try:
        fresh.write_text(_kept(report).model_dump_json() + "\n", encoding="utf-8")
        fresh.replace(folder / name)
    finally:
        fresh.unlink(missing_ok=True)
    _let_go(folder)


def _kept(report: RunReport) -> Kept:
    totals = report.totals
    return Kept(
        schema_version=SCHEMA_VERSION,
        run=RunBefore(
            id=report.run.id,
            started_at=report.run.started_at,
            duration_s=report.run.duration_s,
            verdict=report.run.verdict,
            tests=len(report.tests),
            passed=totals.passed,
            bad=totals.failed + totals.errors,
            alike=True,
            domains_s={domain.name: domain.duration_s for domain in report.domains},
            budgets=tuple(report.budgets),
        ),
        tests={test.nodeid: Ended(test.outcome, round(test.call_s, 4), test.reruns) for test in report.tests},
    )


def _let_go(folder: Path) -> None:
    """Remove all but the last runs, and the widest where they ran less than half of its tests.

    Thirty runs of a single test would otherwise make all others look new.
    """
    sizes: dict[Path, int] = {}
    for file in _files(folder):
        with suppress(OSError):
            sizes[file] = file.stat().st_size
    older, last = list(sizes)[:-MOST_RUNS], list(sizes)[-MOST_RUNS:]
    widest = max(older, key=lambda file: sizes[file], default=None)
    for file in older:
        if file != widest or sizes[file] < 2 * max(sizes[one] for one in last):
            with suppress(OSError):
                file.unlink()


def _files(folder: Path) -> list[Path]:
    """Find the files of runs, the oldest first; whatever else lies there is somebody's own."""
    with suppress(OSError):
        return sorted(file for file in folder.iterdir() if _NAME.fullmatch(file.name))
    return []
