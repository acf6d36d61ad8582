"""A WebSocket link is spoiled like any other, and the frames that pass it are evidence."""

import pytest
from websockets.frames import Frame, Opcode

from netra_fixtures.tap.counting import COLUMNS, COUNTERS
from netra_fixtures.tap.websocket import LONGEST_HEAD, WebSocketConversation

from .runs import Run

ASKED = b"GET /orders HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"
SHOP = """
import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from netra_fixtures import Bandwidth, Cut, HalfOpen, Jitter, Latency, Reset, SlowClose

async def echo(socket):
    async for message in socket:
        await socket.send(message)

@asynccontextmanager
async def shop(handler=echo, **options):
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/orders?of=today"
"""


def sample(direction: str) -> tuple[bytes, int, int]:
    """Give the bytes of a conversation in one direction, its data frames and its control frames."""
    nested = Frame(Opcode.TEXT, b"within").serialize(mask=False)
    frames = [
        Frame(Opcode.TEXT, b"a book"),
        Frame(Opcode.BINARY, nested * 30),  # 16 bits of length
        Frame(Opcode.PING, b""),
        Frame(Opcode.BINARY, nested * 9000),  # 64 bits of length
        Frame(Opcode.TEXT, b"two", fin=False),
        Frame(Opcode.PONG, b"still here"),
        Frame(Opcode.CONT, b" halves"),
        Frame(Opcode.TEXT, b""),
        Frame(Opcode.CLOSE, b"\x03\xe8"),
    ]
    return b"".join(frame.serialize(mask=direction == "sent") for frame in frames), 6, 3


def conversation() -> tuple[WebSocketConversation, memoryview]:
    counts = memoryview(bytearray(COLUMNS * 8)).cast("Q")
    return WebSocketConversation(counts, {}), counts


def counted(counts: memoryview) -> dict[str, int]:
    return dict(zip(COUNTERS["websocket"], counts, strict=False))


@pytest.mark.parametrize("direction", ["sent", "received"])
@pytest.mark.parametrize("packet_bytes", [1, 7, 1000, 1_000_000])
def test_frames_are_counted_however_they_are_cut_into_packets(direction: str, packet_bytes: int) -> None:
    """A count that depends on how the network cuts would prove nothing."""
    talk, counts = conversation()
    data, frames, control_frames = sample(direction)
    answer = ACCEPTED + data if direction == "received" else ACCEPTED

    for packets, take in ((ASKED, talk.sent), (answer, talk.received)):
        for start in range(0, len(packets), packet_bytes):
            take(packets[start : start + packet_bytes])
    if direction == "sent":
        for start in range(0, len(data), packet_bytes):
            talk.sent(data[start : start + packet_bytes])

    assert counted(counts) == {
        "connections": 1, "frames": frames, "control_frames": control_frames, "refused": 0
    }  # fmt: skip


def test_frames_that_a_client_sends_too_early_are_counted_once_it_is_let_in() -> None:
    """A hasty client is relayed as it is, so it is counted as it is."""
    talk, counts = conversation()
    data, frames, control_frames = sample("sent")

    talk.sent(ASKED + data[:10])
    talk.received(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ACCEPTED)
    talk.sent(data[10:])

    assert (counted(counts)["frames"], counted(counts)["control_frames"]) == (frames, control_frames)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 Unauthorized\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
    ],
    ids=["unauthorized", "no upgrade", "another protocol"],
)
def test_a_refused_upgrade_is_no_websocket(answer: bytes) -> None:
    """What is said on a connection that stayed HTTP are no frames, whatever it looks like."""
    talk, counts = conversation()
    data, _, _ = sample("sent")

    talk.sent(ASKED)
    talk.received(answer + data)
    talk.sent(data)

    assert counted(counts) == {"connections": 0, "frames": 0, "control_frames": 0, "refused": 1}


@pytest.mark.parametrize("side", ["sent", "received"])
def test_a_head_without_an_end_is_given_up(side: str) -> None:
    """What isn't HTTP must not be kept in memory for ever."""
    talk, _ = conversation()

    with pytest.raises(ValueError, match="upgrade"):
        getattr(talk, side)(b"x" * (LONGEST_HEAD + 1))


def test_the_report_counts_the_frames_of_each_test(run: Run) -> None:
    """Frames are evidence like rows and commands, of the test they passed in, both ways."""
    outcome = run(
        SHOP
        + """
async def test_talks(websocket_link):
    async with shop() as uri, websocket_link(uri) as link, connect(link.uri, ping_interval=None) as client:
        assert client.request.path == "/orders?of=today"
        for size in (1, 200, 100_000):
            await client.send("x" * size)
            assert len(await client.recv()) == size

async def test_is_let_in_and_thrown_out(websocket_link):
    async def throw_out(socket):
        await socket.close(4001)

    async with shop(throw_out) as uri, websocket_link(uri) as link, connect(link.uri) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()

async def test_is_refused(websocket_link):
    def refuse(connection, request):
        return connection.respond(HTTPStatus.UNAUTHORIZED, "who are you?")

    async with shop(process_request=refuse) as uri, websocket_link(uri) as link:
        with pytest.raises(InvalidStatus):
            await connect(link.uri)
""",
        "-m", "integration",
    )  # fmt: skip

    outcome.result.assert_outcomes(passed=3)
    seen = {name: outcome.test(name)["evidence"]["websocket"] for name in ("talks", "thrown_out", "refused")}
    assert seen == {
        "talks": {"connections": 1, "frames": 6, "control_frames": 2, "refused": 0},
        "thrown_out": {"connections": 1, "frames": 0, "control_frames": 2, "refused": 0},
        "refused": {"connections": 0, "frames": 0, "control_frames": 0, "refused": 1},
    }
    assert "6 frames, 4 frames of control, 2 connections, 1 upgrade refused" in outcome.text


