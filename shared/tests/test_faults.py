"""A link carries bytes as they are, is spoiled while a fault is entered, and leaves nothing behind."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from netra_fixtures.faults import Address, Cut, Fault, HalfOpen, Latency, Link, Passage, Reset
from netra_fixtures.waiting import eventually, within

FOREVER = Latency(timedelta(hours=1))
FAULTS = [FOREVER, Cut(), Reset(), HalfOpen()]


class Server:
    """Echo lines, and keep what was heard and how each connection ended."""

    def __init__(self) -> None:
        self.address: Address = ("", 0)
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.endings: asyncio.Queue[str] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while line := await reader.readline():
                self.heard.put_nowait(line.decode().rstrip())
                writer.write(line)
                await writer.drain()
            self.endings.put_nowait("end")
        except ConnectionError:
            self.endings.put_nowait("reset")


@dataclass
class Client:
    """Say lines and hear them."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: str) -> None:
        self.writer.write(f"{line}\n".encode())
        await self.writer.drain()

    async def hears(self) -> str:
        async with within(seconds=10):
            return (await self.reader.readline()).decode().rstrip()

    async def ending(self) -> str:
        try:
            async with within(seconds=10):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            return "reset"
        return "end"

    def break_off(self) -> None:
        lingering = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
        self.writer.transport.abort()

    async def is_answered(self) -> bool:
        await self.say("hello")
        return await self.hears() == "hello"


