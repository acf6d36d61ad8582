"""The report's tables, computed from its tests and from nothing else."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath

from netra_fixtures.budgets import Samples, judge_all
from netra_fixtures.report.model import (
    DeliveredOutcome,
    Distribution,
    Domain,
    Test,
    Totals,
    Uncollected,
    Value,
)
from netra_fixtures.report.parts import Outcome, Verdict
from netra_fixtures.value import Goal, Tier

BAD = frozenset({Outcome.FAILED, Outcome.ERROR})


def domain_of(nodeid: str) -> str:
    """Name the domain of a test by its place: packages/<domain>/…, otherwise the first part of its path."""
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    if parts[0] == "packages" and len(parts) > 2:
        return parts[1]
    return parts[0].removesuffix(".py")


@cache
def version_of(domain: str) -> str | None:
    """Find the version of the domain's installed distribution; None where it has none."""
    try:
        return metadata.version("netra-fixtures" if domain == "shared" else f"netra-{domain}")
    except metadata.PackageNotFoundError:
        return None


def totals(tests: Sequence[Test], uncollected: Sequence[Uncollected], collected: int) -> Totals:
    """Count tests by outcome; *collected* is the number that pytest selected to run."""
    ended = Tally(test.outcome for test in tests)
    missed = Tally(module.outcome for module in uncollected)
    return Totals(
        collected=max(collected, len(tests)),
        passed=ended[Outcome.PASSED],
        failed=ended[Outcome.FAILED],
        errors=ended[Outcome.ERROR] + missed[Outcome.ERROR],
        skipped=ended[Outcome.SKIPPED] + missed[Outcome.SKIPPED],
        xfailed=ended[Outcome.XFAILED],
        xpassed=ended[Outcome.XPASSED],
        not_run=max(collected - len(tests), 0),
        integration=sum(test.integration is True for test in tests),
        unit=sum(test.integration is False for test in tests),
    )


def verdict(counted: Totals, exit_status: int, *, proved: bool) -> Verdict:
    """Judge the run: any failure, then anything left out, then whether anything was proved at all.

    Args:
        proved: an integration test passed, or there was none to pass.
    """
    if counted.failed or counted.errors or exit_status not in (0, 2, 5):
        return Verdict.FAILED
    if exit_status == 2 or counted.not_run:
        return Verdict.INCOMPLETE
    return Verdict.PASSED if counted.passed and proved else Verdict.NOTHING


def domains(tests: Sequence[Test], uncollected: Sequence[Uncollected]) -> tuple[Domain, ...]:
    """Sum up each domain, by name."""
    names = sorted({*(test.domain for test in tests), *(module.domain for module in uncollected)})
    return tuple(
        _domain(
            name,
            [test for test in tests if test.domain == name],
            [module for module in uncollected if module.domain == name],
        )
        for name in names
    )


def _domain(name: str, tests: Sequence[Test], uncollected: Sequence[Uncollected]) -> Domain:
    ended = Tally([*(test.outcome for test in tests), *(module.outcome for module in uncollected)])
    return Domain(
        name=name,
        version=version_of(name),
        passed=ended[Outcome.PASSED],
        failed=ended[Outcome.FAILED],
        errors=ended[Outcome.ERROR],
        skipped=ended[Outcome.SKIPPED],
        xfailed=ended[Outcome.XFAILED],
        duration_s=sum(test.duration_s for test in tests),
    )


def value(tests: Iterable[Test], delivered: Iterable[DeliveredOutcome]) -> Value:
    """Count what the tests that ran and passed are worth."""
    worth = [test.value for test in tests if test.outcome is Outcome.PASSED and test.value]
    return Value(
        by_tier={tier: sum(one.tier <= tier for one in worth) for tier in Tier},
        by_goal={goal: sum(goal in one.goals for one in worth) for goal in Goal},
        outcomes=tuple(delivered),
    )


def budgets(measured: Iterable[Mapping[str, Samples]], time_factor: float) -> tuple[Distribution, ...]:
    """Merge the samples of all tests and hold them against their budgets."""
    merged: dict[str, Samples] = {}
    for samples in measured:
        for name, some in samples.items():
            merged.setdefault(name, Samples()).merge(some)
    return tuple(
        Distribution(**dict(result), samples=merged[result.name].to_json())
        for result in judge_all(merged, time_factor)
    )
