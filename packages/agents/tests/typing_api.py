"""Calls that must type-check; never executed."""

from collections.abc import Mapping
from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel, JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents import (
    Agent,
    AgentsPolicy,
    Caller,
    Difference,
    OnFailure,
    Orchestrator,
    Plan,
    RetryPolicy,
    Run,
    RunId,
    Step,
    StepResult,
    TenantId,
    Tier,
    Tools,
    Turn,
    UserId,
    Worker,
    sequence,
)


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    length: int


class Nothing:
    async def run(
        self, tool: str, arguments: Mapping[str, JsonValue], *, caller: Caller, key: str
    ) -> JsonValue:
        return None


async def measure(question: Question, turn: Turn) -> Answer:
    assert_type(turn.run, RunId)
    await turn.think("how long is it?")
    assert_type(await turn.tool("count", {"text": question.text}), JsonValue)
    return Answer(length=len(question.text))


async def calls(engine: AsyncEngine, redis: Redis) -> None:
    agent = Agent("measure", measure, Question, Answer, version="2")
    assert_type(agent, Agent[Question, Answer])
    step = Step(
        "only", agent, retry=RetryPolicy(3), fallback=agent, on_failure=OnFailure.PARTIAL,
        timeout=timedelta(seconds=5),
    )  # fmt: skip
    plan = Plan("measuring", Question, Answer, [step], version="2", within=timedelta(minutes=1))
    assert_type(plan, Plan[Question, Answer])
    assert_type(sequence("measuring", Question, Answer, [agent]), Plan[Question, Answer])
    tools: Tools = Nothing()
    alice = Caller(tenant=TenantId("acme"), user=UserId("alice"), tier=Tier.MID)
    async with (
        Worker(plans=[plan], engine=engine, redis=redis, namespace="netra", tools=tools) as worker,
        Orchestrator(engine=engine, redis=redis, namespace="netra", policy=AgentsPolicy()) as orchestrator,
    ):
        run = await orchestrator.start(plan, Question(text="a"), caller=alice, key="k")
        assert_type(run, RunId)
        result = await orchestrator.result(plan, run, caller=alice, within=timedelta(seconds=5))
        assert_type(result, Answer)
        assert_type(await orchestrator.find(run, caller=alice), Run)
        async for seen in orchestrator.follow(run, caller=alice):
            assert_type(seen, Run)
        assert_type(await orchestrator.steps(run, caller=alice), list[StepResult])
        found = await orchestrator.check_consistency()
        assert_type(found, list[Difference])
        found[0].what = "nothing"  # type: ignore[misc]  # frozen
        assert_type(await worker.purge(kept=timedelta(days=30)), int)
        await orchestrator.start(plan, Answer(length=1), caller=alice)  # type: ignore[misc]
        await orchestrator.find("no id", caller=alice)  # type: ignore[arg-type]
