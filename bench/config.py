"""Settings against what they are made of: an attribute, a rule in plain Python, a bare notification."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from hashlib import blake2b
from statistics import median
from typing import Any

import asyncpg
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from figures import Figure, Limit, LimitOn
from kit import Kit, standing
from netra_config import (
    Condition,
    ConfigPolicy,
    ConfigProvider,
    ConfigService,
    Edit,
    Environment,
    Flag,
    Rule,
    Share,
    settings,
)
from turns import Contender, Subject

READ = Limit(on=LimitOn.RATIO_AT_MOST, bound=2)
FLAG = Limit(on=LimitOn.RATIO_AT_MOST, bound=4)
SEEN = Limit(on=LimitOn.RATIO_AT_MOST, bound=2)
READS = 20_000
DECISIONS = 200  # so short that a turn is seldom interrupted
EACH = 20  # changes in one turn
TIERS = frozenset({"MID", "ENTERPRISE"})
TENTH = 2**64 // 10
ATTRIBUTES = {"tenant": "acme", "tier": "MID"}
SIGNED = {"author": "bench", "reason": "a measurement"}
POLICY = ConfigPolicy(deadline=timedelta(seconds=30), poll_every=timedelta(minutes=10))


@settings
class Part:
    """What is read."""

    retries: int = 3
    title: str = "bench"


class Model(BaseModel):
    """The same as a model with `BaseModel`'s own attribute access."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retries: int = 3
    title: str = "bench"


class Slotted:
    """A bare attribute."""

    __slots__ = ("retries",)

    def __init__(self) -> None:
        self.retries = 3


def service(schema: type, kit: Kit, stack: AsyncExitStack, namespace: str) -> ConfigService[Any]:
    """Make a service straight to the servers, past the tap."""
    engine = create_async_engine(kit.database.endpoint.url())
    stack.push_async_callback(engine.dispose)
    redis = kit.redis.endpoint.client()
    stack.push_async_callback(redis.aclose)
    return ConfigService(
        schema, environment=Environment.TEST, engine=engine, redis=redis, namespace=namespace, policy=POLICY
    )


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure reads, flags, and how soon another process sees a change."""
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            part = runner.run(stack.enter_async_context(service(Part, kit, stack, "part")))
            model = runner.run(stack.enter_async_context(service(Model, kit, stack, "model")))
            yield from _reads(subject, part, model)
            yield from _flags(subject, runner, part)
            yield from _changes(subject, runner, kit, stack)
        finally:
            runner.run(stack.aclose())


def _timed(work: Callable[[], object], each: int) -> Contender:
    """Measure nanoseconds a time, without the collector."""

    def once() -> float:
        gc.disable()
        began = time.perf_counter_ns()
        work()
        taken = time.perf_counter_ns() - began
        gc.enable()
        return taken / each

    return once


def _reads(subject: Subject, part: ConfigService[Part], model: ConfigService[Model]) -> Iterator[Figure]:
    slotted = Slotted()

    def ours() -> None:
        config = part
        for _ in range(READS):
            config.current.retries  # noqa: B018

    def through_model() -> None:
        config = model
        for _ in range(READS):
            config.current.retries  # noqa: B018

    def bare() -> None:
        held = slotted
        for _ in range(READS):
            held.retries  # noqa: B018

    read, of_model, plain = subject.in_turns(
        _timed(ours, READS), _timed(through_model, READS), _timed(bare, READS), turns=200, seconds=5, warmup=5
    )
    reference = [("an attribute of a slotted object", plain)]
    yield subject.figure("typed read, a model of @settings", read, reference, limit=READ, unit="ns")
    yield subject.figure("typed read, a frozen BaseModel", of_model, reference, unit="ns")


def plain_rule(key: str, attributes: dict[str, str]) -> bool:
    """Decide what the flag decides, written by hand."""
    if attributes.get("tier") in TIERS:
        digest = blake2b(f"new\n{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < TENTH
    return False


def _flags(subject: Subject, runner: asyncio.Runner, config: ConfigService[Part]) -> Iterator[Figure]:
    rule = Rule(
        when=(Condition(attribute="tier", any_of=tuple(TIERS)),), shares=(Share(variant="on", percent=10),)
    )
    flag = Flag(variants={"on": True, "off": False}, default="off", rules=(rule,))
    runner.run(config.commit(Edit(flags={"new": flag.model_dump(mode="json")}), base=0, **SIGNED))
    keys = [f"user-{number}" for number in range(DECISIONS)]
    api.set_provider(ConfigProvider(config.decide), "bench")
    client = api.get_client("bench")
    contexts = [EvaluationContext(key, ATTRIBUTES) for key in keys]
    if [config.decide("new", key, ATTRIBUTES).value for key in keys] != [
        plain_rule(key, ATTRIBUTES) for key in keys
    ]:
        raise RuntimeError("the flag and the rule written by hand disagree")

    def direct() -> None:
        for key in keys:
            config.decide("new", key, ATTRIBUTES)

    def standard() -> None:
        for context in contexts:
            client.get_boolean_value("new", False, context)

    def bare() -> None:
        for key in keys:
            plain_rule(key, ATTRIBUTES)

    decided, through, plain = subject.in_turns(
        _timed(direct, DECISIONS),
        _timed(standard, DECISIONS),
        _timed(bare, DECISIONS),
        turns=600,
        seconds=8,
        warmup=3,
    )
    reference = [("the rule in plain Python", plain)]
    yield subject.figure("targeted percentage flag", decided, reference, limit=FLAG, unit="ns")
    yield subject.figure("the same through OpenFeature's SDK", through, reference, unit="ns")


@asynccontextmanager
async def neighbour(kit: Kit, namespace: str) -> AsyncIterator[None]:
    """Start another process that echoes each version it has, and each bare notification, as a notification."""
    arguments = (kit.database.endpoint.url(), kit.database.endpoint.dsn, kit.redis.endpoint.url, namespace)
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the other process did not start")
        yield
    finally:
        process.kill()
        await process.communicate()


class Wire:
    """A bare connection that notifies, and hears what the other process echoes."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(self) -> None:
        """Hear echoes."""
        await self.connection.add_listener("echo", lambda *heard: self.heard.put_nowait(heard[3]))

    async def until(self, wanted: str) -> None:
        """Wait for an echo."""
        while await asyncio.wait_for(self.heard.get(), 30) != wanted:
            pass


