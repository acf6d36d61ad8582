"""What a run says about itself: `RunReport` and its parts, frozen and written as JSON.

The schema is published as `netra_fixtures/report.schema.json`. A field may be added to it; removing or
changing one raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from pydantic import JsonValue

from netra_fixtures.budgets import BudgetResult
from netra_fixtures.report.left import Snapshot
from netra_fixtures.report.parts import Outcome, Part, Text, Verdict
from netra_fixtures.report.past import Changes, History
from netra_fixtures.value import BusinessValue, Goal, Tier

SCHEMA_VERSION: Final = 1
SCHEMA_FILE = Path(__file__).parent.parent / "report.schema.json"


class Service(Part):
    """A server that ran; `start_s` is the longest that one of its workers waited for it."""

    name: str
    server: Text
    version: Text
    backend: str
    start_s: float
    reason: Text
    workers: tuple[str, ...]


class DataFile(Part):
    """A third-party file that tests read, relative to NETRA_TEST_DATA, and the cases they took from it."""

    file: Text
    sha256: str
    cases: int


class Counter(Part):
    """What one worker counted on a link to a server, beside what the server itself counted.

    `difference` is counted minus the server's, for what both know; `note` says why, for the names in `explained`.
    """

    link: str
    worker: str
    counted: Mapping[str, int]
    server: Mapping[str, int]
    difference: Mapping[str, int]
    note: Text
    explained: tuple[Text, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing that both sides know differs, and there is something both know."""
        return bool(self.difference) and not any(self.difference.values())


class Shard(Part):
    """Which part of a run this is; `tests` counts those of all parts."""

    number: int
    of: int
    tests: int


class Run(Part):
    """When, where and on what the run took place.

    `exit_status` is pytest's own; budgets were judged with their limits times `time_factor`. `cut_short` says what died
    where that ended the run. `shard` is None for a whole run, and for shards that were merged.
    """

    id: str
    started_at: datetime
    duration_s: float
    python: str
    workers: int
    seed: int | str | None
    time_factor: float
    exit_status: int
    verdict: Verdict
    services: tuple[Service, ...]
    data: tuple[DataFile, ...]
    counters: tuple[Counter, ...]
    cut_short: Text | None = None
    shard: Shard | None = None


class Totals(Part):
    """Tests by outcome; `errors` also holds the modules that could not be collected.

    Each test counts once. Where pytest's last line says "1 passed, 1 error" of a test whose teardown
    failed, this says one error; where it counts a failed subtest beside its test, this says one failure.
    A test whose worker crashed is neither `integration` nor `unit`: nobody was left to tell.
    """

    collected: int
    passed: int
    failed: int
    errors: int
    skipped: int
    xfailed: int
    xpassed: int
    not_run: int
    integration: int
    unit: int


class Domain(Part):
    """One domain's tests; `version` is that of its installed distribution, if it is one."""

    name: str
    version: str | None
    passed: int
    failed: int
    errors: int
    skipped: int
    xfailed: int
    duration_s: float


class Section(Part):
    """Text under a heading."""

    title: Text
    text: Text


class Failure(Part):
    """Why a phase of a test failed; `text` is the traceback, shortened in the middle where it is long."""

    when: str
    message: Text
    text: Text


class PostgresEvidence(Part):
    """What passed over the wire to PostgreSQL."""

    statements: int = 0
    transactions: int = 0
    rows_written: int = 0


class RedisEvidence(Part):
    """What passed over the wire to Redis."""

    commands: int = 0


class WebSocketEvidence(Part):
    """What passed over WebSockets; `frames` are those with data, and `refused` counts upgrades."""

    frames: int = 0
    control_frames: int = 0
    connections: int = 0
    refused: int = 0


class Evidence(Part):
    """What passed over the wire during one test; all zero for a unit test."""

    postgres: PostgresEvidence = PostgresEvidence()
    redis: RedisEvidence = RedisEvidence()
    websocket: WebSocketEvidence = WebSocketEvidence()


class Test(Part):
    """One test: what it proves, how it ended, for whom it matters, and what it did.

    `started_s` counts from the start of the run. `integration` is None where the worker crashed. `figures` is what
    the test told by `measured.figure`, or by pytest's own `record_property`.
    """

    __test__ = False  # not a test class, though its name says so

    nodeid: Text
    domain: str
    outcome: Outcome
    integration: bool | None
    worker: str
    started_s: float
    setup_s: float
    call_s: float
    teardown_s: float
    reruns: int
    doc: Text | None
    promise: Text | None
    reason: Text | None
    value: BusinessValue | None
    evidence: Evidence
    budgets: tuple[BudgetResult, ...]
    failures: tuple[Failure, ...]
    output: tuple[Section, ...]
    snapshot: Snapshot | None
    figures: Mapping[Text, Text] = {}

    @property
    def module(self) -> str:
        """The file the test stands in."""
        return self.nodeid.partition("::")[0]

    @property
    def duration_s(self) -> float:
        """All its phases together."""
        return self.setup_s + self.call_s + self.teardown_s


class Uncollected(Part):
    """A module that was skipped, or could not be collected."""

    nodeid: Text
    domain: str
    outcome: Literal[Outcome.ERROR, Outcome.SKIPPED]
    message: Text
    text: Text


class DeliveredOutcome(Part):
    """An amount that a passed test established from the rows that prove it."""

    name: Text
    amount: Decimal
    unit: Text
    nodeid: Text


class Value(Part):
    """What the tests that passed are worth.

    `by_tier` is cumulative: a test of a feature that the free tier has counts for all four.
    A test with two goals counts for both.
    """

    by_tier: Mapping[Tier, int]
    by_goal: Mapping[Goal, int]
    outcomes: tuple[DeliveredOutcome, ...]


class Distribution(BudgetResult):
    """One budget over all tests; `samples` is what `netra_fixtures.budgets.Samples.from_json` reads."""

    samples: Mapping[str, JsonValue]


class RunReport(Part):
    """Everything that one run shows."""

    schema_version: Literal[1]
    run: Run
    totals: Totals
    domains: tuple[Domain, ...]
    tests: tuple[Test, ...]
    uncollected: tuple[Uncollected, ...]
    value: Value
    budgets: tuple[Distribution, ...]
    changes: Changes | None
    history: History = History()


def schema_text() -> str:
    """Write the JSON schema of `RunReport` the way it is published."""
    return json.dumps(RunReport.model_json_schema(), indent=2) + "\n"
