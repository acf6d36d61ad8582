"""A run is a row that goes one way, belongs to one tenant, and says what became of it."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import Goal, Tier, business_value, within
from netra_tools import (
    CachePolicy,
    Call,
    Caller,
    Context,
    ExecutorPolicy,
    InvalidArguments,
    KeyReused,
    PermissionDenied,
    ResultRefused,
    RunCancelled,
    RunId,
    RunNotFound,
    RunState,
    StillRunning,
    Tool,
    ToolExecutor,
    ToolFailed,
    ToolNotFound,
    ToolTimedOut,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.SECURITY},
    impact="what agents did is known for sure, and only to those whom it concerns",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
RowOf = Callable[[RunId], Awaitable[dict[str, Any]]]
NOTE = Call[dict[str, int]]("echo", {"n": 1})
LATER = timedelta(seconds=20)


async def echo(value: dict[str, int], _: Context) -> dict[str, int]:
    """Return what came."""
    return value


ECHO = Tool.typed("echo", echo, dict[str, int], dict[str, int])
ALLOWED = {("pending", "running")} | {
    ("running", end) for end in ("completed", "failed", "timed_out", "cancelled")
}
FIELDS = {
    "pending": "started_at = null, ended_at = null, result = null, error = null",
    "running": "started_at = now(), ended_at = null, result = null, error = null",
    "completed": "started_at = now(), ended_at = now(), result = '1', error = null",
    **dict.fromkeys(
        ("failed", "timed_out", "cancelled"),
        "started_at = now(), ended_at = now(), result = null, error = 'x'",
    ),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(FIELDS, 2)))
async def test_the_database_lets_a_run_go_forward_only(engine: AsyncEngine, before: str, after: str) -> None:
    """Not even a faulty program, or a person at the database, can make a run unhappen."""
    run = uuid4()
    path = {"pending": (), "running": ("running",)}.get(before, ("running", before))
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "insert into tools.run (id, namespace, tenant, user_id, tool, version, arguments, state, holder,"
                " lease_until, due_at) values (:id, 'n', 't', 'u', 'x', '1', '{}', 'pending', :id, now(),"
                " now() + interval '1 h')"
            ),
            {"id": run},
        )
        for state in path:
            await connection.execute(
                text(f"update tools.run set state = '{state}', {FIELDS[state]} where id = :id"), {"id": run}
            )

    async def go() -> None:
        async with engine.begin() as connection:
            statement = text(f"update tools.run set state = '{after}', {FIELDS[after]} where id = :id")
            await connection.execute(statement, {"id": run})

    if (before, after) in ALLOWED:
        await go()
    else:
        with pytest.raises(DBAPIError, match=f"from {before} to {after}"):
            await go()


async def test_a_run_that_is_held_changes_hands_for_nobody(engine: AsyncEngine) -> None:
    """Two workers can't both believe that a run is theirs."""
    run = uuid4()
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "insert into tools.run (id, namespace, tenant, user_id, tool, version, arguments, state, holder,"
                " lease_until, due_at) values (:id, 'n', 't', 'u', 'x', '1', '{}', 'pending', :id,"
                " now() + interval '1 h', now() + interval '1 h')"
            ),
            {"id": run},
        )

    with pytest.raises(DBAPIError, match="only after its lease lapsed"):
        async with engine.begin() as connection:
            await connection.execute(text("update tools.run set holder = gen_random_uuid()"))


async def test_a_submitted_run_is_done_by_whoever_is_free(open_tools: OpenTools, alice: Caller) -> None:
    """An agent can leave a task and come back for what became of it, at any process."""
    here, there = await open_tools(ECHO), await open_tools(ECHO)

    run = await here.submit(NOTE, caller=alice)
    found = await there.result(run, caller=alice, within=LATER)

    assert found == {"n": 1}
    assert (await here.find(run, caller=alice)).state is RunState.COMPLETED


async def test_twenty_calls_with_one_key_are_one_run(
    open_tools: OpenTools, engine: AsyncEngine, alice: Caller, bob: Caller
) -> None:
    """A payment that a nervous client sends twenty times is made once; another tenant's is its own."""
    calls = 0

    async def counted(value: dict[str, int], _: Context) -> dict[str, int]:
        nonlocal calls
        calls += 1
        return value

    tool = Tool.typed("pay", counted, dict[str, int], dict[str, int])
    here, there = await open_tools(tool), await open_tools(tool)
    call = Call(tool, {"n": 1}, key="invoice 7")

    found = await asyncio.gather(*(tools.run(call, caller=alice) for tools in [here, there] * 10))
    await there.run(call, caller=bob)

    assert (len({one.run for one in found}), calls) == (1, 2)
    with pytest.raises(KeyReused):
        await here.run(Call(tool, {"n": 2}, key="invoice 7"), caller=alice)


