"""The report's tables say what its tests showed, and nothing beyond."""

import pytest

from netra_fixtures import Goal, Tier
from netra_fixtures.budgets import Samples
from netra_fixtures.report import Collector, domain_of

from .reported import STARTED, Finish, phase


def test_value_counts_tests_that_passed_for_their_tier_and_every_higher_one(
    collector: Collector, finish: Finish
) -> None:
    """What the free tier has, the enterprise has too; what failed or was skipped, nobody has."""
    for name, outcome, tier, goals in [
        ("free", "passed", "free", ["user retention", "platform stability"]),
        ("mid", "passed", "mid", ["user retention"]),
        ("failed", "failed", "free", ["revenue generation"]),
        ("skipped", "skipped", "free", ["revenue generation"]),
    ]:
        value = {"tier": tier, "goals": goals, "impact": "nobody is signed out"}
        collector.add(phase(name, outcome=outcome, longrepr=("a.py", 1, "why"), netra={"value": value}))

    counted = finish().value
    assert counted.by_tier == {Tier.FREE: 1, Tier.EARLY: 1, Tier.MID: 2, Tier.ENTERPRISE: 2}
    assert counted.by_goal == {
        Goal.RETENTION: 2, Goal.STABILITY: 1, Goal.SECURITY: 0, Goal.REVENUE: 0, Goal.EFFICIENCY: 0
    }  # fmt: skip


def test_only_a_passed_test_establishes_outcomes(collector: Collector, finish: Finish) -> None:
    """Savings that a failed test claims were not found."""
    for name, outcome in [("good", "passed"), ("bad", "failed")]:
        netra = {"outcomes": [{"name": "savings found", "amount": "12.30", "unit": "USD"}]}
        collector.add(phase(name, outcome=outcome, longrepr="why", netra=netra))

    (established,) = finish().value.outcomes
    assert (established.nodeid, str(established.amount), established.unit) == ("good", "12.30", "USD")


def test_budgets_are_judged_over_all_tests_together() -> None:
    """Ninety-five of a hundred operations count, wherever they ran; the time factor stretches the limit."""
    fast, slow = Samples(), Samples()
    for _ in range(90):
        fast.record(2)
    for _ in range(10):
        slow.record(15)

    judged = {}
    for factor in (1.0, 2.0):
        collector = Collector(run_id="r", started_at=STARTED, seed=None, time_factor=factor)
        collector.add(phase("a", netra={"budgets": {"redis operation": fast.to_json()}}))
        collector.add(phase("b", netra={"budgets": {"redis operation": slow.to_json()}}))
        report = collector.finish(ended_at=STARTED, exit_status=0)
        judged[factor] = [(one.count, one.max_ms, one.held) for one in report.budgets]
        assert [[one.held for one in test.budgets] for test in report.tests] == [[True], [factor == 2]]

    assert judged == {1.0: [(100, 15, False)], 2.0: [(100, 15, True)]}


def test_workers_that_shared_a_server_name_it_once(collector: Collector, finish: Finish) -> None:
    """Two workers on one PostgreSQL are one service, up when the one that started it had it."""
    shared = {"name": "postgres", "server": "PostgreSQL", "version": "18.6", "backend": "embedded"}
    collector.add_worker({"worker": "gw0", "services": [shared | {"start_s": 0.01, "reason": ""}]})
    collector.add_worker({"worker": "gw1", "services": [shared | {"start_s": 0.21, "reason": "no engine"}]})

    (service,) = finish().run.services
    assert (service.start_s, service.reason, service.workers) == (0.21, "no engine", ("gw0", "gw1"))


def test_a_difference_to_the_server_s_own_counters_is_kept(collector: Collector, finish: Finish) -> None:
    """Evidence that does not add up is shown, worker by worker; what the server can't tell is not compared."""
    collector.add_worker(
        {
            "worker": "gw0",
            "counters": [
                {
                    "link": "postgres",
                    "counted": {"transactions": 12, "rows_written": 5, "statements": 30},
                    "server": {"transactions": 10, "rows_written": 5, "statements": None},
                }
            ],
        }
    )

    (counter,) = finish().run.counters
    assert counter.difference == {"transactions": 2, "rows_written": 0}
    assert not counter.agrees


def test_counters_that_were_compared_with_nothing_do_not_agree(collector: Collector, finish: Finish) -> None:
    """Silence of the server is no confirmation."""
    counters = [{"link": "redis", "counted": {"commands": 4}, "server": {}}]
    collector.add_worker({"worker": "gw0", "counters": counters})

    assert not finish().run.counters[0].agrees


def test_cases_that_workers_took_from_one_file_add_up(collector: Collector, finish: Finish) -> None:
    """A file that changed between two reads shows as two."""
    for worker, sha256, cases in [("gw0", "aa", 3), ("gw1", "aa", 4), ("gw1", "bb", 1)]:
        data = [{"file": "focus/bill.csv", "sha256": sha256, "cases": cases}]
        collector.add_worker({"worker": worker, "data": data})

    assert [(one.sha256, one.cases) for one in finish().run.data] == [("aa", 7), ("bb", 1)]


@pytest.mark.parametrize(
    ("nodeid", "domain"),
    [
        ("packages/auth/tests/test_tokens.py::test_a[packages/x/y]", "auth"),
        ("shared/tests/test_report.py::test_a", "shared"),
        ("tests/test_a.py::test_a", "tests"),
        ("test_a.py::test_a", "test_a"),
        ("packages/test_a.py", "packages"),
    ],
)
def test_the_domain_of_a_test_is_the_package_it_stands_in(nodeid: str, domain: str) -> None:
    """A crashed worker can't say where its test belongs; its path can."""
    assert domain_of(nodeid) == domain


def test_domains_are_summed_up_with_the_versions_installed(collector: Collector, finish: Finish) -> None:
    """A domain that is no installed package has no version, rather than a made-up one."""
    collector.add(phase("packages/nowhere/tests/test_a.py::test_a"))
    collector.add(phase("packages/nowhere/tests/test_a.py::test_b", outcome="failed", longrepr="why"))
    collector.add(phase("shared/tests/test_a.py::test_a", outcome="skipped", longrepr=("a", 1, "why")))

    first, second = finish().domains
    assert (first.name, first.version, first.passed, first.failed) == ("nowhere", None, 1, 1)
    assert (second.name, second.skipped, second.duration_s) == ("shared", 1, 0.5)
