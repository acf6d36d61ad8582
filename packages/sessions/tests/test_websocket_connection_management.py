"""What happens to a user's run is on the user's screens at once, and on nobody else's."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from netra_fixtures import (
    Goal,
    HalfOpen,
    Measured,
    Program,
    Reset,
    StartProgram,
    Tier,
    business_value,
    eventually,
    within,
)
from netra_sessions import CloseCode, Presence, Publisher, RealtimeClient, Sessions
from netra_sessions.events import DATA, AgentCompletedEvent, ToolCompletedEvent

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.RETENTION}, impact="users see their agents work instead of a spinner"
)

Open = Callable[..., Awaitable[Any]]
APP = "https://app.example.com"


def offered(token: str) -> dict[str, Any]:
    """Offer a token the way a browser can."""
    return {"subprotocols": ["netra.events.v1", f"netra.bearer.{token}"], "origin": APP}


def bearing(token: str, **more: str) -> dict[str, Any]:
    """Bear a token the way a program does."""
    return {"additional_headers": {"Authorization": f"Bearer {token}"}, **more}


async def test_websocket_connection_establishment_with_authentication(
    open_gateway: Open, sign_in: Open, sessions: Sessions
) -> None:
    """Only the holder of a token gets a connection, from our own pages, and keeps it as long as the session."""
    gateway = await open_gateway(origins=(APP,))
    alice, late = await sign_in("alice"), await sign_in("alice", lasting=timedelta(seconds=-1))
    refused = {}
    for name, how in {
        "nobody": {},
        "forged": bearing(f"{alice.token}0"),
        "not ASCII": offered("x.%FF"),
        "expired": bearing(late.token),
        "basic": {"additional_headers": {"Authorization": f"Basic {alice.token}"}},
        "foreign page": bearing(alice.token, origin="https://evil.example.com"),
    }.items():
        with pytest.raises(InvalidStatus) as caught:
            await connect(gateway.uri, **how)
        refused[name] = (caught.value.response.status_code, caught.value.response.body)

    async with connect(gateway.uri, **offered(alice.token)) as browser, within(seconds=10):
        greeting = json.loads(await browser.recv())
        await sessions.end(alice.issued.token)
        with pytest.raises(ConnectionClosed) as closed:
            await browser.recv()

    unauthorized = (401, b"Unauthorized\n")
    assert refused == {
        "nobody": unauthorized, "forged": unauthorized, "not ASCII": unauthorized, "expired": unauthorized,
        "basic": unauthorized, "foreign page": (403, b"Forbidden\n"),
    }  # fmt: skip
    assert (greeting["kind"], browser.subprotocol) == ("connected", "netra.events.v1")
    assert browser.response is not None
    assert alice.token not in str(browser.response)
    assert "Sec-WebSocket-Extensions" not in browser.response.headers
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (CloseCode.SESSION_ENDED, "signed out")


async def test_websocket_message_routing_to_correct_users(
    start_gateway: Open, sign_in: Open, publisher: Publisher, watch: Open
) -> None:
    """Whichever server a user's screens hang on, all of them show all of the user's events and no other's."""
    gateways = await asyncio.gather(start_gateway(), start_gateway())
    users = ["alice", "bob", "carol"]
    screens: list[tuple[str, RealtimeClient]] = []
    for user in users:
        signed_in = await sign_in(user)
        screens += [(user, await watch(gateway.uri, signed_in)) for gateway in gateways * 2]

    async def run(user: str) -> None:
        for number in range(20):
            data = {"agent": "triage", "thought": f"{user} {number}"}
            await publisher.emit("agent_thinking", user=user, run="r", event_id=f"{user}{number}", data=data)

    async with within(seconds=30):
        await asyncio.gather(*map(run, users))
        seen = [[(await screen.next()) for _ in range(20)] for _, screen in screens]

    for (user, _), events in zip(screens, seen, strict=True):
        assert [(event.user, event.data.thought) for event in events] == [
            (user, f"{user} {number}") for number in range(20)
        ]


async def test_websocket_connection_heartbeat_and_cleanup(
    open_gateway: Open, sign_in: Open, redis_client: Redis, namespace: str, start_gateway: Open
) -> None:
    """A screen that vanished without a word is let go, one that answers stays, and a killed server holds none."""
    lease = timedelta(seconds=2)
    gateway, healthy = [
        await open_gateway(heartbeat=timedelta(milliseconds=200), lease=lease) for _ in range(2)
    ]
    doomed = await start_gateway(policy__lease="PT2S")
    alice = await sign_in("alice")
    presence = Presence(redis_client, namespace, lease=lease, deadline=timedelta(seconds=10))

    async def registered(*connections: str) -> None:
        assert await presence.connections("alice") == set(connections)

    async with (
        connect(healthy.uri, **bearing(alice.token)) as stays,
        connect(doomed.uri, **bearing(alice.token)) as lost,
        connect(gateway.uri, **bearing(alice.token)) as vanishes,
    ):
        greetings = [json.loads(await one.recv()) for one in (stays, lost, vanishes)]
        ids = [greeting["connection"] for greeting in greetings]
        await registered(*ids)

        async with gateway.link.fault(HalfOpen()):
            await eventually(lambda: registered(*ids[:2]), seconds=20)
            assert gateway.gateway.connections == 0
        await doomed.end(9)
        await eventually(lambda: registered(ids[0]), seconds=20)

        assert healthy.gateway.connections == 1
        await (await stays.ping())


