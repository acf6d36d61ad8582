"""A link carries bytes as they are, in both directions to their end, and leaves nothing behind."""

import asyncio
import gc
import socket
from collections.abc import Set
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from netra_fixtures.faults import Bandwidth, Cut, Fault, Link
from netra_fixtures.passage import UNDER_WAY_BYTES, ActiveFaults
from netra_fixtures.relay import Connection
from netra_fixtures.waiting import eventually, within

from .lines import FOREVER, Connect, Server, free_address, serving


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_bytes_pass_unchanged_in_both_directions(kind: str, tmp_path: Path, connect: Connect) -> None:
    """A link without a fault must not be noticed, whatever passes, to either kind of address."""
    sent = Random(7).randbytes(3_000_000)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(10_000):
            writer.write(chunk)
            await writer.drain()

    async with (
        serving(echo, tmp_path / "s" if kind == "unix" else None) as address,
        Link(address, seed=1) as link,
        within(seconds=20),
    ):
        client = await connect(link.endpoint)
        client.writer.write(sent)
        client.writer.write_eof()
        received = await client.reader.read()

    assert received == sent


async def test_an_end_in_one_direction_leaves_the_other_open(connect: Connect) -> None:
    """Protocols that end their request before they read the answer work through a link too."""

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read()
        writer.write(b"heard " + request)

    async with serving(answer_at_the_end) as address, Link(address, seed=1) as link, within(seconds=10):
        client = await connect(link.endpoint)
        client.writer.write(b"all of it")
        client.writer.write_eof()

        assert await client.reader.read() == b"heard all of it"


async def test_a_server_that_says_no_more_still_listens(connect: Connect) -> None:
    """A goodbye of the server must not cut off what its client has yet to say."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def say_goodbye_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"goodbye")
        writer.write_eof()
        heard.put_nowait(await reader.read())

    async with serving(say_goodbye_first) as address, Link(address, seed=1) as link, within(seconds=10):
        client = await connect(link.endpoint)
        goodbye = await client.reader.read()
        client.writer.write(b"last words")
        client.writer.write_eof()

        assert (goodbye, await heard.get()) == (b"goodbye", b"last words")


async def test_a_server_that_still_sends_learns_that_its_client_is_gone(connect: Connect) -> None:
    """Else a server would send for ever to somebody who closed the page."""
    gone: asyncio.Queue[None] = asyncio.Queue()

    async def send_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()  # a client that has read all it was sent leaves with an end, not with a reset
        try:
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            gone.put_nowait(None)

    async with serving(send_without_end) as address, Link(address, seed=1) as link, within(seconds=20):
        client = await connect(link.endpoint)
        await client.reader.readexactly(5)
        client.writer.close()
        await gone.get()
        await eventually(lambda: _none_open(link), seconds=10)


async def test_what_was_sent_before_the_end_arrives_at_a_slow_reader() -> None:
    """An answer is whole although the link saw both ends before the reader had taken it all."""
    sent = Random(7).randbytes(8_000_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    async with serving(answer) as address, Link(address, seed=1) as link, within(seconds=20):
        with socket.socket() as slow:
            slow.setblocking(False)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
            await asyncio.get_running_loop().sock_connect(slow, link.endpoint)
            slow.shutdown(socket.SHUT_WR)
            received = bytearray()
            while chunk := await asyncio.get_running_loop().sock_recv(slow, 20_000):
                received += chunk
                await asyncio.sleep(0)

    assert bytes(received) == sent


@pytest.mark.parametrize("size_bytes", [0, 1, 40_000])
async def test_a_connection_that_ends_with_bytes_to_send_ends_well(size_bytes: int) -> None:
    """What still lies in the link's own memory when both ends have said all they had to say goes out too."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(size_bytes))

    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    async with serving(answer) as address, within(seconds=20):
        connection = Connection(address, far, ActiveFaults(1, lambda: None), 1)
        reader, writer = await asyncio.open_connection(sock=near)
        writer.write_eof()
        received = await reader.read()
        writer.close()
        await connection.task

    assert len(received) == size_bytes


async def test_an_end_and_a_reset_reach_the_server_as_what_they_are(
    server: Server, link: Link, connect: Connect
) -> None:
    """A server that tells the two apart is tested with the one that happened."""
    leaving, breaking = await connect(link.endpoint), await connect(link.endpoint)
    assert await leaving.is_answered()
    assert await breaking.is_answered()

    async with within(seconds=10):
        leaving.writer.close()
        first = await server.endings.get()
        breaking.break_off()
        second = await server.endings.get()

    assert (first, second) == ("end", "reset")


