"""Measure what a test's operations took, and judge it against budgets.

Every operation is measured without being asked for; nothing here fails a test.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, JsonValue

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the 95th percentile of one kind of operation."""

    name: str
    limit_ms: float


DATABASE = Budget("database operation", 100)
REDIS = Budget("redis operation", 10)
EVENT = Budget("event delivery", 50)
TOOL = Budget("tool", 5_000)
BILL = Budget("workflow on the generated bill", 5_000)
WORKFLOW = Budget("workflow", 300_000)
BUDGETS: Mapping[str, Budget] = {
    budget.name: budget for budget in (DATABASE, REDIS, EVENT, TOOL, BILL, WORKFLOW)
}

BLOCKING = frozenset(
    ["BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "WAIT", "WAITAOF"]
)
BLOCKING_IF_ASKED = frozenset(["XREAD", "XREADGROUP"])
_RATIO = 1.02
_PER_LOG = 1 / math.log(_RATIO)
_FLOOR_MS = 1e-4


class Samples:
    """Durations, counted in buckets each 1.02 times as wide as the one below; the maximum is exact.

    Quantiles come out at least as large as the true ones and at most 2 % larger, so a budget that
    is said to hold did hold. Everything below 0.0001 ms counts as that.
    """

    __slots__ = ("_buckets", "count", "max_ms")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.max_ms = 0.0

    def record(self, ms: float) -> None:
        """Count one duration."""
        if not 0 <= ms < math.inf:
            raise ValueError(f"a duration is a finite number of milliseconds, 0 or more; got {ms!r}")
        bucket = math.ceil(math.log(ms / _FLOOR_MS) * _PER_LOG) if ms > _FLOOR_MS else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        if ms > self.max_ms:
            self.max_ms = ms

    def merge(self, other: Samples) -> None:
        """Count everything that *other* counted as well."""
        for bucket, number in list(other._buckets.items()):
            self._buckets[bucket] = self._buckets.get(bucket, 0) + number
        self.count += other.count
        self.max_ms = max(self.max_ms, other.max_ms)

    def quantile(self, q: float) -> float:
        """Give the duration, in ms, that a share *q* of the samples did not exceed (nearest rank)."""
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies between 0 and 1; got {q!r}")
        if not self.count:
            raise ValueError("no samples, so no quantile; look at count first")
        rank = max(1, math.ceil(q * self.count))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(_upper_ms(bucket), self.max_ms)
        return self.max_ms

    def intervals(self) -> Iterator[tuple[float, float, int]]:
        """Yield (above ms, up to ms, samples) of the buckets that hold any, from fast to slow."""
        for bucket in sorted(self._buckets):
            low = _upper_ms(bucket - 1) if bucket else 0.0
            yield low, _upper_ms(bucket), self._buckets[bucket]

    def to_json(self) -> dict[str, JsonValue]:
        """Give what `from_json` reads back."""
        buckets: list[JsonValue] = [[bucket, self._buckets[bucket]] for bucket in sorted(self._buckets)]
        return {"count": self.count, "max_ms": self.max_ms, "ratio": _RATIO, "buckets": buckets}

    @classmethod
    def from_json(cls, data: Mapping[str, JsonValue]) -> Samples:
        """Read what `to_json` gave.

        Raises:
            ValueError: the data was not written by `to_json`.
        """
        written = _Written.model_validate(data)
        if written.ratio != _RATIO or sum(number for _, number in written.buckets) != written.count:
            raise ValueError("these samples were not written by this version; record them again")
        samples = cls()
        samples._buckets = dict(written.buckets)
        samples.count = written.count
        samples.max_ms = written.max_ms
        return samples


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int
    max_ms: float
    ratio: float
    buckets: list[tuple[int, int]]


def _upper_ms(bucket: int) -> float:
    return float(_FLOOR_MS * _RATIO**bucket)


class Recorder:
    """What the operations of one test took; one recorder for each worker process, safe to share by threads.

    An operation that fails or is cancelled has no duration and is not counted.
    """

    def __init__(self) -> None:
        self._samples: dict[str, Samples] = {}
        self._lock = threading.Lock()

    def start_test(self) -> None:
        """Forget what was recorded so far."""
        with self._lock:
            self._samples = {}

    def take(self) -> dict[str, Samples]:
        """Hand over what was recorded since `start_test`, by the budget's name, and forget it."""
        with self._lock:
            taken, self._samples = self._samples, {}
        return taken

    def record(self, budget: str, ms: float) -> None:
        """Count one operation under the name of a budget in `BUDGETS`."""
        with self._lock:
            samples = self._samples.get(budget)
            if samples is None:
                if budget not in BUDGETS:
                    raise ValueError(f"there is no budget {budget!r}; take one of {', '.join(BUDGETS)}")
                samples = self._samples[budget] = Samples()
            samples.record(ms)

    @contextmanager
    def measure(self, budget: Budget) -> Iterator[None]:
        """Record how long the block takes, unless it raises."""
        started = perf_counter()
        yield
        self.record(budget.name, (perf_counter() - started) * 1000)


@dataclass(frozen=True, slots=True)
class Measured:
    """Counts what the kit can't see: what happens in other processes, or between two calls."""

    _recorder: Recorder
    _figures: list[tuple[str, object]]

    def __call__(self, budget: str, took: timedelta) -> None:
        """Count one operation under the name of a budget in `BUDGETS`.

        Raises:
            ValueError: there is no such budget, or *took* is negative.
        """
        self._recorder.record(budget, took / timedelta(milliseconds=1))

    def figure(self, name: str, told: object) -> None:
        """Put any other figure, the recall of a detector for example, beside the test in the report."""
        self._figures.append((name, str(told)))


class BudgetResult(BaseModel):
    """What was measured under one budget; `limit_ms` already holds the time factor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    limit_ms: float
    count: int
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None
    held: bool


def judge(samples: Samples, budget: Budget, factor: float = 1.0) -> BudgetResult:
    """Hold the 95th percentile against the budget's limit times *factor*; nothing measured breaks nothing."""
    limit_ms = budget.limit_ms * factor
    if not samples.count:
        return BudgetResult(
            name=budget.name, limit_ms=limit_ms, count=0, p50_ms=None, p95_ms=None, max_ms=None, held=True
        )
    p95_ms = samples.quantile(0.95)
    return BudgetResult(
        name=budget.name,
        limit_ms=limit_ms,
        count=samples.count,
        p50_ms=samples.quantile(0.5),
        p95_ms=p95_ms,
        max_ms=samples.max_ms,
        held=p95_ms <= limit_ms,
    )


def judge_all(measured: Mapping[str, Samples], factor: float = 1.0) -> list[BudgetResult]:
    """Judge each budget that has samples, in the order of `BUDGETS`."""
    return [judge(measured[name], budget, factor) for name, budget in BUDGETS.items() if name in measured]


def observe_sqlalchemy(recorder: Recorder) -> Callable[[], None]:
    """Record every statement of every engine, sync and async, until the function returned is called."""
    from sqlalchemy import event
    from sqlalchemy.engine import Connection, Engine

    key = object()  # of this observer, so that two may watch the same connection

    def before(conn: Connection, *_: object) -> None:
        conn.info[key] = perf_counter()

    def after(conn: Connection, *_: object) -> None:
        ended = perf_counter()
        started = conn.info.pop(key, None)
        if started is not None:
            recorder.record(DATABASE.name, (ended - started) * 1000)

    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": before,
        "after_cursor_execute": after,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)

    def stop() -> None:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)

    return stop


