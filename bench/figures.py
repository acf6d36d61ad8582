"""What the bench writes: each figure's median beside its references, and whether the limit held."""

import os
import platform
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, computed_field


class LimitOn(StrEnum):
    """What a limit is set on."""

    MEDIAN = "median at most"
    RATIO_AT_MOST = "ratio at most"
    RATIO_AT_LEAST = "ratio at least"


class Limit(BaseModel):
    """A bound on a figure's median, or on its ratio to the first reference."""

    model_config = ConfigDict(frozen=True)

    on: LimitOn
    bound: float

    def shown(self, unit: str) -> str:
        """Write it the way the table does."""
        if self.on is LimitOn.MEDIAN:
            return f"≤ {number(self.bound)} {unit}"
        return f"{'≤' if self.on is LimitOn.RATIO_AT_MOST else '≥'} {self.bound:g} x"


class Reference(BaseModel):
    """What the same is without us; *ratio* is our median divided by this one."""

    model_config = ConfigDict(frozen=True)

    name: str
    median: float
    ratio: float


class Figure(BaseModel):
    """One measured cost or rate; the first reference is the one that a limit on the ratio means."""

    model_config = ConfigDict(frozen=True)

    subject: str
    name: str
    unit: str
    median: float
    turns: int
    references: tuple[Reference, ...]
    limit: Limit | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def held(self) -> bool | None:
        """Whether the limit held; None where there is none."""
        if self.limit is None:
            return None
        if self.limit.on is LimitOn.MEDIAN:
            return self.median <= self.limit.bound
        ratio = self.references[0].ratio
        if self.limit.on is LimitOn.RATIO_AT_MOST:
            return ratio <= self.limit.bound
        return ratio >= self.limit.bound


class Unmeasured(BaseModel):
    """A subject that gave no figure, or not all of them."""

    model_config = ConfigDict(frozen=True)

    subject: str
    reason: str


class Machine(BaseModel):
    """Where the figures were measured: times hold there only, ratios elsewhere too."""

    model_config = ConfigDict(frozen=True)

    system: str
    processor: str
    cpus: int
    python: str
    load: float

    @classmethod
    def here(cls) -> "Machine":
        """Describe this machine and how busy it is."""
        return cls(
            system=f"{platform.system()} {platform.release()}",
            processor=_processor(),
            cpus=os.cpu_count() or 1,
            python=f"{platform.python_implementation()} {platform.python_version()}",
            load=round(os.getloadavg()[0], 2),
        )


class Report(BaseModel):
    """The content of reports/bench.json."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    machine: Machine
    quick: bool
    duration_s: float
    figures: tuple[Figure, ...]
    unmeasured: tuple[Unmeasured, ...]

    def table(self) -> str:
        """Write it for a terminal: a line a reference, our side on the first line of each figure."""
        machine = self.machine
        head = (
            f"{machine.processor}, {machine.cpus} CPUs, load {machine.load:g} at the start,"
            f" {machine.system}, {machine.python}"
        )
        titles = ("figure", "ours", "limit", "", "reference", "median", "ratio")
        rows = [titles, *(row for figure in self.figures for row in _rows(figure))]
        return "\n".join([head, "", *_aligned(rows), "", *self._verdicts()])

    def _verdicts(self) -> Iterator[str]:
        judged = [figure for figure in self.figures if figure.held is not None]
        missed = [figure for figure in judged if not figure.held]
        yield f"{len(judged) - len(missed)} of {len(judged)} limits held, in {self.duration_s:.0f} s"
        for figure in missed:
            yield f"missed: {figure.name} ({figure.limit.shown(figure.unit) if figure.limit else ''})"
        for gap in self.unmeasured:
            yield f"not measured: {gap.subject}: {gap.reason}"


def _rows(figure: Figure) -> Iterator[Sequence[str]]:
    unit, limit = figure.unit, figure.limit
    ours: Sequence[str] = (
        figure.name,
        f"{number(figure.median)} {unit}",
        limit.shown(unit) if limit else "",
        {True: "held", False: "missed", None: ""}[figure.held],
    )
    for reference in figure.references:
        median = f"{number(reference.median)} {unit}"
        yield (*ours, reference.name, median, f"{number(reference.ratio)} x")
        ours = ("", "", "", "")


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Set columns: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if column in (1, 5, 6) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def number(value: float) -> str:
    """Write three significant digits."""
    if value and abs(value) < 100:
        digits = max(0, 2 - _magnitude(value))
        return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def _magnitude(value: float) -> int:
    return int(f"{value:e}".rpartition("e")[2])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
