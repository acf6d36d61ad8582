"""What a run changed against the runs before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

from netra_fixtures.report.history import Ended, Past
from netra_fixtures.report.model import Test
from netra_fixtures.report.parts import Outcome
from netra_fixtures.report.past import Changes, Flaky, History, Pace
from netra_fixtures.report.tables import BAD

FEWEST_PASSES: Final = 3  # two durations have no usual one
TIMES, AT_LEAST_S = 2.0, 0.25  # less than both is a busy machine
TURNS: Final = 2  # it broke, or was mended: one turn; it comes and goes: more
LOOK_BACK: Final = 10  # what came and went longer ago is mended


def changes(tests: Sequence[Test], past: Past) -> Changes | None:
    """Hold each test against the runs before that ran it; None where no run is kept."""
    if not past.runs:
        return None
    before = {test.nodeid: _before(test, past) for test in tests}
    again = [test for test in tests if before[test.nodeid]]
    bad = {test.nodeid for test in again if before[test.nodeid][-1].outcome in BAD}
    moved = [pace for test in again if (pace := _pace(test, before[test.nodeid]))]
    return Changes(
        since=past.runs[-1].run.id,
        now_failing=tuple(t.nodeid for t in again if t.outcome in BAD and t.nodeid not in bad),
        now_passing=tuple(t.nodeid for t in again if t.outcome is Outcome.PASSED and t.nodeid in bad),
        added=tuple(test.nodeid for test in tests if not before[test.nodeid]),
        flaky=tuple(flaky for test in tests if (flaky := _flaky(test, before[test.nodeid]))),
        slower=_by_difference(pace for pace in moved if pace.call_s > pace.usual_s),
        faster=_by_difference(pace for pace in moved if pace.call_s < pace.usual_s),
    )


def history(tests: Sequence[Test], past: Past) -> History:
    """Give the runs before, and say which of them compare with one that ran *tests*."""
    ran = {test.nodeid for test in tests}
    return History(
        runs=tuple(
            kept.run.model_copy(
                update={"alike": 2 * len(ran & kept.tests.keys()) >= len(ran | kept.tests.keys())}
            )
            for kept in past.runs
        ),
        unread=tuple(file.name for file in past.unread),
    )


def _before(test: Test, past: Past) -> list[Ended]:
    return [kept.tests[test.nodeid] for kept in past.runs if test.nodeid in kept.tests]


def _flaky(test: Test, before: Sequence[Ended]) -> Flaky | None:
    recent = before[-LOOK_BACK + 1 :]
    outcomes = (*(one.outcome for one in recent), test.outcome)
    decided = [outcome in BAD for outcome in outcomes if outcome in BAD or outcome is Outcome.PASSED]
    turns = sum(left is not right for left, right in pairwise(decided))
    again = any(one.reruns and one.outcome is Outcome.PASSED for one in recent)
    if turns < TURNS and not again and not (test.reruns and test.outcome is Outcome.PASSED):
        return None
    return Flaky(nodeid=test.nodeid, outcomes=outcomes, reruns=test.reruns)


def _pace(test: Test, before: Sequence[Ended]) -> Pace | None:
    passes = [one.call_s for one in before if one.outcome is Outcome.PASSED]
    if test.outcome is not Outcome.PASSED or len(passes) < FEWEST_PASSES:
        return None
    slow, fast = max(test.call_s, usual := median(passes)), min(test.call_s, usual)
    if slow - fast < AT_LEAST_S or slow < TIMES * fast:
        return None
    return Pace(nodeid=test.nodeid, call_s=test.call_s, usual_s=usual)


def _by_difference(paces: Iterable[Pace]) -> tuple[Pace, ...]:
    return tuple(sorted(paces, key=lambda pace: -abs(pace.call_s - pace.usual_s)))