async def test_a_run_is_unknown_to_other_tenants(open_tools: OpenTools, alice: Caller, bob: Caller) -> None:
    """Who guesses an id learns nothing, and can stop nobody's work."""
    tools = await open_tools(ECHO)
    run = (await tools.run(NOTE, caller=alice)).run
    assert run is not None

    for act in (
        tools.find(run, caller=bob),
        tools.cancel(run, caller=bob),
        tools.result(run, caller=bob, within=LATER),
    ):
        with pytest.raises(RunNotFound):
            await act


class OnlyReaders:
    """Permits reading, and nothing else."""

    async def allowed(self, caller: Caller, permission: str) -> bool:
        """Tell whether reading is meant."""
        return permission == "read"


@pytest.mark.parametrize("submitted", [False, True])
async def test_a_tool_runs_only_for_those_who_may(
    open_tools: OpenTools, engine: AsyncEngine, alice: Caller, submitted: bool
) -> None:
    """A tool that asks for a permission is closed to those who lack it, and to all where nobody can say."""
    reads = Tool.typed("reads", echo, dict[str, int], dict[str, int], permission="read")
    writes = Tool.typed("writes", echo, dict[str, int], dict[str, int], permission="write")
    asked, unasked = await open_tools(reads, writes, permits=OnlyReaders()), await open_tools(reads)
    act = "submit" if submitted else "run"

    await getattr(asked, act)(Call("reads", {"n": 1}), caller=alice)
    for tools, name in ((asked, "writes"), (unasked, "reads")):
        with pytest.raises(PermissionDenied):
            await getattr(tools, act)(Call(name, {"n": 1}), caller=alice)


async def test_a_cached_result_is_not_for_those_who_may_not(open_tools: OpenTools, alice: Caller) -> None:
    """What one user may know is no answer for another who may not ask."""
    cached = Tool.typed("reads", echo, dict[str, int], dict[str, int], permission="read", cache=CachePolicy())
    readers, others = await open_tools(cached, permits=OnlyReaders()), await open_tools(cached)
    await readers.run(Call(cached, {"n": 1}), caller=alice)

    with pytest.raises(PermissionDenied):
        await others.run(Call(cached, {"n": 1}), caller=alice)


BAD = {
    "NUL": {"a\0": 1}, "surrogate": {"\ud800": 1}, "long": {"x" * 1_000_000: 1}, "NaN": {"a": float("nan")},
    "wrong type": {"a": "b"}, "no mapping": 7, "empty": "", "object": {"a": object()},
}  # fmt: skip


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
async def test_bad_arguments_reach_no_store(
    open_tools: OpenTools, engine: AsyncEngine, alice: Caller, arguments: object
) -> None:
    """What a confused model writes is refused at the door, and not repeated to anybody."""
    tools = await open_tools(ECHO)

    with pytest.raises(InvalidArguments) as refused:
        await tools.run(Call("echo", arguments), caller=alice)

    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from tools.run")) == 0
    assert len(str(refused.value)) < 300


async def test_a_tool_that_nobody_knows_is_refused(
    open_tools: OpenTools, engine: AsyncEngine, alice: Caller
) -> None:
    """A model that invents a tool is told so."""
    tools = await open_tools(ECHO)
    await tools.run(NOTE, caller=alice)

    with pytest.raises(ToolNotFound):
        await tools.run(Call("echo2", {}), caller=alice)