def blocks(command: tuple[Any, ...]) -> bool:
    """Tell whether a Redis command waits for something to happen, so that its time says nothing."""
    name = _word(command[0])
    if name in BLOCKING:
        return True
    if name not in BLOCKING_IF_ASKED:
        return False
    for part in command[1:]:
        word = _word(part)
        if word in ("BLOCK", "STREAMS"):  # what follows STREAMS are names of streams
            return word == "BLOCK"
    return False


def _word(part: object) -> str:
    if isinstance(part, str):
        return part.upper()
    return bytes(part).decode("latin-1").upper() if isinstance(part, bytes | bytearray) else ""


@functools.cache
def measured_client_class(recorder: Recorder) -> type[Redis]:
    """Make a `redis.asyncio.Redis` that records its commands and pipelines, and is otherwise the same.

    A pipeline is one operation. Commands that wait for others (BLPOP, XREAD BLOCK, …) and the reads
    of a subscription are not recorded.
    """
    from redis import asyncio
    from redis.asyncio.client import Pipeline as PlainPipeline

    def record(started: float) -> None:
        recorder.record(REDIS.name, (perf_counter() - started) * 1000)

    class MeasuredPipeline(PlainPipeline):
        async def execute(self, raise_on_error: bool = True) -> list[Any]:
            queued = self.command_stack
            waits = not (self.is_transaction or self.explicit_transaction) and any(
                blocks(command) for command, _ in queued
            )
            started = perf_counter()
            replies = await super().execute(raise_on_error)
            if queued and not waits:
                record(started)
            return replies

        async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
            started = perf_counter()
            reply = await super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]
            if not blocks(args):
                record(started)
            return reply

    class MeasuredRedis(asyncio.Redis):
        async def execute_command(self, *args: Any, **options: Any) -> Any:
            started = perf_counter()
            reply = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            if not blocks(args):
                record(started)
            return reply

        def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
            return MeasuredPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    return MeasuredRedis
