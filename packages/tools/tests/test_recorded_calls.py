"""What models really called, and were expected to call, is judged and run as it should be."""

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import Goal, Tier, business_value, within
from netra_fixtures.data import ThirdPartyData
from netra_tools import (
    Call,
    Caller,
    Context,
    InvalidArguments,
    TenantId,
    ToolExecutor,
    UserId,
    json_schema_of,
    schema_tool,
)
from netra_tools.call import canonical_arguments

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="what a model gets wrong is caught before it does anything, and what it gets right is done",
)

OpenTools = Callable[..., Awaitable[ToolExecutor]]
WRONG: list[Any] = [None, True, 7, 0.5, "text", [], {}, [1, "a"], {"a": 1}]


def lines(file: Path) -> list[dict[str, Any]]:
    """Read a file of JSON, a record a line."""
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        return [json.loads(line) for line in opened]


def accepted(expected: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Give the argument sets that an answer accepts: each value once, and what may be left out left out."""
    first = {name: values[0] for name, values in expected.items() if values and values[0] != ""}
    yield first
    for name, values in expected.items():
        for value in values:
            rest = {other: kept for other, kept in first.items() if other != name}
            yield rest if value == "" else {**rest, name: value}


def mutated(
    arguments: dict[str, Any], schema: dict[str, Any], rng: random.Random
) -> Iterator[dict[str, Any]]:
    """Break a set: a missing required name, a value of another type, a name that nobody knows."""
    required = [name for name in schema.get("required", ()) if name in arguments]
    if required:
        gone = rng.choice(required)
        yield {name: value for name, value in arguments.items() if name != gone}
    if arguments:
        yield {**arguments, rng.choice(list(arguments)): rng.choice(WRONG)}
    yield {**arguments, "unheard_of": rng.choice(WRONG)}


async def nothing(arguments: Any, _: Context) -> Any:
    """Return what came."""
    return arguments


@pytest.mark.timeout(300)
def test_our_verdict_is_that_of_the_schema(
    third_party_data: ThirdPartyData,
    rng: random.Random,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Thousands of calls, right and wrong, get the verdict that the standard's own validator gives."""
    counted: Counter[str] = Counter()
    disagreements = []
    for file in third_party_data.files("agent-traces", "bfcl_*_answers.jsonl.gz"):
        questions = {one["id"]: one for one in lines(file.with_name(file.name.replace("_answers", "")))}
        cases = 0
        for answer in lines(file):
            functions = {one["name"]: one for one in questions[answer["id"]].get("function", ())}
            for expected in answer["ground_truth"] if functions else ():
                [(name, values)] = expected.items()
                schema = json_schema_of(functions[name]["parameters"])
                tool = schema_tool(name.replace(" ", "_"), nothing, schema)
                judge = jsonschema.Draft202012Validator(schema)
                for arguments in accepted(values):
                    counted["violate their own schema"] += not judge.is_valid(arguments)
                    for tried in (arguments, *mutated(arguments, schema, rng)):
                        cases += 1
                        theirs = judge.is_valid(tried)
                        counted["right" if theirs else "wrong"] += 1
                        if takes(tool, tried) != theirs:
                            disagreements.append((answer["id"], tried))
        third_party_data.read(file, cases=cases)

    request.node.user_properties += counted.items()
    with capsys.disabled():
        print(f"\nrecorded calls: {dict(counted)}")
    assert disagreements == []
    assert not counted or counted["right"]


def takes(tool: Any, arguments: object) -> bool:
    """Tell whether the tool would be called."""
    try:
        canonical_arguments(tool, arguments, limit_bytes=1_000_000)
    except InvalidArguments:
        return False
    return True


@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", [100, pytest.param(1_000_000, marks=pytest.mark.soak)])
async def test_recorded_runs_are_replayed_without_loss_or_double(
    open_tools: OpenTools,
    third_party_data: ThirdPartyData,
    engine: AsyncEngine,
    rng: random.Random,
    share: int,
) -> None:
    """Every call that a real model made is made once, though two workers are asked for each."""
    made: dict[str, tuple[str, Any, str]] = {}
    for file in third_party_data.files("agent-traces", "tau_bench_*.jsonl.gz"):
        found = recorded(file)
        picked = rng.sample(sorted(found), min(share, len(found)))
        made |= {key: found[key] for key in picked}
        third_party_data.read(file, cases=len(picked))
    calls: Counter[str] = Counter()

    async def replay(_: Any, context: Context) -> str:
        assert context.caller.work is not None
        calls[context.caller.work] += 1
        return made[context.caller.work][2]

    names = sorted({name for name, _, _ in made.values()})
    tools = [
        await open_tools(*(schema_tool(name, replay, {"type": "object"}) for name in names)) for _ in "ab"
    ]
    room = asyncio.Semaphore(8)

    async def call(key: str, worker: ToolExecutor) -> str:
        name, arguments, _ = made[key]
        caller = Caller(tenant=TenantId("airline"), user=UserId("agent"), work=key)
        async with room:
            return str((await worker.run(Call[Any](name, arguments, key=key), caller=caller)).result)

    asked = [(key, worker) for key in made for worker in tools]
    rng.shuffle(asked)
    async with within(seconds=300):
        results = await asyncio.gather(*(call(key, worker) for key, worker in asked))

    assert results == [made[key][2] for key, _ in asked]
    assert calls == Counter(dict.fromkeys(made, 1))
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("select idempotency_key from tools.run where state = 'completed'")
        )
        assert sorted(rows.scalars()) == sorted(made)


def recorded(file: Path) -> dict[str, tuple[str, Any, str]]:
    """Give the calls of a file that were answered, (tool, arguments, answer), by a name of each."""
    found = {}
    for number, run in enumerate(lines(file)):
        waiting: list[tuple[str, Any]] = []
        for step, message in enumerate(run["traj"]):
            for one in message.get("tool_calls") or ():
                waiting.append((one["function"]["name"], json.loads(one["function"]["arguments"])))
            if message["role"] == "tool" and waiting:
                name, arguments = waiting.pop(0)
                found[f"{file.name} {number} {step}"] = (name, arguments, message["content"])
    return found