def test_a_test_that_asks_for_a_websocket_link_and_opens_none_fails(run: Run) -> None:
    """A test that never reaches its server would pass whatever the server does."""
    outcome = run("async def test_idle(websocket_link):\n    pass\n")

    outcome.result.assert_outcomes(failed=1)
    assert "asks for websocket and sends it nothing" in outcome.text


def test_each_fault_spoils_a_websocket_and_is_gone_after_it(run: Run) -> None:
    """A realtime client meets the same troubles as one of a database, and comes back after each."""
    outcome = run(
        SHOP
        + """
SECONDS = timedelta(seconds=1)

@pytest.mark.parametrize("fault", [Latency(3600 * SECONDS), Bandwidth(1), HalfOpen()])
async def test_silence(websocket_link, fault):
    async with shop() as uri, websocket_link(uri) as link:
        async with connect(link.uri, close_timeout=0.1) as client:
            async with link.fault(fault):
                await client.send("is anybody there?")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await client.recv()
        await answers(link)

@pytest.mark.parametrize("fault", [Cut(), Reset()])
async def test_loss(websocket_link, fault):
    async with shop() as uri, websocket_link(uri) as link:
        async with connect(link.uri) as client:
            async with link.fault(fault):
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                with pytest.raises((OSError, InvalidMessage)):
                    await connect(link.uri)
        await answers(link)

async def test_lateness(websocket_link):
    now = asyncio.get_running_loop().time
    async with shop() as uri, websocket_link(uri) as link, connect(link.uri) as client:
        async with link.fault(Latency(0.1 * SECONDS)), link.fault(Jitter(0.1 * SECONDS)):
            asked = now()
            await client.send("hello")
            assert await client.recv() == "hello"
            assert now() - asked >= 0.2
        await answers(link)

async def test_a_slow_close(websocket_link):
    gone = asyncio.Event()

    async def watch(socket):
        await socket.wait_closed()
        gone.set()

    async with shop(watch) as uri, websocket_link(uri) as link:
        client = await connect(link.uri, close_timeout=0.1)
        async with link.fault(SlowClose(3600 * SECONDS)):
            client.transport.abort()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await gone.wait()
        await gone.wait()

async def answers(link):
    async with connect(link.uri) as client:
        await client.send("hello")
        assert await client.recv() == "hello"
"""
    )

    outcome.result.assert_outcomes(passed=7)


def test_what_is_no_websocket_address_and_what_is_closed_says_so(run: Run) -> None:
    """A slip is one clear sentence."""
    outcome = run(
        SHOP
        + """
async def test_refusals(websocket_link):
    for uri in ("wss://127.0.0.1:1/", "http://127.0.0.1:1/", "ws:///orders"):
        with pytest.raises(ValueError, match="leads to ws://host:port/path"):
            async with websocket_link(uri):
                pass
    async with shop() as uri, websocket_link(uri) as link, connect(link.uri) as client:
        pass
    with pytest.raises(RuntimeError, match="use it inside its block"):
        async with link.fault(Cut()):
            pass
    with pytest.raises(ConnectionRefusedError):
        await connect(link.uri)
"""
    )

    outcome.result.assert_outcomes(passed=1)


def test_links_of_two_workers_never_meet(run: Run) -> None:
    """Who connects to one's own link reaches one's own server, however many are open beside it."""
    outcome = run(
        SHOP
        + """
import os
from contextlib import AsyncExitStack
from pathlib import Path

@pytest.mark.parametrize("number", [0, 1])
async def test_many(websocket_link, number):
    async def tell(socket):
        await socket.send(str(os.getpid()))

    async with shop(tell) as uri, AsyncExitStack() as stack:
        links = [await stack.enter_async_context(websocket_link(uri)) for _ in range(50)]
        Path(f"open{number}").touch()
        while not Path(f"open{1 - number}").exists():
            await asyncio.sleep(0.01)
        for link in links:
            async with connect(link.uri) as client:
                assert await client.recv() == str(os.getpid())
        assert len({link.uri for link in links}) == 50
        Path(f"done{number}").touch()
        while not Path(f"done{1 - number}").exists():
            await asyncio.sleep(0.01)
""",
        "-n", "2", "--dist", "load", "--timeout", "40",
    )  # fmt: skip

    outcome.result.assert_outcomes(passed=2)
    assert {test["worker"] for test in outcome.report["tests"]} == {"gw0", "gw1"}
