"""What a worker process of these tests works with: plans whose agents tell, past the library, that they were asked."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import redis
from pydantic import BaseModel, JsonValue
from redis.asyncio import Redis

from netra_agents import Agent, Equipment, Plan, Step, Turn, WorkerSettings

WIDE = 4


class Piece(BaseModel):
    """A number, and how long an agent is to think about it."""

    n: int
    ms: int = 0


class Pieces(BaseModel):
    """Several of them."""

    all: list[Piece]


class Sink:
    """Writes events into a list a run in Redis, past the library."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None:
        """Take an event."""
        await self._redis.rpush(f"{self._namespace}:told:{run}", f"{event_id} {kind}")


def plans(redis: Redis, namespace: str, version: str = "1") -> list[Plan[Piece, Piece]]:
    """Make the plans that every process of these tests knows, a chain, some side by side, and another chain."""

    async def asked(turn: Turn) -> None:
        await redis.hincrby(f"{namespace}:asked:{turn.run}", turn.step, 1)

    async def add(given: Piece, turn: Turn) -> Piece:
        await asked(turn)
        await turn.think(f"{given.n} is to be one more")
        await asyncio.sleep(given.ms / 1000)
        return Piece(n=given.n + 1, ms=given.ms)

    async def join(given: Pieces, turn: Turn) -> Piece:
        await asked(turn)
        return Piece(n=sum(one.n for one in given.all), ms=given.all[0].ms)

    async def deadly(given: Piece, turn: Turn) -> Piece:
        await asked(turn)
        os.kill(os.getpid(), 9)
        return given

    adder, joiner = Agent("add", add, Piece, Piece, version), Agent("join", join, Pieces, Piece)
    sides = tuple(f"side{number}" for number in range(WIDE))
    steps = [
        Step("first", adder),
        *(Step(name, adder, "first") for name in sides),
        Step("join", joiner, {"all": sides}),
        Step("last", adder, "join"),
    ]
    lethal = Plan("deadly", Piece, Piece, [Step("only", Agent("deadly", deadly, Piece, Piece))])
    return [Plan("mixed", Piece, Piece, steps, version=version), lethal]


def outcome(n: int) -> int:
    """Compute what the mixed plan makes of a number."""
    return WIDE * (n + 2) + 1


def tell_connections(settings: WorkerSettings) -> None:
    """Note every address that this process looks up or connects to from now on, in a set in Redis."""
    noting = redis.Redis.from_url(settings.redis_url.get_secret_value())
    noting.ping()

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo"):
            address = arguments[1] if event == "socket.connect" else arguments[0]
            where = address[0] if isinstance(address, tuple) else address
            noting.sadd(f"{settings.namespace}:connected", str(where).partition("/.s.PGSQL")[0])

    sys.addaudithook(hear)


@asynccontextmanager
async def equipment(settings: WorkerSettings) -> AsyncIterator[Equipment]:
    """Open what a worker process works with."""
    client = Redis.from_url(settings.redis_url.get_secret_value())
    if "TELLS_CONNECTIONS" in os.environ:
        tell_connections(settings)
    version = os.environ.get("PLAN_VERSION", "1")
    try:
        yield Equipment(
            plans=plans(client, settings.namespace, version), sink=Sink(client, settings.namespace)
        )
    finally:
        await client.aclose()
