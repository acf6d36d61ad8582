"""Carry the bytes of one connection through the faults that are active."""

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from netra_fixtures.passage import CHUNK_BYTES, ActiveFaults, Passage

Address: TypeAlias = tuple[str, int] | Path
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PARCEL_BYTES = 512  # what the objects around one parcel weigh, so that single bytes count too
NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


class Connection:
    """One client's connection and the one to the server behind it.

    Args:
        number: of the connection, counted from 1 on its link.
    """

    def __init__(self, target: Address, client: socket.socket, active: ActiveFaults, number: int) -> None:
        self._number = number
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
        self._abort()
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
                    _Lane(from_client, to_server, self._active, f"{self._number}:to server"),
                    _Lane(from_server, to_client, self._active, f"{self._number}:to client"),
                ):
                    lanes.create_task(lane.collect())
                    lanes.create_task(lane.deliver())
            await self._closed()  # after what is still buffered
        except* OSError:
            self._reset_on_close()
        finally:
            self._abort()
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

    def _abort(self) -> None:
        """Close what is open still: asyncio's transport can't be aborted once it sent its rest and closed."""
        for writer in self._writers:
            if writer.get_extra_info("socket").fileno() != -1:
                writer.transport.abort()

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

    def cut(self, size_bytes: int) -> tuple["_Parcel", "_Parcel | None"]:
        """Cut off a piece of at most *size_bytes*; the second is what is left."""
        if len(self.data) <= size_bytes:
            return self, None
        return replace(self, data=self.data[:size_bytes]), replace(self, data=self.data[size_bytes:])


class _Lane:
    """One direction of a connection: parcels are collected at once and delivered when they are due."""

    def __init__(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, active: ActiveFaults, name: str
    ) -> None:
        self._source = source
        self._sink = sink
        self._active = active
        self._name = name
        self._under_way: deque[_Parcel] = deque()
        self._weight_bytes = 0
        self._arrived_at, self._arrived_bytes = -math.inf, 0
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
        """Hand pieces over in order, each when it is due, until the last."""
        ends = False
        while not ends:
            piece = await self._arrived()
            ends = piece.ends
            if not self._active.swallows:
                if piece.failure is not None:
                    raise piece.failure
                await self._hand_over(piece)

    async def _arrived(self) -> _Parcel:
        """Wait until the next piece is due, whichever faults come and go meanwhile, and take it."""
        while True:
            while not self._under_way:
                self._filled.clear()
                await self._filled.wait()
            piece, rest = self._under_way[0].cut(self._active.piece_bytes)
            due = self._active.due(piece.sent, self._passage(piece))
            if await self._active.unchanged_until(due):
                break
        self._arrived_at, self._arrived_bytes = due, self._arrived_bytes + len(piece.data)
        self._weigh(-self._under_way.popleft().weight_bytes)
        if rest is not None:
            self._under_way.appendleft(rest)
            self._weigh(rest.weight_bytes)
        return piece

    def _passage(self, piece: _Parcel) -> Passage:
        place = f"{self._name}:{self._arrived_bytes}"
        return Passage(len(piece.data), piece.ends, self._arrived_at, lambda: self._active.chance(place))

    async def _read(self) -> _Parcel:
        failure = None
        try:
            data = await self._source.read(CHUNK_BYTES)
        except OSError as error:
            data, failure = b"", error
        return _Parcel(data, asyncio.get_running_loop().time(), failure)

    async def _hand_over(self, piece: _Parcel) -> None:
        if piece.ends:
            self._sink.write_eof()
            return
        self._stalled = True
        try:
            self._sink.write(piece.data)
            await self._sink.drain()
        except OSError as gone:  # the sink; the source hears of it as late as of anything else
            self._under_way.clear()
            self._under_way.append(_Parcel(b"", asyncio.get_running_loop().time(), gone))
        self._stalled = False
        self._weigh(0)

    def _weigh(self, change_bytes: int) -> None:
        self._weight_bytes += change_bytes
        if self._stalled or self._weight_bytes >= self._active.under_way_bytes:
            self._room.clear()
        else:
            self._room.set()