Connect = Callable[[Address], Awaitable[Client]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(talk: Talk, path: Path | None = None) -> AsyncIterator[Address]:
    talks: set[asyncio.Task[None]] = set()

    async def talked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.create_task(talked(reader, writer)))

    if path is None:
        listening = await asyncio.start_server(accept, "127.0.0.1", 0)
        address: Address = listening.sockets[0].getsockname()
    else:
        listening, address = await asyncio.start_unix_server(accept, path), path
    try:
        yield address
    finally:
        listening.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with serving(server.talk) as server.address:
        yield server


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    async with Link(server.address, seed=1) as link:
        yield link


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def connect(address: Address) -> Client:
        if isinstance(address, Path):
            clients.append(Client(*await asyncio.open_unix_connection(address)))
        else:
            clients.append(Client(*await asyncio.open_connection(*address)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.transport.abort()
    await asyncio.gather(*(client.writer.wait_closed() for client in clients), return_exceptions=True)


@pytest.fixture
async def near(server: Server, connect: Connect) -> AsyncIterator[Client]:
    """A client on a link of its own that no fault touches."""
    async with Link(server.address, seed=1) as link:
        yield await connect(link.endpoint)


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


@pytest.mark.parametrize("when", ["before", "during"])
async def test_latency_holds_back_what_is_said_to_the_server(
    when: str, server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """What is said later over a link without it arrives first, on connections old and new."""
    far = await connect(link.endpoint)
    assert await far.is_answered()
    assert await server.heard.get() == "hello"

    async with within(seconds=10):
        async with link.fault(FOREVER):
            if when == "during":
                far = await connect(link.endpoint)
            await far.say("first")
            for line in ("second", "third"):
                await near.say(line)
                assert await near.hears() == line
        heard = [await server.heard.get() for _ in range(3)]

    assert heard == ["second", "third", "first"]


async def test_latency_holds_back_what_the_server_says(
    server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """A late answer is as common as a late question."""
    assert await near.is_answered()
    far = await connect(link.endpoint)
    assert await far.is_answered()

    async with within(seconds=10), asyncio.TaskGroup() as listeners:
        listening = listeners.create_task(far.hears())
        async with link.fault(FOREVER):
            server.writers[-1].write(b"first\n")
            for _ in range(2):
                assert await near.is_answered()
            came_early = listening.done()
        heard = await listening

    assert not came_early
    assert heard == "first"


async def test_latency_ends_by_itself_and_does_not_add_up(link: Link, connect: Connect) -> None:
    """A thousand lines under way at once are late once, in order, and not a thousand times."""
    client = await connect(link.endpoint)
    assert await client.is_answered()
    lines = [str(number) for number in range(1000)]

    async with within(seconds=10), link.fault(Latency(timedelta(milliseconds=50))):
        for line in lines:
            await client.say(line)
            await asyncio.sleep(0)  # so that the link meets many pieces: 50 ms each would take the deadline
        heard = [await client.hears() for _ in lines]

    assert heard == lines


async def test_faults_add_up_and_are_left_in_any_order(
    server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """Leaving one fault leaves the others as they are, also two that are equal."""
    far = await connect(link.endpoint)

    async with within(seconds=10), AsyncExitStack() as outer, AsyncExitStack() as inner:
        await outer.enter_async_context(link.fault(FOREVER))
        await inner.enter_async_context(link.fault(FOREVER))
        await far.say("first")
        await outer.aclose()
        for line in ("second", "third"):
            await near.say(line)
            assert await near.hears() == line
        await inner.aclose()
        heard = [await server.heard.get() for _ in range(3)]

    assert heard == ["second", "third", "first"]


def test_a_negative_latency_is_refused() -> None:
    """A slip of the sign says so where it was made."""
    with pytest.raises(ValueError, match="negative"):
        Latency(timedelta(milliseconds=-1))


async def test_a_cut_closes_what_is_open_and_refuses_what_is_new(link: Link, connect: Connect) -> None:
    """A stopped server looks like this, and a started one lets its clients in again."""
    open_before = await connect(link.endpoint)
    assert await open_before.is_answered()

    async with link.fault(Cut()):
        ending = await open_before.ending()
        with pytest.raises(ConnectionRefusedError):
            await connect(link.endpoint)

    assert ending in {"end", "reset"}
    assert await (await connect(link.endpoint)).is_answered()


async def test_overlapping_cuts_refuse_until_the_last_is_left(link: Link, connect: Connect) -> None:
    """The door opens again once nobody keeps it shut."""
    async with link.fault(Cut()):
        async with link.fault(Cut()):
            pass
        with pytest.raises(ConnectionRefusedError):
            await connect(link.endpoint)

    assert await (await connect(link.endpoint)).is_answered()


async def test_a_reset_is_seen_by_both_peers(server: Server, link: Link, connect: Connect) -> None:
    """Neither side may take a broken connection for an orderly end."""
    client = await connect(link.endpoint)
    assert await client.is_answered()

    async with within(seconds=10), link.fault(Reset()):
        endings = (await client.ending(), await server.endings.get())

    assert endings == ("reset", "reset")


async def test_a_reset_meets_new_connections_while_it_lasts(link: Link, connect: Connect) -> None:
    """A client that comes back at once is thrown out again, and let in when it is over."""
    async with link.fault(Reset()):
        thrown_out = await connect(link.endpoint)
        ending = await thrown_out.ending()

    assert ending == "reset"
    assert await (await connect(link.endpoint)).is_answered()


async def test_a_half_open_link_accepts_and_loses_everything(
    server: Server, link: Link, connect: Connect
) -> None:
    """The peer looks alive and hears nothing, not even the end; only a deadline can find out."""
    talking, leaving, direct = [
        await connect(address) for address in (link.endpoint, link.endpoint, server.address)
    ]
    assert await talking.is_answered()
    assert await leaving.is_answered()

    async with within(seconds=10):
        async with link.fault(HalfOpen()):
            new = await connect(link.endpoint)
            await talking.say("lost")
            await new.say("lost")
            server.writers[0].write(b"lost\n")
            leaving.writer.close()
            assert await direct.is_answered()
            endings_meanwhile = server.endings.qsize()
        endings = [
            await talking.ending(),
            await new.ending(),
            await server.endings.get(),
            await server.endings.get(),
        ]

    assert endings_meanwhile == 0
    assert endings == ["reset"] * 4
    assert [server.heard.get_nowait() for _ in range(server.heard.qsize())] == ["hello"] * 3


async def test_after_a_half_open_time_new_connections_work(link: Link, connect: Connect) -> None:
    """Who comes back after the outage is served."""
    async with link.fault(HalfOpen()):
        await (await connect(link.endpoint)).say("lost")

    assert await (await connect(link.endpoint)).is_answered()


async def test_a_half_open_link_hides_that_the_server_is_gone(connect: Connect) -> None:
    """A host that vanished does not even refuse, so the client hears nothing until the fault ends."""
    async with Link(await _free_address(), seed=1) as link:
        async with link.fault(HalfOpen()):
            client = await connect(link.endpoint)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.reader.read()

        assert await client.ending() == "reset"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("ending", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_fault_is_gone_when_its_block_fails(
    fault: Fault, ending: type[BaseException], link: Link, connect: Connect
) -> None:
    """A test that fails or is cancelled inside a fault leaves a whole link to what cleans up after it."""
    with pytest.raises(ending):
        async with link.fault(fault):
            raise ending

    assert await (await connect(link.endpoint)).is_answered()


async def test_a_fault_of_ones_own_decides_when_bytes_arrive(link: Link, connect: Connect) -> None:
    """What the kit does not bring, such as a close that takes long, is a class of a few lines."""

    class NeverEnding(Fault):
        def due(self, at: float, passage: Passage) -> float:
            return at + 3600 if passage.ends else at

    client = await connect(link.endpoint)
    async with within(seconds=10):
        async with link.fault(NeverEnding()):
            await client.say("last words")
            client.writer.write_eof()
            assert await client.hears() == "last words"
            assert not client.reader.at_eof()
        ending = await client.ending()

    assert ending == "end"


async def test_a_fault_of_ones_own_is_told_when_the_bytes_before_arrived(connect: Connect) -> None:
    """A limit of bytes a second counts from there, however late those bytes were."""
    told: list[float] = []

    class LateStart(Fault):
        def due(self, at: float, passage: Passage) -> float:
            told.append(passage.previous)
            return at if passage.previous else at + 0.05

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready\n")
        heard.put_nowait(await reader.readexactly(12))

    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with serving(listen) as address, Link(address, seed=1) as link, within(seconds=10):
        client = await connect(link.endpoint)
        assert await client.hears() == "ready"
        async with link.fault(LateStart()):
            for word in (b"one ", b"two ", b"six "):
                client.writer.write(word)
                for _ in range(5):  # so that the link meets three pieces
                    await asyncio.sleep(0)
            assert await heard.get() == b"one two six "

    assert len(set(told)) > 1
    assert told == sorted(told)


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


async def test_a_server_that_is_not_there_is_a_broken_connection(connect: Connect) -> None:
    """A client behind a link learns that the server died, in the way it would without the link."""
    async with Link(await _free_address(), seed=1) as link:
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


async def test_a_link_that_is_not_entered_says_so() -> None:
    """A forgotten `async with` is one clear sentence."""
    link = Link(("127.0.0.1", 1), seed=1)

    with pytest.raises(RuntimeError, match="enter it first"):
        _ = link.endpoint
    with pytest.raises(RuntimeError, match="enter it first"):
        async with link.fault(Cut()):
            pass


async def _free_address() -> Address:
    async with serving(Server().talk) as address:
        return address


def _none_open(link: Link) -> None:
    assert link.open_connections == 0


def _number(tasks: Set[object], number: int) -> None:
    assert len(tasks) == number
