"""The gateway against a bare server of the same library that forwards what Redis announces."""

import asyncio
import resource
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

from figures import Figure, Limit, LimitOn
from kit import Kit, standing
from netra_sessions import Authentication, Gateway, GatewayPolicy, Publisher
from netra_sessions.session import Ending
from turns import Contender, Subject

ONE = Limit(on=LimitOn.RATIO_AT_MOST, bound=1.5)
ALL = Limit(on=LimitOn.RATIO_AT_LEAST, bound=0.7)
CONNECTIONS = (10, 100, 1_000)
EVENTS = 40  # to one user, in one turn
SHOWN = 2_000  # on all screens together, in one turn
FEWEST_EVENTS = 4  # in one turn, however many screens there are
DATA = {"agent": "triage", "thought": "x" * 300}
BODY = b"y" * 560  # as long as the frame of the event above

Publish = Callable[[str, int], Awaitable[object]]
Act = Callable[[Publish, list[ClientConnection]], Awaitable[float]]


@dataclass(frozen=True)
class Caller:
    """Whom a token speaks for."""

    user: str
    session: str
    expires_at: datetime


class Trusting:
    """Takes a token for its user: verifying is another subject."""

    def verify(self, token: str) -> Caller:
        """Believe the token."""
        return Caller(token, token, datetime.now(UTC) + timedelta(hours=1))


class Never:
    """No session ends."""

    def __aiter__(self) -> "Never":
        return self

    async def __anext__(self) -> Ending:
        await asyncio.Event().wait()
        raise StopAsyncIteration


@asynccontextmanager
async def no_endings() -> AsyncIterator[AsyncIterator[Ending]]:
    """Let no session end."""
    yield Never()


