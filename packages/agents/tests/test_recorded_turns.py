"""What a real agent once did, turn by turn and tool by tool, is done again as plans, all to their recorded end."""

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue

from netra_agents import (
    Agent,
    AgentsPolicy,
    Caller,
    Orchestrator,
    Plan,
    Step,
    TenantId,
    Tier,
    Turn,
    UserId,
    Worker,
)
from netra_fixtures import Goal, business_value, eventually, within
from netra_fixtures import Tier as Worth
from netra_fixtures.data import ThirdPartyData

from .conftest import PATIENT, Screen

pytestmark = business_value(
    tier=Worth.FREE, goals={Goal.STABILITY}, impact="long conversations with many tool calls end as they did"
)

OpenWorker = Callable[..., Awaitable[Worker]]


class Said(BaseModel):
    """How far a conversation is: the run's name, how many messages were said, and the last of them."""

    name: str
    said: int = 0
    last: str = ""


class Recorded:
    """Conversations, each a list of turns: what the assistant said, and the tool calls that it made meanwhile."""

    def __init__(self) -> None:
        self.turns: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[tuple[str, str], list[str]] = {}

    def read(self, file: Path) -> list[str]:
        """Read a file of runs; returns their names."""
        names = []
        with gzip.open(file, "rt", encoding="utf-8") as opened:
            for number, line in enumerate(opened):
                name = f"{file.name} {number}"
                names.append(name)
                self.turns[name] = [
                    message
                    for message in json.loads(line)["traj"]
                    if message["role"] in ("assistant", "tool")
                ]
        return names

    def calls(self, name: str) -> list[tuple[str, Any, str]]:
        """Return the tool calls of a run that were answered: tool, arguments and answer."""
        found, waiting = [], []
        for message in self.turns[name]:
            for call in message.get("tool_calls") or ():
                waiting.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
            if message["role"] == "tool" and waiting:
                found.append((*waiting.pop(0), message["content"] or ""))
        return found


class Replaying:
    """Tools that answer as they did: the n-th call of a run as the n-th that was recorded."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self.made: dict[str, list[tuple[str, Any]]] = {}

    async def run(
        self, tool: str, arguments: Mapping[str, JsonValue], *, caller: Caller, key: str
    ) -> JsonValue:
        """Answer a call."""
        made = self.made.setdefault(caller.user, [])
        made.append((tool, dict(arguments)))
        return self._recorded.calls(caller.user)[len(made) - 1][2]


def planned(recorded: Recorded, name: str) -> Plan[Said, Said]:
    """Plan a recorded run: a step a message of the assistant, which makes the call that the message made."""
    messages = [message for message in recorded.turns[name] if message["role"] == "assistant"]
    answered = len(recorded.calls(name))

    async def speak(given: Said, turn: Turn) -> Said:
        message = messages[given.said]
        before = sum(len(one.get("tool_calls") or ()) for one in messages[: given.said])
        last = message["content"] or ""
        await turn.think(last)
        for place, call in enumerate(message.get("tool_calls") or ()):
            if before + place < answered:
                function = call["function"]
                last = str(await turn.tool(function["name"], json.loads(function["arguments"])))
        return Said(name=given.name, said=given.said + 1, last=last)

    agent = Agent("assistant", speak, Said, Said)
    steps = [Step(f"turn{n}", agent, f"turn{n - 1}" if n else "input") for n in range(len(messages))]
    return Plan("-".join(name.split()), Said, Said, steps)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [4, pytest.param(1_000_000, marks=pytest.mark.soak)])
async def test_recorded_runs_are_replayed_to_their_recorded_end(
    open_worker: OpenWorker, orchestrator: Orchestrator, third_party_data: ThirdPartyData, screen: Screen,
    rng: random.Random, share: int,
) -> None:  # fmt: skip
    """Side by side, every message is said once and in order, and every tool is called as it was."""
    recorded, picked = Recorded(), []
    for file in third_party_data.files("agent-traces", "tau_bench_*.jsonl.gz"):
        names = recorded.read(file)
        chosen = rng.sample(names, min(share, len(names)))
        third_party_data.read(file, cases=len(chosen))
        picked += [name for name in chosen if planned_turns(recorded, name)]
    plans = {name: planned(recorded, name) for name in picked}
    tools = Replaying(recorded)
    policy: AgentsPolicy = PATIENT.model_copy(update={"carried_at_once": 8})
    await open_worker(*plans.values(), tools=tools, sink=screen, policy=policy)
    callers = {
        name: Caller(tenant=TenantId("airline"), user=UserId(name), tier=Tier.ENTERPRISE) for name in picked
    }

    async with within(seconds=800):
        runs = {
            name: await orchestrator.start(plans[name], Said(name=name), caller=callers[name])
            for name in picked
        }
        ends = await asyncio.gather(*(
            orchestrator.result(plans[name], run, caller=callers[name], within=timedelta(minutes=13))
            for name, run in runs.items()
        ))  # fmt: skip

    for name, end in zip(picked, ends, strict=True):
        last = [message for message in recorded.turns[name] if message["role"] == "assistant"][-1]
        calls = recorded.calls(name)
        answered_last = (last.get("tool_calls") or ()) and calls
        assert end.last == (calls[-1][2] if answered_last else last["content"] or "")
        assert tools.made.get(name, []) == [(tool, arguments) for tool, arguments, _ in calls]

        async def told(name: str = name) -> None:
            assert screen.kinds(runs[name]) == expected_kinds(recorded, name)

        await eventually(told, seconds=30)


def planned_turns(recorded: Recorded, name: str) -> int:
    """Count the messages of the assistant."""
    return sum(message["role"] == "assistant" for message in recorded.turns[name])


def expected_kinds(recorded: Recorded, name: str) -> list[str]:
    """Tell, from the record alone, what a user's screen has to show."""
    kinds, left = ["agent_started"], len(recorded.calls(name))
    for message in recorded.turns[name]:
        if message["role"] != "assistant":
            continue
        kinds.append("agent_thinking")
        for _ in message.get("tool_calls") or ():
            if left:
                kinds += ["tool_executing", "tool_completed"]
                left -= 1
    return [*kinds, "agent_completed"]
