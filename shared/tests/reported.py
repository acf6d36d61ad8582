"""A run as the report is told of it, phase by phase, by tests that need no real one."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from netra_fixtures.budgets import Samples
from netra_fixtures.report import Collector, RunReport

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)
Finish = Callable[..., RunReport]
Add = Callable[..., None]
NASTY = (
    "</title><script>alert(1)</script> <img src=x onerror=alert(1)> {{ 7*7 }} {% raw %} ' \" & | `x` ]]> -->"
)
LEFT = {
    "postgres": {
        "database": "netra_gw0", "more_tables": 2, "notes": ["1 transaction is still open"],
        "tables": [
            {"name": "auth.users", "written": 3, "seeds_lost": 0, "columns": ["id", "ann"],
             "rows": [["7", None], ["8", "ann"]]},
            {"name": "auth.roles", "written": 0, "seeds_lost": 1, "columns": ["name"], "rows": []},
            {"name": "auth.grants", "written": 0, "seeds_lost": 0, "columns": [], "rows": [],
             "note": "it is locked by ann"},
        ],
    },
    "redis": {
        "count": 9, "notes": [],
        "keys": [{"name": "netra-a:gw0:ann", "type": "hash", "ttl_s": 60, "size": 2, "value": "seat of ann: 2"}],
    },
    "notes": ["ann could not be read"], "kept": None, "command": "pytest --keep-failed ann",
}  # fmt: skip


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


@pytest.fixture
def add(collector: Collector) -> Add:
    """Report one test that ended."""

    def add(nodeid: str, outcome: str = "passed", longrepr: Any = "why", **netra: Any) -> None:
        report = pytest.TestReport(
            nodeid, (nodeid, 1, nodeid), {}, outcome, longrepr, "call", duration=0.25,  # type: ignore[arg-type]
            netra={"integration": True, "worker": "gw0", **netra},
        )  # fmt: skip
        collector.add(report)

    return add


@pytest.fixture
def full(collector: Collector, add: Add, finish: Finish) -> RunReport:
    """A run with something in every part of the report."""
    samples = Samples()
    for ms in (1, 2, 2, 3, 8):
        samples.record(ms)
    slow = Samples()
    slow.record(700)
    value = {"tier": "free", "goals": ["user retention"], "impact": "nobody is signed out"}
    evidence = {"postgres": {"transactions": 1, "rows_written": 4}, "redis": {"commands": 2}}
    add(
        "packages/auth/tests/test_a.py::test_reuse", doc="A token works once.", promise="Theft shows.",
        value=value, evidence=evidence, outcomes=[{"name": "savings", "amount": "1234.5", "unit": "USD"}],
        budgets={"database operation": slow.to_json(), "redis operation": samples.to_json()},
    )  # fmt: skip
    add(
        "packages/auth/tests/test_a.py::test_lost", "failed", "E  AssertionError: no row", doc="No row is lost.",
        snapshot=LEFT,
    )  # fmt: skip
    add("packages/tools/tests/test_b.py::test_data", "skipped", ("b.py", 3, "Skipped: no data"))
    collector.add_worker(
        {
            "worker": "gw0",
            "services": [
                {"name": name, "server": server, "version": "9.1", "backend": "embedded", "start_s": 0.2,
                 "reason": "no engine"} for name, server in [("postgres", "PostgreSQL"), ("redis", "Valkey")]
            ],
            "data": [{"file": "focus/bill.csv", "sha256": "ab" * 32, "cases": 12}],
            "counters": [
                {"link": "postgres", "counted": {"transactions": 9}, "server": {"transactions": 9}},
                {"link": "redis", "counted": {"commands": 5}, "server": {"commands": 4}, "note": "killed once"},
            ],
        }
    )  # fmt: skip
    return finish()


@pytest.fixture
def nasty(collector: Collector, add: Add, finish: Finish) -> RunReport:
    """A run whose every text tries to be markup."""
    value = {"tier": "mid", "goals": ["revenue generation"], "impact": NASTY}
    delivered = [{"name": NASTY, "amount": 1, "unit": NASTY}]
    add(f"packages/a/t.py::test_a[{NASTY}]", doc=NASTY, promise=NASTY, value=value, outcomes=delivered)
    add(
        f"packages/a/t.py::test_b[{NASTY}]",
        "failed",
        NASTY,
        domain=NASTY,
        snapshot=json.loads(json.dumps(LEFT).replace("ann", json.dumps(NASTY)[1:-1])),
    )
    add(f"{NASTY}::test_c", "skipped", ("a", 1, NASTY))
    service = {
        "name": NASTY,
        "server": NASTY,
        "version": NASTY,
        "backend": NASTY,
        "start_s": 1,
        "reason": NASTY,
    }
    counter = {"link": NASTY, "counted": {NASTY: 2}, "server": {NASTY: 1}, "note": NASTY}
    data = {"file": NASTY, "sha256": NASTY, "cases": 1}
    collector.add_worker({"worker": NASTY, "services": [service], "counters": [counter], "data": [data]})
    return finish()
