"""Carry the bytes of one connection through the faults that are active.

What a fault can decide stands in `Fault`: when bytes arrive, whether they arrive at all, whether anybody
listens, and what happens to connections when it begins and ends.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

Address: TypeAlias = tuple[str, int] | Path
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK_BYTES = 64 * 1024
UNDER_WAY_BYTES = 16 * 1024 * 1024  # at most, a direction: 50 ms of 320 MB/s
PARCEL_BYTES = 512  # what the objects around one parcel weigh, so that single bytes count too
NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


@dataclass(frozen=True)
class Passage:
    """What a fault may know of the bytes whose arrival it decides; instants are the event loop's seconds."""

    size_bytes: int
    ends: bool
    previous: float
    random: Random


class Fault:
    """Something wrong with a link while it is entered; a subclass overrides what it spoils."""

    refuses = False  # nobody listens
    swallows = False  # what is sent never arrives, nor does its end

    def due(self, at: float, passage: Passage) -> float:
        """Say when bytes arrive that would arrive at *at*; those before them did at `passage.previous`."""
        return at

    def strike(self, connection: "Connection") -> None:
        """Meet a connection that was open when the fault began, or one that was made since."""

    def heal(self, connection: "Connection") -> None:
        """Meet a connection that is open when the fault ends."""


class ActiveFaults:
    """The faults that a link is under at the moment."""

    def __init__(self, seed: int) -> None:
        # it draws faults, not secrets
        self._random = Random(seed)  # nosec B311
        self._faults: dict[object, Fault] = {}
        self._changed = asyncio.Event()

    def begin(self, fault: Fault) -> object:
        """Add *fault*; return what `end` takes, because equal faults may be active twice."""
        entry = object()
        self._faults[entry] = fault
        self._announce()
        return entry

    def end(self, entry: object) -> None:
        del self._faults[entry]
        self._announce()

    @property
    def refuses(self) -> bool:
        return any(fault.refuses for fault in self._faults.values())

    @property
    def swallows(self) -> bool:
        return any(fault.swallows for fault in self._faults.values())

    def strike(self, connection: "Connection") -> None:
        for fault in self._faults.values():
            fault.strike(connection)

    async def until_heard(self) -> None:
        """Wait while what is sent does not arrive."""
        while self.swallows:
            await self._changed.wait()

    async def arrival(self, parcel: "_Parcel", previous: float) -> float:
        """Wait until *parcel* is due under the active faults, after *previous*; return when that was."""
        passage = Passage(len(parcel.data), parcel.ends, previous, self._random)
        while True:
            due, changed = parcel.sent, self._changed
            for fault in self._faults.values():
                due = fault.due(due, passage)
            due = max(due, previous)
            wait = due - asyncio.get_running_loop().time()
            if wait <= 0:
                return due
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()
            if not changed.is_set():
                return due

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Connection:
    """One client's connection and the one to the server behind it."""

    def __init__(self, target: Address, client: socket.socket, active: ActiveFaults) -> None:
        self._target = target
        self._client = client
        self._active = active
        self._writers: list[asyncio.StreamWriter] = []
        client.setblocking(False)
        self.task = asyncio.get_running_loop().create_task(self._carry())
        # a task that is cancelled before its first step never takes the socket over
        self.task.add_done_callback(lambda _: client.close())

    def close(self) -> None:
        """Close both ends at once; what is under way is lost."""
        for writer in self._writers:
            writer.transport.abort()
        self.task.cancel()

    def reset(self) -> None:
        """Close both ends at once, and let both peers see a reset."""
        self._reset_on_close()
        self.close()

    async def _carry(self) -> None:
        """Carry bytes in both directions until both have ended, or a peer is gone."""
        try:
            from_client, to_client = await self._joined(asyncio.open_connection(sock=self._client))
            from_server, to_server = await self._joined(self._dial())
            async with asyncio.TaskGroup() as lanes:
                for lane in (
                    _Lane(from_client, to_server, self._active),
                    _Lane(from_server, to_client, self._active),
                ):
                    lanes.create_task(lane.collect())
                    lanes.create_task(lane.deliver())
            await self._closed()  # after what is still buffered
        except* OSError:
            self._reset_on_close()
        finally:
            for writer in self._writers:
                writer.transport.abort()
            await self._closed()

    async def _joined(self, opening: Coroutine[None, None, Streams]) -> Streams:
        reader, writer = await opening
        self._writers.append(writer)
        return reader, writer

    async def _dial(self) -> Streams:
        try:
            if isinstance(self._target, Path):
                return await asyncio.open_unix_connection(self._target)
            return await asyncio.open_connection(*self._target)
        except OSError:
            await self._active.until_heard()
            raise

    async def _closed(self) -> None:
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def _reset_on_close(self) -> None:
        for end in (self._client, *(writer.get_extra_info("socket") for writer in self._writers)):
            with suppress(OSError):  # closed already
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)


@dataclass(frozen=True)
class _Parcel:
    data: bytes
    sent: float
    failure: OSError | None = None

    @property
    def ends(self) -> bool:
        return not self.data

    @property
    def weight_bytes(self) -> int:
        return len(self.data) + PARCEL_BYTES


class _Lane:
    """One direction of a connection: parcels are collected at once and delivered when they are due."""

    def __init__(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, active: ActiveFaults
    ) -> None:
        self._source = source
        self._sink = sink
        self._active = active
        self._under_way: deque[_Parcel] = deque()
        self._weight_bytes = 0
        self._stalled = False  # the sink makes us wait, so the source waits too
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def collect(self) -> None:
        """Take parcels in until the source ends, and no more than may be under way."""
        ends = False
        while not ends:
            await self._room.wait()
            parcel = await self._read()
            ends = parcel.ends
            self._under_way.append(parcel)
            self._weigh(parcel.weight_bytes)
            self._filled.set()

    async def deliver(self) -> None:
        """Hand parcels over in order, each when it is due, until the last."""
        arrived, ends = 0.0, False
        while not ends:
            while not self._under_way:
                self._filled.clear()
                await self._filled.wait()
            parcel = self._under_way.popleft()
            ends = parcel.ends
            arrived = await self._active.arrival(parcel, arrived)
            if not self._active.swallows:
                self._stalled = True
                await self._hand_over(parcel)
                self._stalled = False
            self._weigh(-parcel.weight_bytes)

    async def _read(self) -> _Parcel:
        failure = None
        try:
            data = await self._source.read(CHUNK_BYTES)
        except OSError as error:
            data, failure = b"", error
        return _Parcel(data, asyncio.get_running_loop().time(), failure)

    async def _hand_over(self, parcel: _Parcel) -> None:
        if parcel.failure is not None:
            raise parcel.failure
        if parcel.ends:
            self._sink.write_eof()
        else:
            self._sink.write(parcel.data)
            await self._sink.drain()

    def _weigh(self, change_bytes: int) -> None:
        self._weight_bytes += change_bytes
        if self._stalled or self._weight_bytes >= UNDER_WAY_BYTES:
            self._room.clear()
        else:
            self._room.set()
