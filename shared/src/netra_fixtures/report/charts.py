"""Where the marks of the page's drawings stand; the templates draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from netra_fixtures.budgets import Samples
from netra_fixtures.report.model import Distribution, RunReport, Test
from netra_fixtures.report.parts import Outcome, Verdict
from netra_fixtures.report.wording import milliseconds, seconds

WIDTH, HEIGHT, BINS = 480, 84, 80
LABEL_WIDTH = 56
LANE_WIDTH, LANE_HEIGHT = 1000, 20
TREND_WIDTH, TREND_HEIGHT = 100, 22
STRIP_HEIGHT = 40
ROUND_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle that stands on the axis; *late* where it lies beyond the limit."""

    x: float
    width: float
    height: float
    late: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled place on the axis; *anchor* keeps the label inside the drawing."""

    x: float
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis of milliseconds."""

    fast: float
    slow: float

    def place(self, ms: float) -> float:
        """Find where *ms* stands; what lies beyond an end stands at that end."""
        share = math.log(max(ms, self.fast) / self.fast) / math.log(self.slow / self.fast)
        return round(min(share, 1) * WIDTH, 1)

    def mark(self, ms: float, label: str | None = None) -> Mark:
        """Label a place."""
        x = self.place(ms)
        anchor = "start" if x < LABEL_WIDTH / 2 else "end" if x > WIDTH - LABEL_WIDTH / 2 else "middle"
        return Mark(x, label or milliseconds(ms), anchor)

    def decades(self) -> list[float]:
        """Powers of ten on the axis, every second or third where they would crowd."""
        first, last = math.ceil(math.log10(self.fast)), math.floor(math.log10(self.slow))
        step = max(1, math.ceil((last - first + 1) * LABEL_WIDTH * 1.3 / WIDTH))
        return [10.0**power for power in range(first, last + 1, step)]


@dataclass(frozen=True, slots=True)
class Histogram:
    """A budget's samples on an axis that ends beyond its limit."""

    bars: Sequence[Bar]
    ticks: Sequence[Mark]
    p50: float
    p95: float
    limit: Mark


def histogram(budget: Distribution) -> Histogram:
    """Lay out samples in bars of equal ratio; even a single one stays visible."""
    intervals = list(Samples.from_json(budget.samples).intervals())
    tops = [high for _, high, _ in intervals]
    slow = max(budget.limit_ms * 1.6, *tops)
    axis = Axis(fast=min(slow / 10, *tops) * 0.8, slow=slow)
    bins = [0] * BINS
    for _, high, number in intervals:
        bins[min(int(axis.place(high) / WIDTH * BINS), BINS - 1)] += number
    limit = axis.mark(budget.limit_ms)
    ticks = [axis.mark(ms) for ms in axis.decades()]
    return Histogram(
        bars=[
            Bar(
                round(at * WIDTH / BINS, 1),
                WIDTH / BINS - 1,
                max(2, round(number / max(bins) * HEIGHT, 1)),
                late=at * WIDTH / BINS >= limit.x,
            )
            for at, number in enumerate(bins)
            if number
        ],
        ticks=[tick for tick in ticks if abs(tick.x - limit.x) > LABEL_WIDTH],
        p50=axis.place(budget.p50_ms or 0),
        p95=axis.place(budget.p95_ms or 0),
        limit=limit,
    )


@dataclass(frozen=True, slots=True)
class Slot:
    """One test on the time line."""

    x: float
    width: float
    test: Test


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker's tests, in the order they ran: *passed* as one drawing, the others one by one."""

    worker: str
    busy_s: float
    tests: int
    passed: str
    others: Sequence[Slot]


def span(report: RunReport) -> float:
    """Give how many seconds the time line covers; a test may end after its run did, where shards are merged."""
    return max([report.run.duration_s, 1e-6, *(test.started_s + test.duration_s for test in report.tests)])


def lanes(report: RunReport) -> list[Lane]:
    """Lay out who ran what and when, worker by worker."""
    by_worker: dict[str, list[Test]] = {}
    for test in sorted(report.tests, key=lambda test: test.started_s):
        by_worker.setdefault(test.worker, []).append(test)
    scale = LANE_WIDTH / span(report)
    return [
        _lane(worker, ran, scale)
        for worker, ran in sorted(by_worker.items(), key=lambda pair: (len(pair[0]), pair[0]))
    ]


def _lane(worker: str, ran: Sequence[Test], scale: float) -> Lane:
    slots = [Slot(round(t.started_s * scale, 1), max(round(t.duration_s * scale, 1), 0.6), t) for t in ran]
    passed = [slot for slot in slots if slot.test.outcome is Outcome.PASSED]
    gap = 0.3  # so that a test can be told from the next
    return Lane(
        worker=worker,
        busy_s=sum(test.duration_s for test in ran),
        tests=len(ran),
        passed="".join(
            f"M{slot.x:g} 0h{max(slot.width - gap, gap):.3g}v{LANE_HEIGHT}H{slot.x:g}z" for slot in passed
        ),
        others=[slot for slot in slots if slot.test.outcome is not Outcome.PASSED],
    )


def clock(span_s: float) -> list[Mark]:
    """Label a time line of *span_s* seconds at up to seven round times; its end has a label of its own."""
    step = next((step for step in ROUND_S if span_s / step <= 6), span_s / 6)
    ticks = [number * step for number in range(int(span_s / step) + 1)]
    return [
        Mark(round(at / span_s * 100, 2), seconds(at), "middle" if at else "start")
        for at in ticks
        if at / span_s < 0.9  # the label of the end stands there
    ]


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure over the last runs: a line, its last point, and where the limit stands."""

    points: str
    last: tuple[float, float]
    limit: float | None


def trend(figures: Sequence[float | None], limit: float | None = None) -> Trend | None:
    """Draw figures from the oldest to the newest; None where there are fewer than two."""
    known = [figure for figure in figures if figure is not None]
    if len(known) < 2:
        return None
    top = max(known) * 1.15 or 1
    step = (TREND_WIDTH - 4) / (len(known) - 1)
    places = [
        (round(2 + at * step, 1), round(TREND_HEIGHT - figure / top * (TREND_HEIGHT - 3), 1))
        for at, figure in enumerate(known)
    ]
    shown = limit is not None and limit <= top
    return Trend(
        points=" ".join(f"{x:g},{y:g}" for x, y in places),
        last=places[-1],
        limit=round(TREND_HEIGHT - (limit or 0) / top * (TREND_HEIGHT - 3), 1) if shown else None,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One run among the last ones: how long it took, and how it ended."""

    x: int
    height: float
    verdict: Verdict
    label: str


def steps(report: RunReport) -> list[Step]:
    """Lay out the last runs and this one, the oldest first."""
    run = report.run
    took = [(one.duration_s, one.verdict, one.id) for one in report.history.runs]
    took.append((run.duration_s, run.verdict, "this run"))
    longest = max(1e-6, *(one for one, _, _ in took))
    return [
        Step(
            x=at * 14,
            height=max(4, round(one / longest * STRIP_HEIGHT, 1)),
            verdict=ended,
            label=f"{name}: {ended.value}, {seconds(one)}",
        )
        for at, (one, ended, name) in enumerate(took)
    ]