def nested(levels: int) -> Any:
    """Build a list in a list in a list."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


RESULTS = {
    "10 MB": ("x" * 10_000_000, None), "100 levels": (nested(100), None), "NaN": ([float("nan")], "NaN"),
    "infinity": (float("inf"), "infinity"), "101 levels": (nested(101), "deep"),
    "10,000 levels": (nested(10_000), "deep"), "20 MB": ("x" * 20_000_000, "longer than"),
    "NUL": ({"a": ["\0"]}, "NUL"), "surrogate": ("\udfff", "surrogate"), "an object": (object(), "no form"),
    "a backslash": ("\\u0000", None),
}  # fmt: skip


@pytest.mark.parametrize(("value", "refused"), RESULTS.values(), ids=RESULTS)
async def test_a_result_is_kept_as_it_is_or_refused_by_name(
    open_tools: OpenTools, row_of: RowOf, alice: Caller, value: Any, refused: str | None
) -> None:
    """A result that comes back changed would be worse than none."""

    async def answer(_: dict[str, int], __: Context) -> Any:
        return value

    tools = await open_tools(Tool.typed("answer", answer, dict[str, int], object))

    if refused is None:
        assert (await tools.run(Call("answer", {}), caller=alice)).result == value
    else:
        with pytest.raises(ResultRefused, match=refused) as error:
            await tools.run(Call("answer", {}), caller=alice)
        assert (await row_of(error.value.run))["state"] == "failed"


async def test_what_a_tool_raises_without_words_stays_inside(
    open_tools: OpenTools, row_of: RowOf, screen: Any, alice: Caller
) -> None:
    """An error may hold a password; users are told its kind, and where to look."""

    async def leaky(_: dict[str, int], __: Context) -> dict[str, int]:
        raise ValueError("postgresql://root:hunter2@db")

    tools = await open_tools(Tool.typed("leaky", leaky, dict[str, int], dict[str, int]), sink=screen)

    with pytest.raises(ToolFailed) as failed:
        await tools.run(Call("leaky", {}), caller=alice)

    shown = f"{failed.value} {await row_of(failed.value.run)} {screen.seen}"
    assert failed.value.error == "ValueError"
    assert "hunter2" not in shown
    assert screen.kinds == ["tool_executing", "tool_completed"]


async def test_a_caller_who_leaves_takes_the_tool_along(
    open_tools: OpenTools, screen: Any, alice: Caller
) -> None:
    """Nobody pays for an answer that nobody waits for."""
    begun: asyncio.Future[RunId] = asyncio.get_running_loop().create_future()

    async def endless(_: dict[str, int], context: Context) -> dict[str, int]:
        assert context.run is not None
        begun.set_result(context.run)
        await asyncio.Event().wait()
        return {}

    tool = Tool.typed("endless", endless, dict[str, int], dict[str, int], timeout=timedelta(hours=1))
    tools = await open_tools(tool, sink=screen)

    running = asyncio.create_task(tools.run(Call(tool, {}), caller=alice))
    async with within(seconds=20):
        run = await begun
        running.cancel()
        await asyncio.wait({running})

    assert running.cancelled()
    assert (await tools.find(run, caller=alice)).state is RunState.CANCELLED
    assert screen.seen[-1][1]["state"] == "cancelled"


async def test_a_run_that_waits_can_be_cancelled(open_tools: OpenTools, alice: Caller) -> None:
    """What nobody began is not begun any more."""
    unable = await open_tools()  # knows no tool, as a worker of another kind
    writer = await open_tools(ECHO, policy=ExecutorPolicy(taken_at_once=1, poll_every=timedelta(hours=1)))
    gate, begun = asyncio.Event(), asyncio.Event()

    async def gated(_: dict[str, int], __: Context) -> dict[str, int]:
        begun.set()
        await gate.wait()
        return {}

    slow = Tool.typed("slow", gated, dict[str, int], dict[str, int], timeout=timedelta(minutes=5))
    writer._registry.register(slow)
    async with within(seconds=30):
        first = await writer.submit(Call("slow", {}), caller=alice)
        await begun.wait()
        second = await writer.submit(NOTE, caller=alice)
        await unable.cancel(second, caller=alice)
        with pytest.raises(StillRunning):
            await unable.result(second, caller=alice, within=timedelta(0))
        gate.set()
        await writer.result(first, caller=alice, within=LATER)
        with pytest.raises(RunCancelled):
            await writer.result(second, caller=alice, within=LATER)


async def test_a_tool_that_does_not_listen_is_left_alone(
    open_tools: OpenTools, row_of: RowOf, alice: Caller
) -> None:
    """A tool that catches its own cancellation costs its caller a moment, and not the rest of the day."""
    let_go = asyncio.Event()

    async def deaf(_: dict[str, int], __: Context) -> dict[str, int]:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return {}

    tool = Tool.typed("deaf", deaf, dict[str, int], dict[str, int], timeout=timedelta(milliseconds=50))
    policy = ExecutorPolicy(deadline=timedelta(seconds=30), grace=timedelta(milliseconds=50))
    tools = await open_tools(tool, policy=policy)

    async with within(seconds=20):
        with pytest.raises(ToolTimedOut) as late:
            await tools.run(Call(tool, {}), caller=alice)
    let_go.set()

    assert (await row_of(late.value.run))["state"] == "timed_out"
