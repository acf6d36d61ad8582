"""Measure contenders in turns, so that whatever slows the machine slows them all."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from figures import Figure, Limit, Reference

FEWEST = 3

Contender = Callable[[], float]  # does its work once, and returns what that measured


def nothing() -> None:
    """Prepare nothing."""


def timed(work: Callable[[], object], *, before: Callable[[], object] = nothing) -> Contender:
    """Measure *work* in milliseconds, after *before*, which isn't measured."""

    def once() -> float:
        before()
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1000

    return once


@dataclass(frozen=True)
class Subject:
    """Makes the figures of one subject from what turns measured."""

    name: str
    quick: bool

    def in_turns(
        self, *contenders: Contender, turns: int, seconds: float, warmup: int = 1
    ) -> list[list[float]]:
        """Let each work once a turn, A B A B, and return what each measured.

        Args:
            turns: how many; a fifth of them where a quick look is enough.
            seconds: what the turns may take together: a slow machine takes fewer, yet at least three.
            warmup: how many turns come first and don't count.
        """
        taken: list[list[float]] = [[] for _ in contenders]
        limit = time.monotonic() + seconds
        wanted = max(FEWEST, turns // 5) if self.quick else turns
        for turn in range(warmup + wanted):
            if turn >= warmup + FEWEST and time.monotonic() > limit:
                break
            for one, measured in zip(contenders, taken, strict=True):
                value = one()
                if turn >= warmup:
                    measured.append(value)
        return taken

    def figure(
        self,
        name: str,
        ours: Sequence[float],
        references: Iterable[tuple[str, Sequence[float]]],
        *,
        limit: Limit | None = None,
        unit: str = "ms",
    ) -> Figure:
        """Compare the median of *ours* with those of the references, each a name and what it measured."""
        own = median(ours)
        return Figure(
            subject=self.name, name=name, unit=unit, median=own, turns=len(ours), limit=limit,
            references=tuple(
                Reference(name=other, median=median(measured), ratio=own / median(measured))
                for other, measured in references
            ),
        )  # fmt: skip

    def added(
        self,
        name: str,
        ours: Sequence[float],
        bare: tuple[str, Sequence[float]],
        *,
        limit: Limit | None = None,
    ) -> Figure:
        """Tell what *ours* takes longer than the *bare* way, in the median of all turns."""
        more = [own - other for own, other in zip(ours, bare[1], strict=True)]
        return self.figure(name, more, [bare], limit=limit)
