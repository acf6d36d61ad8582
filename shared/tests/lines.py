"""A server that repeats lines, clients that say them, and links between the two."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from netra_fixtures.faults import Address, Latency, Link
from netra_fixtures.waiting import within

FOREVER = Latency(timedelta(hours=1))


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
    """Serve at a free port, or at *path*, until the block is left."""
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


async def free_address() -> Address:
    """Give an address where nobody listens."""
    async with serving(Server().talk) as address:
        return address


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that repeats lines."""
    server = Server()
    async with serving(server.talk) as server.address:
        yield server


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    """A link to the server."""
    async with Link(server.address, seed=1) as link:
        yield link


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects clients, which are gone after the test."""
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