class Bare:
    """A server that forwards each channel to the connections that named it, and nothing else."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._followers: dict[bytes, set[ServerConnection]] = defaultdict(set)
        self._channels = redis.pubsub()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve, and give the address."""
        await self._channels.subscribe("bare:")
        forwarding = asyncio.create_task(self._forward())
        async with serve(self._follow, "127.0.0.1", 0, compression=None) as server:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        forwarding.cancel()
        await self._channels.aclose()

    async def _follow(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        user = connection.request.headers["Authorization"].removeprefix("Bearer ")
        channel = f"bare:{user}".encode()
        self._followers[channel].add(connection)
        await self._channels.subscribe(channel)
        await connection.send("hello")
        await connection.wait_closed()
        self._followers[channel].discard(connection)

    async def _forward(self) -> None:
        async for message in self._channels.listen():
            if message["type"] == "message":
                broadcast(self._followers[message["channel"]], message["data"], text=True)


async def connected(opened: AsyncExitStack, uri: str, users: list[str]) -> list[ClientConnection]:
    """Connect each user, past the greeting."""

    async def one(user: str) -> ClientConnection:
        bearer = {"Authorization": f"Bearer {user}"}
        connection = await connect(
            uri, additional_headers=bearer, compression=None, ping_interval=None, open_timeout=60
        )
        opened.callback(connection.transport.abort)
        await connection.recv()
        return connection

    found: list[ClientConnection] = []
    for start in range(0, len(users), 50):
        found += await asyncio.gather(*map(one, users[start : start + 50]))
    return found


async def p50(publish: Publish, clients: list[ClientConnection]) -> float:
    """Send one event after another, each to another user; return the median from call to screen, in ms."""
    taken = []
    for turn in range(EVENTS):
        number = turn % len(clients)
        began = time.perf_counter()
        sent = asyncio.ensure_future(publish(f"user{number}", turn))
        await clients[number].recv()
        taken.append(time.perf_counter() - began)
        await sent
    return sorted(taken)[EVENTS // 2] * 1000


async def rate(publish: Publish, clients: list[ClientConnection]) -> float:
    """Send events to one user with many screens; return how many arrive a second, all screens together."""

    events = max(FEWEST_EVENTS, SHOWN // len(clients))

    async def read(client: ClientConnection) -> None:
        for _ in range(events):
            await client.recv()

    began = time.perf_counter()
    reading = asyncio.gather(*map(read, clients))
    for turn in range(events):
        await publish("crowd", turn)
    await reading
    return len(clients) * events / (time.perf_counter() - began)


@dataclass(frozen=True)
class Server:
    """A way to publish, and the clients that look on."""

    uri: str
    publish: Publish


@asynccontextmanager
async def both(kit: Kit) -> AsyncIterator[tuple[Server, Server]]:
    """Start the gateway and the bare server beside each other."""
    async with AsyncExitStack() as opened:
        ours, bare = kit.redis.endpoint.client(), kit.redis.endpoint.client()
        opened.push_async_callback(ours.aclose)
        opened.push_async_callback(bare.aclose)
        policy = GatewayPolicy(connections_per_user=2 * max(CONNECTIONS), drain=timedelta(seconds=1))
        gateway = await opened.enter_async_context(
            Gateway(
                redis=ours, namespace="bench", authentication=Authentication(Trusting(), ()),
                endings=no_endings, policy=policy,
            )
        )  # fmt: skip
        publisher = await opened.enter_async_context(Publisher(redis=ours, namespace="bench"))
        numbers = iter(range(10**9))

        def publish(user: str, _: int) -> Awaitable[object]:
            event_id = f"{next(numbers)}"
            return publisher.publish("agent_thinking", user=user, run="r", event_id=event_id, data=DATA)

        def announce(user: str, _: int) -> Awaitable[object]:
            return bare.publish(f"bare:{user}", BODY)

        uri = await opened.enter_async_context(Bare(bare).serving())
        yield Server(gateway.uri, publish), Server(uri, announce)


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure one event to one user among many, and one to many screens."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    with standing(migrations=()) as kit, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            servers = runner.run(stack.enter_async_context(both(kit)))
            yield from _alone(subject, runner, servers)
            yield from _together(subject, runner, servers)
        finally:
            runner.run(stack.aclose())


def _alone(subject: Subject, runner: asyncio.Runner, servers: Sequence[Server]) -> Iterator[Figure]:
    """Measure one event to one of many users."""
    for count, measured in _growing(runner, servers, "user{}", p50, subject, turns=31, seconds=7):
        ours, plain = measured
        named = [("a bare server that forwards pub/sub", plain)]
        yield subject.figure(f"an event to one of {count:,} users, p50", ours, named, limit=ONE)


def _together(subject: Subject, runner: asyncio.Runner, servers: Sequence[Server]) -> Iterator[Figure]:
    """Measure one event to all screens of a user."""
    for count, measured in _growing(runner, servers, "crowd", rate, subject, turns=21, seconds=6):
        ours, plain = measured
        named = [("a bare server that forwards pub/sub", plain)]
        yield subject.figure(f"an event to {count:,} screens of one user", ours, named, limit=ALL, unit="/s")


def _growing(
    runner: asyncio.Runner, servers: Sequence[Server], user: str, act: Act, subject: Subject, *,
    turns: int, seconds: float,
) -> Iterator[tuple[int, list[list[float]]]]:  # fmt: skip
    """Let the servers take turns with ever more connections, which are closed at the end."""
    stack = AsyncExitStack()
    screens: list[list[ClientConnection]] = [[] for _ in servers]
    try:
        for count in CONNECTIONS:
            for server, open_ones in zip(servers, screens, strict=True):
                users = [user.format(number) for number in range(len(open_ones), count)]
                open_ones += runner.run(connected(stack, server.uri, users))
            contenders = [
                _contender(runner, act, one.publish, some) for one, some in zip(servers, screens, strict=True)
            ]
            yield count, subject.in_turns(*contenders, turns=turns, seconds=seconds, warmup=2)
    finally:
        runner.run(stack.aclose())


def _contender(
    runner: asyncio.Runner, act: Act, publish: Publish, clients: list[ClientConnection]
) -> Contender:
    async def once() -> float:
        return await act(publish, clients)

    return lambda: runner.run(once())
