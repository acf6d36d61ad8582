"""One screen takes no more than its share, whatever it does or leaves undone."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from netra_fixtures import (
    Bandwidth,
    Cut,
    Goal,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)
from netra_sessions import (
    CloseCode,
    HandshakeRefused,
    Presence,
    Publisher,
    RealtimeClient,
    SessionEnded,
    Sessions,
)

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="one user's bad line or program is no other user's outage"
)

Open = Callable[..., Awaitable[Any]]


def screen(uri: str, token: Callable[[], str], **options: Any) -> connect:
    """Connect without a client that resumes."""
    return connect(uri, additional_headers={"Authorization": f"Bearer {token()}"}, **options)


async def goodbye(socket: ClientConnection) -> tuple[int, str]:
    """Read to the end, and return the code and the reason."""
    async with within(seconds=20):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


async def test_a_reader_that_stops_holds_bounded_memory_and_nobody_up(
    start_gateway: Open, sign_in: Open, publisher: Publisher, watch: Open
) -> None:
    """A laptop that went to sleep costs the server a megabyte, and resumes where it was."""
    gateway = await start_gateway(policy__deadline="PT30S")
    alice = await sign_in("alice")
    healthy = await watch(gateway.uri, alice)
    stalled = [await screen(gateway.uri, alice, max_queue=1, max_size=None) for _ in range(4)]
    before = memory_bytes(gateway.process.pid)
    said = {"agent": "triage", "content": "x" * 30_000}

    peak = 0
    async with within(seconds=40):
        for number in range(400):
            await publisher.emit("partial_result", user="alice", run="r", event_id=f"{number}", data=said)
            assert (await healthy.next()).event_id == f"{number}"
            peak = max(peak, memory_bytes(gateway.process.pid) - before)
    code, reason = await goodbye(stalled[0])
    for socket in stalled:
        socket.transport.abort()
    [resume] = re.findall(r"resume after (\S+)$", reason)
    again = await watch(gateway.uri, alice, after=resume)
    async with within(seconds=10):
        following = await again.next()

    assert code == CloseCode.TOO_SLOW
    assert following.previous == resume
    assert peak < 4 * 3 * 2**20, f"{peak:,} bytes for 48 million written to four readers that stopped"


async def test_who_reads_a_long_history_slowly_is_alive(
    open_gateway: Open, sign_in: Open, publisher: Publisher
) -> None:
    """A bad line takes minutes to show a long run, and is not taken for a dead one meanwhile."""
    gateway = await open_gateway(heartbeat=timedelta(milliseconds=500))
    said = {"agent": "triage", "content": "x" * 32_000}
    for start in range(0, 600, 100):
        numbers = range(start, start + 100)
        events = ({"user": "alice", "run": "r", "event_id": f"{number}", "data": said} for number in numbers)
        await asyncio.gather(*(publisher.emit("partial_result", **event) for event in events))  # type: ignore[arg-type]

    async with (
        within(seconds=40),
        screen(f"{gateway.uri}?after=0-0", await sign_in("alice"), max_queue=1) as slow,
    ):
        await slow.recv()
        async with gateway.link.fault(Bandwidth(1_000_000)):
            sequences = [json.loads(await slow.recv())["sequence"] for _ in range(60)]
        sequences += [json.loads(await slow.recv())["sequence"] for _ in range(540)]

    assert sequences == list(range(1, 601))


async def test_a_client_that_reads_no_answers_is_cut_off(start_gateway: Open, sign_in: Open) -> None:
    """Each ping of the protocol is answered at once; who asks and never listens can't fill the server with answers."""
    gateway = await start_gateway(policy__deadline="PT30S")
    deaf = await screen(gateway.address, await sign_in("alice"), max_queue=1)
    await deaf.recv()
    deaf.transport.pause_reading()
    before, peak = memory_bytes(gateway.process.pid), 0
    pings = Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 20_000

    async def closed() -> None:
        nonlocal peak
        deaf.transport.write(pings)  # also after the end: who doesn't read notices it when writing
        peak = max(peak, memory_bytes(gateway.process.pid) - before)
        assert deaf.close_code is not None

    await eventually(closed, seconds=20)
    assert peak < 16 * 2**20, f"{peak:,} bytes for answers that nobody reads"


async def test_all_that_connect_at_once_are_let_in(open_gateway: Open, sign_in: Open) -> None:
    """When a server goes away its users come to the next one all together, and find it ready."""
    gateway = await open_gateway()
    tokens = [await sign_in(f"user{number}") for number in range(150)]

    async def greeting(token: Callable[[], str]) -> str:
        async with screen(gateway.gateway.uri, token, open_timeout=30) as socket:
            return str(await socket.recv())

    async with within(seconds=40):
        greetings = await asyncio.gather(*map(greeting, tokens))

    assert all("connected" in one for one in greetings)