def _changes(subject: Subject, runner: asyncio.Runner, kit: Kit, stack: AsyncExitStack) -> Iterator[Figure]:
    config = runner.run(stack.enter_async_context(service(Part, kit, stack, "changes")))
    connection = runner.run(asyncpg.connect(kit.database.endpoint.dsn))
    stack.push_async_callback(connection.close)
    wire = Wire(connection)
    runner.run(wire.listen())
    runner.run(stack.enter_async_context(neighbour(kit, "changes")))
    quiet = runner.run(
        stack.enter_async_context(service(Part, kit, stack, "quiet"))
    )  # nobody else follows it
    whole, committed = list[float](), list[float]()
    config.on_change(lambda: committed.append(time.perf_counter()))  # before it is announced

    async def commit(to: ConfigService[Part]) -> None:
        await to.commit(Edit(set={"retries": to.version}), base=to.version, **SIGNED)

    async def change() -> float:
        since_call, since_commit = list[float](), list[float]()
        for _ in range(EACH):
            wanted, called = config.version + 1, time.perf_counter()
            committing = asyncio.ensure_future(commit(config))
            await wire.until(str(wanted))
            seen = time.perf_counter()
            await committing
            since_call.append((seen - called) * 1000)
            since_commit.append((seen - committed[-1]) * 1000)
        whole.append(median(since_call))
        return median(since_commit)

    async def notify(before: Callable[[], Awaitable[None]]) -> float:
        taken = list[float]()
        for number in range(EACH):
            await before()
            began = time.perf_counter()
            await wire.connection.execute(f"notify bare, 'n{number}'")
            await wire.until(f"n{number}")
            taken.append((time.perf_counter() - began) * 1000)
        return median(taken)

    async def nothing() -> None:
        pass

    ours, plain, hot = subject.in_turns(
        lambda: runner.run(change()),
        lambda: runner.run(notify(lambda: commit(quiet))),
        lambda: runner.run(notify(nothing)),
        turns=40, seconds=20, warmup=2,
    )  # fmt: skip
    # a process that waited through a commit wakes from sleep; one after another they find everybody awake
    reference = [("a bare NOTIFY there and back, after a commit too", plain)]
    yield subject.figure("a committed change seen there and told back", ours, reference, limit=SEEN)
    yield subject.figure("the same, with the commit itself", whole[-len(ours) :], reference)
    yield subject.figure("the same, since the commit", ours, [("bare NOTIFYs one after another", hot)])


async def echo(url: str, dsn: str, redis: str, namespace: str) -> None:
    """Be the other process."""
    engine, client, connection = create_async_engine(url), Redis.from_url(redis), await asyncpg.connect(dsn)
    echoes: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("bare", lambda *heard: echoes.put_nowait(heard[3]))
    config = ConfigService(
        Part, environment=Environment.TEST, engine=engine, redis=client, namespace=namespace, policy=POLICY
    )
    async with config:
        config.on_change(lambda: echoes.put_nowait(str(config.version)))
        print("ready", flush=True)
        while True:
            await connection.execute(f"notify echo, '{await echoes.get()}'")


if __name__ == "__main__":
    asyncio.run(echo(*sys.argv[1:]))
