"""The process itself: accept, relay, count, and answer the worker."""

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from .counting import COLUMNS, Conversation, Counts, mapped
from .postgres import DATABASES, PostgresConversation
from .redis import RedisConversation
from .websocket import WebSocketConversation

CHUNK_BYTES = 1 << 16
CONNECT_DEADLINE_S = 5.0
PARENT_CHECK_S = 1.0
# rounds in which is seen what a client did before: that it came, what it said, that it left
BEFORE_AN_ANSWER = 3
PROTOCOLS: dict[str, Callable[[Counts, dict[str, None]], Conversation]] = {
    "postgres": PostgresConversation,
    "redis": RedisConversation,
    "websocket": WebSocketConversation,
}


class Connection:
    """A client's socket and the server's, and what waits to be written to each."""

    def __init__(self, link: "Link", client: socket.socket, server: socket.socket) -> None:
        self.link = link
        self.peer = {client: server, server: client}
        self.waiting = {client: bytearray(), server: bytearray()}
        self.ended: set[socket.socket] = set()  # have sent their last
        self.behind: set[socket.socket] = set()  # don't take what waits for them yet
        self.deaf: set[socket.socket] = set()  # take nothing any more
        self.client = client
        self.counted = True
        self.talk = PROTOCOLS[link.protocol](link.counts, link.made)


class Link:
    """One listening socket, the server behind it, and the totals of all its connections."""

    def __init__(self, protocol: str, path: str, target: str | list[Any], counts: Counts) -> None:
        self.protocol = protocol
        self.path = path
        self.target = target
        self.counts = counts
        self.connections: dict[Connection, None] = {}  # the oldest first
        self.made: dict[str, None] = {}  # databases
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(1024)
        self.listener.setblocking(False)

    def dial(self) -> socket.socket:
        if isinstance(self.target, str):
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.settimeout(CONNECT_DEADLINE_S)
            server.connect(self.target)
        else:
            host, port = self.target
            server = socket.create_connection((host, port), timeout=CONNECT_DEADLINE_S)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setblocking(False)
        return server