def memory_bytes(pid: int) -> int:
    """Read how much memory a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [resident] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(resident) * 1024


async def test_a_user_has_at_most_so_many_connections_on_all_gateways(
    open_gateway: Open, sign_in: Open
) -> None:
    """A program that connects in a loop locks out nobody but itself."""
    gateways = [await open_gateway(connections_per_user=2) for _ in range(2)]
    alice, bob = await sign_in("alice"), await sign_in("bob")

    async with screen(gateways[0].uri, alice) as first, screen(gateways[1].uri, alice) as second:
        await asyncio.gather(first.recv(), second.recv())
        async with screen(gateways[0].uri, alice) as third, screen(gateways[0].uri, bob) as other:
            refused = await goodbye(third)
            greeting = await other.recv()

    async def let_in_again() -> None:
        async with screen(gateways[1].uri, alice) as later:
            try:
                assert "connected" in await later.recv()
            except ConnectionClosed as error:
                raise AssertionError("that the others left is not known yet") from error

    await eventually(let_in_again, seconds=10)
    assert refused == (CloseCode.TOO_MANY_CONNECTIONS, "too many connections")
    assert "connected" in greeting


async def test_a_connection_whose_lease_lapsed_makes_room(redis_client: Redis, namespace: str) -> None:
    """What a killed server had counted keeps nobody out for longer than the lease."""
    presence = Presence(
        redis_client, namespace, lease=timedelta(milliseconds=500), deadline=timedelta(seconds=10)
    )
    await presence.enter("alice", "lost", most=3)

    async def lapsed() -> None:
        await presence.enter("alice", "stays", most=3)
        assert await presence.connections("alice") == {"stays"}

    await eventually(lapsed, seconds=10)

    assert await presence.enter("alice", "new", most=2)


class Failing:
    """A verifier that can't verify."""

    def verify(self, token: str) -> Any:
        """Fail as one does that lost its store."""
        raise RuntimeError(f"no keys for {token}")


async def test_a_verifier_that_fails_lets_nobody_in(open_gateway: Open, sign_in: Open) -> None:
    """Where it can't be known who somebody is, nobody is let in, and the answer tells nothing."""
    gateway = await open_gateway(verifier=Failing())

    with pytest.raises(InvalidStatus) as refused:
        await screen(gateway.uri, await sign_in("alice"))

    assert refused.value.response.status_code == 503
    assert refused.value.response.body == b"Service Unavailable\n"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/events?after=x", 400),
        ("/events?after=1-99999999999999999999", 400),
        ("/events/more", 404),
        ("//[", 404),
    ],
)
async def test_what_can_not_be_asked_for_is_refused(
    gateway: Any, sign_in: Open, target: str, status: int
) -> None:
    """A wrong address is a clear answer, and never reaches Redis."""
    with pytest.raises(InvalidStatus) as refused:
        await screen(gateway.uri.removesuffix("/events") + target, await sign_in("alice"))

    assert refused.value.response.status_code == status


async def test_a_gateway_without_redis_says_try_again(
    linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint], open_gateway: Open, sign_in: Open
) -> None:
    """A screen that can't be given its events is told so in time, instead of staying blank."""
    gateway = await open_gateway(redis=linked_redis, deadline=timedelta(milliseconds=300))

    async with redis_link.fault(Cut()), screen(gateway.uri, await sign_in("alice")) as socket:
        code, _ = await goodbye(socket)

    assert code == CloseCode.UNAVAILABLE


async def test_a_session_that_ended_a_moment_ago_gets_no_connection(
    gateway: Any, sign_in: Open, sessions: Sessions
) -> None:
    """The token of a user who signed out may hold for minutes; the door is closed at once."""
    alice = await sign_in("alice")
    async with screen(gateway.uri, alice) as socket:
        await sessions.end(alice.issued.token)
        await goodbye(socket)

    async with screen(gateway.uri, alice) as late:
        code, reason = await goodbye(late)

    assert (code, reason) == (CloseCode.SESSION_ENDED, "signed out")


async def test_a_client_gives_up_when_its_session_is_over_and_not_before(
    gateway: Any, sign_in: Open, sessions: Sessions, watch: Open
) -> None:
    """A client that goes on for ever after the end would be load without use."""
    alice = await sign_in("alice")
    client = await watch(gateway.uri, alice)

    await sessions.end(alice.issued.token)
    async with within(seconds=10):
        with pytest.raises(SessionEnded) as ended:
            await client.next()
        with pytest.raises(HandshakeRefused):
            await RealtimeClient(gateway.uri, lambda: "forged").__aenter__()

    assert ended.value.reason.value == "signed out"


async def test_a_fresh_token_carries_a_screen_past_the_old_ones_end(
    gateway: Any, sign_in: Open, publisher: Publisher, watch: Open
) -> None:
    """Access tokens live for minutes, screens for days."""
    asked = 0
    short, long = await sign_in("alice", lasting=timedelta(seconds=1)), await sign_in("alice")

    def token() -> str:
        nonlocal asked
        asked += 1
        return (short if asked == 1 else long).token

    client = await watch(gateway.uri, token)
    waiting = asyncio.create_task(client.next())

    def renewed() -> None:
        assert asked == 2

    await eventually(renewed, seconds=10)
    await publisher.emit("agent_started", user="alice", run="r", event_id="1", data={"agent": "triage"})
    async with within(seconds=10):
        event = await waiting

    assert event.event_id == "1"