@pytest.mark.parametrize("fault", [None, FOREVER], ids=["plain", "latency"])
async def test_a_reader_that_stops_stops_the_writer(fault: Fault | None, connect: Connect) -> None:
    """Through a link too, a queue that fills up is felt by who fills it; nothing grows without bound."""
    reading = asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        size = 0
        while chunk := await reader.read(1_000_000):
            size += len(chunk)
        writer.write(str(size).encode())

    async with serving(read_late) as address, Link(address, seed=1) as link, AsyncExitStack() as faults:
        if fault is not None:
            await faults.enter_async_context(link.fault(fault))
        client = await connect(link.endpoint)
        written = 0

        async def write_without_end() -> None:
            nonlocal written
            while written < 64_000_000:  # kernel and link together hold far less
                written += 1_000_000
                client.writer.write(bytes(1_000_000))
                await client.writer.drain()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_without_end(), timeout=1)
        await faults.aclose()
        reading.set()
        client.writer.write_eof()
        async with within(seconds=30):
            arrived = int(await client.reader.read())

    assert arrived == written


@pytest.mark.parametrize("fault", [None, Bandwidth(1000)], ids=["plain", "bandwidth"])
async def test_a_link_holds_little_of_what_nobody_reads(
    fault: Fault | None, tmp_path: Path, connect: Connect
) -> None:
    """Whoever must stop sending to a slow reader is tested only if the link doesn't take it all in."""

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        serving(never_read, tmp_path / "s") as address,
        Link(address, seed=1) as link,
        link.fault(fault) if fault else AsyncExitStack(),
    ):
        client = await connect(link.endpoint)
        taken = 0

        async def write_without_end() -> None:
            nonlocal taken
            while True:
                client.writer.write(bytes(100_000))
                await client.writer.drain()
                taken += 100_000

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write_without_end(), timeout=2)

    assert taken < UNDER_WAY_BYTES  # what latency may keep under way; kernels alone take far less


async def test_a_server_that_is_not_there_is_a_broken_connection(connect: Connect) -> None:
    """A client behind a link learns that the server died, in the way it would without the link."""
    async with Link(await free_address(), seed=1) as link:
        client = await connect(link.endpoint)

        assert await client.ending() == "reset"


async def test_connections_are_counted(link: Link, connect: Connect) -> None:
    """How often a client came back tells a pool that reconnects from one that does not."""
    for _ in range(3):
        client = await connect(link.endpoint)
        assert await client.is_answered()
        client.writer.close()
    async with within(seconds=10):
        await eventually(lambda: _none_open(link), seconds=10)

    assert link.connections == 3


async def test_a_closed_link_leaves_no_task_and_no_socket(connect: Connect) -> None:
    """A link ends with its block, in the middle of traffic and under a fault, so tests stay apart."""

    never_ending: set[asyncio.Task[None] | None] = set()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        never_ending.add(asyncio.current_task())
        await asyncio.Event().wait()

    async with serving(never_read) as address:
        tasks_before = asyncio.all_tasks()
        async with Link(address, seed=1) as link:
            endpoint = link.endpoint
            stalled, idle, fresh = [await connect(endpoint) for _ in range(3)]
            stalled.writer.write(bytes(30_000_000))
            await eventually(lambda: _number(never_ending, 3), seconds=10)
            fault = link.fault(FOREVER)
            await fault.__aenter__()
        left = asyncio.all_tasks() - tasks_before - never_ending

        assert not left
        assert {await client.ending() for client in (stalled, idle, fresh)} <= {"end", "reset"}
        with pytest.raises(ConnectionRefusedError):
            await connect(endpoint)
        await fault.__aexit__(None, None, None)  # left late: the link stays closed
        with pytest.raises(ConnectionRefusedError):
            await connect(endpoint)
    gc.collect()  # a socket left open would warn here, and fail


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_link_that_is_not_open_says_so(when: str) -> None:
    """A forgotten `async with`, or a fault that comes after it, is one clear sentence."""
    link = Link(("127.0.0.1", 1), seed=1)
    if when == "after":
        async with link:
            pass

    with pytest.raises(RuntimeError, match="enter it first, and use it inside its block"):
        _ = link.endpoint
    with pytest.raises(RuntimeError, match="enter it first, and use it inside its block"):
        async with link.fault(Cut()):
            pass


def _none_open(link: Link) -> None:
    assert link.open_connections == 0


def _number(tasks: Set[object], number: int) -> None:
    assert len(tasks) == number