class Tap:
    """The loop: accept, relay, count, and answer the worker."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.selector = selectors.DefaultSelector()
        self.links: dict[str, Link] = {}
        self.requests = b""

    def run(self) -> None:
        parent = os.getppid()
        self.selector.register(0, selectors.EVENT_READ, "requests")
        while os.getppid() == parent:
            if self._round(PARENT_CHECK_S):
                for _ in range(BEFORE_AN_ANSWER):
                    self._round(0)
                if not self._answer():
                    return

    def _round(self, wait_s: float) -> bool:
        """Take what came by now, or the next that comes; tell whether the worker asks something."""
        asked = False
        for key, events in self.selector.select(wait_s):
            if isinstance(key.data, Connection):
                self._move(key.fileobj, key.data, events)  # type: ignore[arg-type]
            elif isinstance(key.data, Link):
                self._accept(key.data)
            else:
                asked = True
        return asked

    def _answer(self) -> bool:
        data = os.read(0, CHUNK_BYTES)
        if not data:
            return False
        *lines, self.requests = (self.requests + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                answer = getattr(self, "_op_" + request.pop("op"))(**request)
            except OSError as error:
                answer = {"error": str(error)}
            os.write(1, json.dumps(answer).encode() + b"\n")
        return True

    def _op_link(
        self, name: str, protocol: str, path: str, target: str | list[Any], row: int
    ) -> dict[str, Any]:
        counts = self.counts[row * COLUMNS : (row + 1) * COLUMNS]
        link = self.links[name] = Link(protocol, path, target, counts)
        self.selector.register(link.listener, selectors.EVENT_READ, link)
        return {}

    def _op_cut(self, name: str, pid: int) -> dict[str, Any]:
        connections = list(self.links[name].connections)
        states = [
            connection.talk.state()
            for connection in connections
            if connection.client not in connection.ended and opener(connection.client) == pid
        ]  # what the process has closed is not left open, even if the server is slow to close it too
        for connection in connections:
            self._close(connection)
        return {"states": states}

    def _op_made(self, name: str) -> dict[str, Any]:
        link = self.links[name]
        names = list(link.made)
        link.made.clear()
        link.counts[DATABASES] = 0
        return {"names": names}

    def _op_drop(self, name: str) -> dict[str, Any]:
        link = self.links.pop(name)
        self.selector.unregister(link.listener)
        link.listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link.path)
        for connection in list(link.connections):
            self._close(connection)
        return {}

    def _accept(self, link: Link) -> None:
        while True:
            try:
                client, _ = link.listener.accept()
            except OSError:  # nobody waits any more, or no descriptor is left: whoever waits is taken later
                return
            try:
                server = link.dial()
            except OSError:
                client.close()
                continue
            client.setblocking(False)
            connection = Connection(link, client, server)
            link.connections[connection] = None
            self.selector.register(client, selectors.EVENT_READ, connection)
            self.selector.register(server, selectors.EVENT_READ, connection)

    def _move(self, source: socket.socket, connection: Connection, events: int) -> None:
        if source not in connection.peer:
            return  # closed earlier in this round
        if events & selectors.EVENT_WRITE:
            self._flush(source, connection)
        if events & selectors.EVENT_READ and source in connection.peer and source not in connection.ended:
            self._relay(source, connection)

    def _relay(self, source: socket.socket, connection: Connection) -> None:
        try:
            data = source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            connection.ended.add(source)
            self._finish(connection)
            return
        if connection.counted:
            try:
                (connection.talk.sent if source is connection.client else connection.talk.received)(data)
            except (ValueError, IndexError):  # not the protocol: relayed all the same, the server answers it
                connection.counted = False
        sink = connection.peer[source]
        if sink in connection.deaf:
            return
        waiting = connection.waiting[sink]
        waiting += data
        self._flush(sink, connection)
        if waiting:
            self._interest(source, connection)

    def _flush(self, sink: socket.socket, connection: Connection) -> None:
        """Write what waits for *sink*; where it no longer listens, what the other side says is read and dropped."""
        waiting = connection.waiting[sink]
        was_behind = sink in connection.behind
        try:
            while waiting:
                del waiting[: sink.send(waiting)]
        except BlockingIOError:
            connection.behind.add(sink)
            if not was_behind:
                self._interest(sink, connection)
            return
        except OSError:
            waiting.clear()
            connection.deaf.add(sink)
        if was_behind:
            connection.behind.discard(sink)
            self._interest(sink, connection)
            self._interest(connection.peer[sink], connection)
        if connection.ended:
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        """Pass on the end of either side once all it sent has gone, and close when both have ended."""
        for source in connection.ended:
            self._interest(source, connection)
            sink = connection.peer[source]
            if not connection.waiting[sink]:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
        if len(connection.ended) == 2 and not any(connection.waiting.values()):
            self._close(connection)

    def _interest(self, sock: socket.socket, connection: Connection) -> None:
        """Read from *sock* unless its sink is behind; write to it while something waits."""
        events = 0
        if sock not in connection.ended and not connection.waiting[connection.peer[sock]]:
            events |= selectors.EVENT_READ
        if connection.waiting[sock]:
            events |= selectors.EVENT_WRITE
        with contextlib.suppress(KeyError):
            self.selector.unregister(sock)
        if events:
            self.selector.register(sock, events, connection)

    def _close(self, connection: Connection) -> None:
        if connection in connection.link.connections:
            del connection.link.connections[connection]
            connection.talk.ended()
        for sock in connection.peer:
            with contextlib.suppress(KeyError):
                self.selector.unregister(sock)
            sock.close()
        connection.peer = {}


def opener(client: socket.socket) -> int | None:
    """Give the id of the process at the other end, where the system tells it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    pid: int = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


def main() -> None:
    """Run until stdin closes or the parent dies."""
    # Ctrl-C reaches the whole group: the worker still counts at its end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection takes two
    with contextlib.suppress(BrokenPipeError):
        Tap(mapped(sys.argv[1])).run()
    sys.exit(0)