async def test_websocket_agent_event_delivery_pipeline(
    gateway: Any, sign_in: Open, publisher: Publisher, watch: Open
) -> None:
    """From the first thought to the result every step is shown, once and in order, though the line broke."""
    screen = await watch(gateway.uri, await sign_in("alice"))
    steps: list[tuple[str, dict[str, Any]]] = [
        ("agent_started", {"agent": "triage"}),
        ("agent_thinking", {"agent": "triage", "thought": "which bills?"}),
        ("tool_executing", {"tool": "bills", "call": "c1"}),
        ("tool_completed", {"tool": "bills", "call": "c1"}),
        ("partial_result", {"agent": "triage", "content": ["a", None]}),
        ("agent_failed", {"agent": "reporting", "error": "no access"}),
        ("agent_completed", {"agent": "triage", "result": {"savings": "12.50"}}),
    ]

    seen = []
    async with within(seconds=30):
        for number, (kind, data) in enumerate(steps):
            if number == 3:
                async with gateway.link.fault(Reset()):
                    await publisher.emit(kind, user="alice", run="r", event_id=f"{number}", data=data)
            else:
                await publisher.emit(kind, user="alice", run="r", event_id=f"{number}", data=data)
            seen.append(await screen.next())

    assert {kind for kind, _ in steps} == set(DATA)
    assert [(event.kind, event.sequence) for event in seen] == [
        (kind, number) for number, (kind, _) in enumerate(steps, start=1)
    ]
    assert isinstance(seen[3], ToolCompletedEvent)
    assert isinstance(seen[-1], AgentCompletedEvent)
    assert (seen[3].data.outcome, seen[-1].data.result) == ("completed", {"savings": "12.50"})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("screens", "events", "idle"), [(10, 50, 0), pytest.param(500, 50, 1_000, marks=pytest.mark.soak)]
)
async def test_websocket_connection_scaling_and_load_management(
    start_gateway: Open, start_load: Open, publisher: Publisher, sign_in: Open,
    measured: Measured, screens: int, events: int, idle: int, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """However many look at once, each sees all of their own, and the server grows by little for each."""
    gateway = await start_gateway()
    before = memory_bytes(gateway.process)
    idlers = await start_load(gateway.uri, [(await sign_in(f"idle{n}")).token for n in range(idle)], 1)
    loaded = await start_load(
        gateway.uri, [(await sign_in(f"user{n}")).token for n in range(screens)], events
    )
    each = (memory_bytes(gateway.process) - before) / (screens + idle)
    speaking = asyncio.Semaphore(10)  # what waits here for its turn is not late on the way

    async def run(number: int) -> None:
        for event in range(events):
            data = {"agent": "triage", "thought": "x" * 200}
            user = f"user{number}"
            async with speaking:
                await publisher.emit("agent_thinking", user=user, run="r", event_id=f"{event}", data=data)

    async with within(seconds=300):
        await asyncio.gather(*(run(number) for number in range(screens)))
        seen = json.loads(await loaded.stdout.readline())

    with capsys.disabled():
        print(f"\n{screens}+{idle} connections, {each / 1024:.0f} KiB each", end="")
    for late_ms in (ms for screen in seen for _, _, ms in screen):
        measured("event delivery", timedelta(milliseconds=max(0, late_ms)))
    for number, screen in enumerate(seen):
        assert [(user, id) for user, id, _ in screen] == [(f"user{number}", f"{n}") for n in range(events)]
    assert idlers.returncode is None
    assert each < 300 * 1024


def memory_bytes(process: Program) -> int:
    """Read how much memory a process holds."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    [resident] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(resident) * 1024


@pytest.fixture
def start_load(start_program: StartProgram) -> Open:
    """Open many screens in a process of their own."""

    async def start(uri: str, tokens: list[str], count: int) -> Program:
        process = await start_program(Path(__file__).with_name("load.py"))
        process.stdin.write(json.dumps({"uris": [uri], "tokens": tokens, "count": count}).encode() + b"\n")
        async with within(seconds=120):
            assert await process.stdout.readline() == b"ready\n"
        return process

    return start
