"""A run as the report is told of it, phase by phase, by tests that need no real one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from netra_fixtures.report import Collector, RunReport

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
Finish = Callable[..., RunReport]


@pytest.fixture
def collector() -> Collector:
    return Collector(run_id="r1", started_at=STARTED, seed=7)


@pytest.fixture
def finish(collector: Collector) -> Finish:
    """End a run that pytest ended with 0."""

    def finish(**changed: Any) -> RunReport:
        return collector.finish(**{"ended_at": STARTED + timedelta(seconds=3), "exit_status": 0, **changed})

    return finish


def phase(
    nodeid: str, when: str = "call", outcome: str = "passed", longrepr: Any = None, **extra: Any
) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid, (nodeid, 1, nodeid), {}, outcome, longrepr, when, **{"duration": 0.5, **extra}  # type: ignore[arg-type]
    )  # fmt: skip
