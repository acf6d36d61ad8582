"""What the page shows of tests: by module, under the promise it makes, with what the tests are worth."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from netra_fixtures.report.model import RunReport, Test
from netra_fixtures.report.parts import Outcome
from netra_fixtures.report.tables import BAD
from netra_fixtures.report.wording import OUTCOMES, amount
from netra_fixtures.value import BusinessValue, Tier


@dataclass(frozen=True)
class Module:
    """The tests of one file, under the promise it makes."""

    path: str
    promise: str | None
    worth: Sequence[BusinessValue]
    tests: Sequence[Test]

    @cached_property
    def ended(self) -> Mapping[Outcome, int]:
        """How many of its tests ended how."""
        return Tally(test.outcome for test in self.tests)

    @property
    def broken(self) -> bool:
        """Whether a test of it shows that the promise is not kept."""
        return any(outcome in BAD for outcome in self.ended)

    @property
    def counts(self) -> str:
        """Its tests by outcome: 3 passed, 1 failed."""
        if set(self.ended) == {Outcome.PASSED}:
            return f"{amount(len(self.tests), 'tests')} passed"
        return ", ".join(f"{number} {OUTCOMES[outcome]}" for outcome, number in self.ended.items())


def modules(report: RunReport, domain: str) -> list[Module]:
    """Group a domain's tests by their files, those with failures first."""
    tests = sorted((test for test in report.tests if test.domain == domain), key=lambda test: test.module)
    found = [_module(path, list(group)) for path, group in groupby(tests, key=lambda test: test.module)]
    return sorted(found, key=lambda module: not module.broken)


def _module(path: str, tests: Sequence[Test]) -> Module:
    return Module(
        path=path,
        promise=next((test.promise for test in tests if test.promise), None),
        worth=list(dict.fromkeys(test.value for test in tests if test.value)),
        tests=tests,
    )


def values(report: RunReport) -> dict[BusinessValue, int]:
    """Number what tests are worth, so that each test of the page can name it in a word."""
    known = dict.fromkeys(test.value for test in report.tests if test.value)
    return {value: number for number, value in enumerate(known)}


def tiers(value: BusinessValue) -> str:
    """Name the tiers that have what a test proves."""
    if value.tier is Tier.FREE:
        return "every tier"
    return "enterprise" if value.tier is Tier.ENTERPRISE else f"{value.tier.value} and up"
