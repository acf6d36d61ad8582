"""A gateway starts whole or not at all, survives what it meets, and ends in time with nothing left behind."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.server import ServerConnection, broadcast, unix_serve

from netra_fixtures import (
    Goal,
    HalfOpen,
    RedisEndpoint,
    ServiceLink,
    Tier,
    WebSocketLinkFactory,
    business_value,
    eventually,
    within,
)
from netra_sessions import Authentication, CloseCode, Gateway, GatewayPolicy, Presence, Publisher, Sessions
from netra_sessions.screen import Screen
from netra_sessions.session import Ending

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="a server that is in trouble says so and takes nobody along",
)

Open = Callable[..., Awaitable[Any]]


def bearing(token: str) -> dict[str, Any]:
    """Bear a token the way a program does."""
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


@dataclass(frozen=True)
class Caller:
    """Whom a token speaks for."""

    user: str
    session: str
    expires_at: datetime


class Trusting:
    """Takes a token for its user."""

    def verify(self, token: str) -> Caller:
        """Believe the token."""
        return Caller(token, token, datetime.now(UTC) + timedelta(hours=1))


def unentered(redis: Redis, namespace: str, endings: Any, **options: Any) -> Gateway:
    """Make a gateway that the test enters itself."""
    authentication = Authentication(Trusting(), refusals=())
    return Gateway(
        redis=redis, namespace=namespace, authentication=authentication, endings=endings, **options
    )


async def connections_of(redis: Redis, namespace: str) -> int:
    """Count the connections to Redis that carry the test's name."""
    return sum(one["name"] == f"{namespace}-named" for one in await redis.client_list())


@pytest.fixture
async def named_redis(redis_endpoint: RedisEndpoint, namespace: str) -> AsyncIterator[Redis]:
    """A client whose connections, and those opened beside it, can be told from others at the server."""
    client = Redis.from_url(redis_endpoint.url, client_name=f"{namespace}-named")
    yield client
    await client.aclose()


@asynccontextmanager
async def never_opened() -> AsyncIterator[AsyncIterator[Ending]]:
    """Wait for endings that can't be opened."""
    await asyncio.Event().wait()
    yield  # type: ignore[misc]


@asynccontextmanager
async def short_lived() -> AsyncIterator[AsyncIterator[Ending]]:
    """Give endings that end."""

    async def nothing() -> AsyncIterator[Ending]:
        for none in ():
            yield none

    yield nothing()


async def test_a_gateway_that_can_not_have_its_address_leaves_no_connection(
    gateway: Any, sessions: Any, named_redis: Redis, redis_client: Redis, namespace: str
) -> None:
    """A process that tries again until the port is free must not fill Redis with connections meanwhile."""
    taken = urlsplit(gateway.gateway.uri).port
    second = unentered(named_redis, namespace, sessions.endings, port=taken)

    with pytest.raises(OSError, match="address already in use"):
        await second.__aenter__()

    assert await connections_of(redis_client, namespace) == 0


async def test_a_start_that_is_given_up_leaves_nothing_behind(
    named_redis: Redis, redis_client: Redis, namespace: str
) -> None:
    """Who stops waiting for a gateway does not get one later, in the dark."""
    tasks = asyncio.all_tasks()
    gateway = unentered(named_redis, namespace, never_opened)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await gateway.__aenter__()

    assert asyncio.all_tasks() == tasks
    assert await connections_of(redis_client, namespace) == 0


async def test_a_gateway_that_no_longer_hears_of_endings_ends(redis_client: Redis, namespace: str) -> None:
    """A server that goes on without hearing who signed out would keep their screens open; it stops instead."""
    gateway = unentered(redis_client, namespace, short_lived)

    with pytest.raises(ExceptionGroup) as ended:
        async with within(seconds=10), gateway:
            await gateway.closed()

    assert "endings" in str(ended.value.exceptions[0])


async def test_a_drain_does_not_wait_for_who_never_said_a_word(open_gateway: Open, sign_in: Open) -> None:
    """A deployment is not held up by a line that was opened and then forgotten."""
    served = await open_gateway(deadline=timedelta(seconds=1), drain=timedelta(seconds=1))
    address = urlsplit(served.gateway.uri)
    _, silent = await asyncio.open_connection(address.hostname, address.port)
    async with connect(served.uri, **bearing((await sign_in("alice")).token)) as socket:
        await socket.recv()

        async with within(seconds=8):
            await served.gateway.__aexit__(None, None, None)

    silent.close()


