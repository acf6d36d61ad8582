"""The runs before this one, and how it differs from them, as the report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from netra_fixtures.budgets import BudgetResult
from netra_fixtures.report.parts import Outcome, Part, Text, Verdict


class Flaky(Part):
    """A test that does not end the same way each time.

    `outcomes` are those of the runs it took part in, this one last; `reruns` counts how often this run tried it again.
    """

    nodeid: Text
    outcomes: tuple[Outcome, ...]
    reruns: int


class Pace(Part):
    """A test whose call took another time than usual, which is the median of the runs before that it passed."""

    nodeid: Text
    call_s: float
    usual_s: float


class Changes(Part):
    """How tests ended against the last run before that ran them, which ones are new, flaky, slower or faster.

    `since` is the last run before this one.
    """

    since: str
    now_failing: tuple[Text, ...]
    now_passing: tuple[Text, ...]
    added: tuple[Text, ...]
    flaky: tuple[Flaky, ...] = ()
    slower: tuple[Pace, ...] = ()
    faster: tuple[Pace, ...] = ()


class RunBefore(Part):
    """An earlier run, as the history keeps it.

    `alike` says whether half of the tests of both runs together, or more, ran in both: only then do durations and
    budgets compare. `domains_s` has the seconds that each domain's tests took.
    """

    id: Text
    started_at: datetime
    duration_s: float
    verdict: Verdict
    tests: int
    passed: int
    bad: int
    alike: bool
    domains_s: Mapping[Text, float]
    budgets: tuple[BudgetResult, ...]


class History(Part):
    """The runs before this one, from the oldest that is kept; `unread` says what could not be read."""

    runs: tuple[RunBefore, ...] = ()
    unread: tuple[Text, ...] = ()
