"""A TCP proxy in the test's process, and one small class for each thing that can be wrong with a link."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from netra_fixtures.passage import ActiveFaults, Fault, Passage
from netra_fixtures.relay import Address, Connection

__all__ = [
    "Address",
    "Bandwidth",
    "Connection",
    "Cut",
    "Fault",
    "HalfOpen",
    "Jitter",
    "Latency",
    "Link",
    "Passage",
    "Reset",
    "SlowClose",
]


@dataclass(frozen=True)
class Latency(Fault):
    """Delay what is sent in each direction, in order; how much is sent meanwhile stays as it was.

    Args:
        each_way: the delay in one direction, so that an answer comes twice as much later.
    """

    each_way: timedelta

    def __post_init__(self) -> None:
        _not_negative("a latency", self.each_way)

    def due(self, at: float, passage: Passage) -> float:
        return at + self.each_way.total_seconds()


@dataclass(frozen=True)
class Jitter(Fault):
    """Delay every piece that is sent by a time of its own, in order: a piece that drew less waits for those before.

    The times are drawn uniformly, from 0 to *up_to*, for each direction. With a `Latency` beside it they are added
    to that. What is drawn follows from the link's seed and from where in the conversation the piece stands.

    Args:
        up_to: the longest delay in one direction.
    """

    up_to: timedelta

    def __post_init__(self) -> None:
        _not_negative("a jitter", self.up_to)

    def due(self, at: float, passage: Passage) -> float:
        return at + passage.random.uniform(0, self.up_to.total_seconds())


@dataclass(frozen=True)
class Bandwidth(Fault):
    """Let only so many bytes pass in a second; senders wait once a second's worth, or 64 KiB, is under way.

    Args:
        bytes_per_second: in each direction of each connection, at least 1.
    """

    bytes_per_second: int

    def __post_init__(self) -> None:
        if self.bytes_per_second < 1:
            raise ValueError(f"a bandwidth is 1 byte a second or more, not {self.bytes_per_second}")

    def limit_bytes_per_second(self) -> float:
        return self.bytes_per_second


@dataclass(frozen=True)
class SlowClose(Fault):
    """Pass on late that one side has ended or is gone; what it sent before arrives as ever.

    Args:
        by: how much later the other side hears of it.
    """

    by: timedelta

    def __post_init__(self) -> None:
        _not_negative("the delay of a slow close", self.by)

    def due(self, at: float, passage: Passage) -> float:
        return at + self.by.total_seconds() if passage.ends else at


@dataclass(frozen=True)
class Cut(Fault):
    """Close every connection and refuse new ones (ECONNREFUSED), as a server does that has stopped."""

    refuses = True

    def strike(self, connection: Connection) -> None:
        connection.close()


@dataclass(frozen=True)
class Reset(Fault):
    """Reset every connection, and each new one as soon as it is made (ECONNRESET)."""

    def strike(self, connection: Connection) -> None:
        connection.reset()


@dataclass(frozen=True)
class HalfOpen(Fault):
    """Keep and accept connections, and lose all that is sent on them, closing included.

    When it ends, the connections that lived under it are reset: their streams have holes.
    """

    swallows = True

    def heal(self, connection: Connection) -> None:
        connection.reset()


class Link:
    """A way to one server that a test can spoil, on 127.0.0.1 and a free port.

    Args:
        target: where the server listens, (host, port) or the path of a Unix socket.
        seed: what faults that draw at random start from.
        drawn: called whenever one draws.
    """

    def __init__(self, target: Address, *, seed: int, drawn: Callable[[], None] = lambda: None) -> None:
        self.target = target
        self.seed = seed
        self.connections = 0  # accepted so far
        self._active = ActiveFaults(seed, drawn)
        self._open: set[Connection] = set()
        self._failures: list[BaseException] = []
        self._port: socket.socket | None = None  # bound, never listening: the port stays ours while we refuse
        self._listener: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._port = _bound_socket(0)
        self._listen_or_refuse()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None
        self._listen_or_refuse()
        carriers = [connection.task for connection in self._open]
        for connection in list(self._open):
            connection.close()
        await asyncio.gather(*carriers, return_exceptions=True)
        if self._failures:
            raise BaseExceptionGroup("the link itself failed", self._failures)

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where clients connect: (host, port)."""
        host, port = self._reserved_port().getsockname()
        return host, port

    @property
    def open_connections(self) -> int:
        """How many connections are open, counting those whose end is still under way."""
        return len(self._open)

    @asynccontextmanager
    async def fault(self, fault: Fault) -> AsyncIterator[None]:
        """Spoil the link until the block is left, for connections that are open and those made meanwhile.

        Faults add up: enter as many as the test needs, and leave them in any order.

        Raises:
            RuntimeError: the link is not open, or not any more.
        """
        self._reserved_port()
        entry = self._active.begin(fault)
        try:
            self._listen_or_refuse()
            for connection in list(self._open):
                fault.strike(connection)
            yield
        finally:  # without an await: a cancelled test leaves the link whole too
            self._active.end(entry)
            self._listen_or_refuse()
            for connection in list(self._open):
                fault.heal(connection)

    def _reserved_port(self) -> socket.socket:
        if self._port is None:
            remedy = "enter it first, and use it inside its block: async with Link(…) as link"
            raise RuntimeError(f"the link is not open; {remedy}")
        return self._port

    def _listen_or_refuse(self) -> None:
        if self._port is None or self._active.refuses:
            self._stop_listening()
        elif self._listener is None:
            self._listener = _bound_socket(self.endpoint[1])
            self._listener.listen(socket.SOMAXCONN)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # the client went away before we looked
        except OSError as error:  # too many open files, for one: told at the end, not in an endless loop
            self._failures.append(error)
            self._stop_listening()
            return
        self.connections += 1
        connection = Connection(self.target, client, self._active, self.connections)
        self._open.add(connection)
        connection.task.add_done_callback(lambda task: self._ended(connection, task))
        self._active.strike(connection)

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        self._open.discard(connection)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)


def _not_negative(name: str, duration: timedelta) -> None:
    if duration < timedelta(0):
        raise ValueError(f"{name} cannot be negative, it is 0 or longer, not {duration.total_seconds():g} s")


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # the listener comes and goes beside the socket that keeps the port
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound
