"""Calls that must type-check; never executed."""

from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_tools import (
    BreakerPolicy,
    CachePolicy,
    CacheUse,
    Call,
    Caller,
    Context,
    Outcome,
    RetryPolicy,
    Run,
    RunId,
    TenantId,
    Tool,
    ToolDefinition,
    ToolExecutor,
    ToolRegistry,
    UserId,
    WhenLost,
)


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    length: int


async def measure(question: Question, context: Context) -> Answer:
    assert_type(context.run, RunId | None)
    return Answer(length=len(question.text))


async def calls(engine: AsyncEngine, redis: Redis) -> None:
    tool = Tool.typed(
        "measure", measure, Question, Answer, retry=RetryPolicy(attempts=2), cache=CachePolicy(),
        breaker=BreakerPolicy(probes=2), when_lost=WhenLost.REPEAT, timeout=timedelta(seconds=1),
    )  # fmt: skip
    assert_type(tool, Tool[Question, Answer])
    registry = ToolRegistry([tool])
    assert_type(registry.definitions(), tuple[ToolDefinition, ...])
    alice = Caller(tenant=TenantId("acme"), user=UserId("alice"))
    async with ToolExecutor(registry=registry, engine=engine, redis=redis, namespace="netra") as tools:
        outcome = await tools.run(Call(tool, Question(text="a"), key="k"), caller=alice)
        assert_type(outcome, Outcome[Answer])
        assert_type(outcome.result, Answer)
        assert_type(outcome.cache, CacheUse)
        run = await tools.submit(Call("measure", {"text": "a"}), caller=alice)
        assert_type(await tools.find(run, caller=alice), Run)
        await tools.cancel(run, caller=alice)
        assert_type(await tools.purge(kept=timedelta(days=30)), int)
        for one in await tools.run_many([Call(tool, {"text": "a"})], caller=alice, limit=2):
            if isinstance(one, Outcome):
                assert_type(one.run, RunId | None)
        outcome.result = Answer(length=1)  # type: ignore[misc]  # frozen
        await tools.find("no id", caller=alice)  # type: ignore[arg-type]
