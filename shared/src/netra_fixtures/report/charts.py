"""Where the marks of the page's drawings stand; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netra_fixtures.budgets import Samples
from netra_fixtures.report.model import Distribution, Test
from netra_fixtures.report.wording import milliseconds

WIDTH, HEIGHT, BINS = 360, 56, 60
LABEL_WIDTH = 44
LANE_WIDTH = 1000


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle that stands on the axis."""

    x: float
    width: float
    height: float


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
            Bar(round(at * WIDTH / BINS, 1), WIDTH / BINS - 1, max(2, round(number / max(bins) * HEIGHT, 1)))
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
    """One worker's tests, in the order they ran."""

    worker: str
    busy_s: float
    slots: Sequence[Slot]


def lanes(tests: Iterable[Test], duration_s: float) -> list[Lane]:
    """Lay out who ran what and when, worker by worker."""
    by_worker: dict[str, list[Test]] = {}
    for test in sorted(tests, key=lambda test: test.started_s):
        by_worker.setdefault(test.worker, []).append(test)
    scale = LANE_WIDTH / max([duration_s, 1e-6, *(t.started_s + t.duration_s for t in tests)])
    return [
        Lane(
            worker=worker,
            busy_s=sum(test.duration_s for test in ran),
            slots=[
                Slot(round(t.started_s * scale, 2), max(round(t.duration_s * scale, 2), 0.8), t) for t in ran
            ],
        )
        for worker, ran in sorted(by_worker.items(), key=lambda pair: (len(pair[0]), pair[0]))
    ]