async def test_a_drain_that_is_given_up_leaves_nothing_behind(
    redis_client: Redis, namespace: str, sessions: Sessions, websocket_link: WebSocketLinkFactory
) -> None:
    """Who can't wait for the last goodbyes gets a gateway that is gone, and not one that lives on in the dark."""
    tasks, patient = asyncio.all_tasks(), timedelta(minutes=5)
    policy = GatewayPolicy(deadline=patient, drain=patient)
    gateway = unentered(redis_client, namespace, sessions.endings, policy=policy)
    await gateway.__aenter__()
    async with websocket_link(gateway.uri) as link, connect(link.uri, **bearing("alice")) as socket:
        await socket.recv()

        async with link.fault(HalfOpen()), within(seconds=20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await gateway.__aexit__(None, None, None)

        assert gateway.connections == 0
        socket.transport.abort()

    def ended() -> None:
        assert asyncio.all_tasks() <= tasks

    await eventually(ended, seconds=10)


@pytest.mark.parametrize("after", ["0-0", "1-0"])
async def test_an_entry_that_can_not_be_read_costs_others_nothing(
    gateway: Any,
    sign_in: Open,
    publisher: Publisher,
    redis_client: Redis,
    namespace: str,
    watch: Open,
    after: str,
) -> None:
    """A history that another program wrote into closes its own user's screens, with a reason, and no one else's."""
    await redis_client.xadd(f"{namespace}:events:alice", {"not": "an event"})
    bob = await watch(gateway.uri, await sign_in("bob"))

    bearer = bearing((await sign_in("alice")).token)
    async with within(seconds=10), connect(f"{gateway.uri}?after={after}", **bearer) as alice:
        await alice.wait_closed()
    await publisher.emit("agent_started", user="bob", run="r", event_id="1", data={"agent": "triage"})
    async with within(seconds=10):
        event = await bob.next()

    assert alice.close_code == CloseCode.FAILED
    assert event.event_id == "1"


async def test_a_redis_that_falls_silent_is_given_up(
    linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint], open_gateway: Open, sign_in: Open,
    publisher: Publisher, redis_client: Redis,
) -> None:  # fmt: skip
    """A line that looks open and carries nothing is noticed, though nobody asks anything of it."""
    gateway = await open_gateway(redis=linked_redis, deadline=timedelta(seconds=1))
    numbers = itertools.count()

    async def reads() -> int:
        stats = await redis_client.info("commandstats")
        return int(stats.get("cmdstat_xrange", {}).get("calls", 0))

    def tried_again() -> None:
        assert redis_link.link.connections > before

    async with connect(gateway.uri, **bearing((await sign_in("alice")).token)) as socket:
        await socket.recv()

        async def settled() -> None:
            read, event_id = await reads(), f"{next(numbers)}"
            await publisher.emit(
                "agent_started", user="alice", run="r", event_id=event_id, data={"agent": "a"}
            )
            await socket.recv()
            assert await reads() == read, "the event was read, and not announced"

        await eventually(settled, seconds=20)
        before = redis_link.link.connections
        async with redis_link.fault(HalfOpen()):
            await eventually(tried_again, seconds=20)


class Slow(Redis):
    """A client whose pipelines wait for the test before they are sent."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.waiting: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Make one that waits."""
        waiting = self.waiting

        class Waits(Pipeline):
            async def execute(self, raise_on_error: bool = True) -> list[Any]:
                go_on = asyncio.Event()
                waiting.put_nowait(go_on)
                await go_on.wait()
                return await super().execute(raise_on_error)

        return Waits(self.connection_pool, self.response_callbacks, transaction, shard_hint)


@pytest.fixture
async def slow(redis_endpoint: RedisEndpoint) -> AsyncIterator[Slow]:
    """A client whose pipelines wait."""
    client = Slow.from_url(redis_endpoint.url)
    yield client
    await client.aclose()


async def test_a_screen_that_leaves_while_leases_are_renewed_is_not_put_back(
    slow: Slow, open_gateway: Open, sign_in: Open, redis_client: Redis, namespace: str
) -> None:
    """A user who closed a window isn't refused another one because of it."""
    lease = timedelta(seconds=1.5)
    gateway = await open_gateway(redis=slow, lease=lease)
    presence = Presence(redis_client, namespace, lease=lease, deadline=timedelta(seconds=10))

    async def gone() -> None:
        assert await presence.connections("alice") == frozenset()

    async with connect(gateway.uri, **bearing((await sign_in("bob")).token)) as stays, within(seconds=20):
        await stays.recv()
        async with connect(gateway.uri, **bearing((await sign_in("alice")).token)) as leaves:
            await leaves.recv()
            renewal = await slow.waiting.get()
        await eventually(gone, seconds=10)
        renewal.set()
        (await slow.waiting.get()).set()  # the next round: the one before is over
        left = await presence.connections("alice")

    assert left == frozenset()


async def test_a_screen_that_is_gone_can_be_cut_off(tmp_path: Path) -> None:
    """A drain that cuts off whom it finds must not stumble over one that closed by itself a moment before."""
    met: asyncio.Future[Screen] = asyncio.get_running_loop().create_future()
    parted = asyncio.Event()

    async def meet(screen: ServerConnection) -> None:
        assert isinstance(screen, Screen)
        met.set_result(screen)
        await parted.wait()  # else the library cuts it off first

    path = str(tmp_path / "gateway.sock")
    async with within(seconds=20), unix_serve(meet, path, create_connection=Screen, compression=None):
        async with unix_connect(path, compression=None) as client:
            screen = await met
            socket_of(screen).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            broadcast([screen], "a" * 40_000)
            assert screen.unread_bytes > 0
            screen.transport.close()  # once its rest is sent
            assert len(await client.recv()) == 40_000
        await screen.wait_closed()

        screen.abort()
        parted.set()


def socket_of(screen: Screen) -> socket.socket:
    """Return the socket below a connection."""
    found: socket.socket = screen.transport.get_extra_info("socket")
    return found
