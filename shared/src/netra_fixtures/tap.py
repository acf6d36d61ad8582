"""A relay between one test worker and its servers that counts what passes; run as a script, steered over stdin.

It stands in a process of its own so that counting costs the tests no time under the interpreter lock, and so that what
the tests' child processes send is counted too. It imports the standard library only, and ends when stdin closes or its
parent dies.

The counts stand in a file that the worker maps too, named on the command line: a row of 64-bit numbers for each link,
up to date before the bytes they count are passed on. Each line of stdin is a request, each of stdout its answer (JSON):

    {"op": "link", "name": …, "protocol": one of COUNTERS, "path": …, "target": [host, port] | path, "row": …}
    {"op": "cut", "name": …, "pid": …}    closes the connections; "states": in words, of those that pid opened
    {"op": "made", "name": …}             "names": of databases that were made and not dropped
    {"op": "drop", "name": …}
"""

import contextlib
import json
import mmap
import os
import re
import resource
import selectors
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

CHUNK_BYTES = 1 << 16
CONNECT_DEADLINE_S = 5.0
PARENT_CHECK_S = 1.0

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
WRITES = frozenset({b"INSERT", b"UPDATE", b"DELETE", b"MERGE"})

ROWS, COLUMNS = 256, 8  # of the file of counts
COUNTERS = {
    "postgres": ("connections", "statements", "transactions", "rows_written", "databases"),
    "redis": ("connections", "commands", "bytes_received", "administration"),
    "websocket": ("connections", "frames", "control_frames", "refused"),
}
CONNECTIONS, STATEMENTS, TRANSACTIONS, ROWS_WRITTEN, DATABASES = range(5)
COMMANDS, BYTES_RECEIVED, ADMINISTRATION = 1, 2, 3
FRAMES, CONTROL_FRAMES, REFUSED = 1, 2, 3
LONGEST_HEAD = 1 << 16  # of an HTTP request or answer, in bytes
LASTING = frozenset({b"CONFIG", b"ACL", b"FUNCTION"})  # commands whose effect FLUSHALL doesn't undo
SUBSCRIBES = frozenset({b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE"})
LONGEST = 16  # bytes of a command's name
STATEMENT_BYTES = 256  # kept of each, enough for the name of a database
DATABASE = re.compile(rb'\bdatabase\s+(?:if\s+exists\s+)?(?:"((?:[^"]|"")+)"|(\w+))', re.IGNORECASE)

Counts = memoryview


class Conversation(Protocol):
    """What one connection says, told apart message by message."""

    def state(self) -> str:
        """Say in words what is open, for whoever left it so."""

    def sent(self, data: bytes) -> None:
        """Take bytes on their way to the server."""

    def received(self, data: bytes) -> None:
        """Take bytes on their way to the client."""

    def ended(self) -> None:
        """Take note that the connection is closed."""


class PostgresConversation:
    """Counts statements, transactions and written rows of one PostgreSQL connection.

    Source:
        PostgreSQL 18 documentation, chapter 54, "Frontend/Backend Protocol".
    """

    def __init__(self, counts: Counts, made: dict[str, None]) -> None:
        self._counts = counts
        self._made = made
        self._statement = b""
        self._out, self._in = bytearray(), bytearray()
        self._skip_out = self._skip_in = 0  # bytes still to come of a message whose body doesn't matter
        self._started = False
        self._negotiating = False
        self._opaque = False
        self._busy = False
        self._copying_in = False
        self._awaited: deque[bool] = deque()
        self._status = b""  # until the server is ready for the first time

    def state(self) -> str:
        if self._status in (b"T", b"E"):
            return "an open transaction"
        return "a running statement" if any(self._awaited) else "a connection"

    def ended(self) -> None:
        if self._status in (b"T", b"E") or self._busy:
            self._counts[TRANSACTIONS] += 1  # begun and never ended: the server rolls it back

    def sent(self, data: bytes) -> None:
        if self._opaque:
            return
        out = self._out
        out += data
        at, size = 0, len(out)
        if not self._started:
            at = self._startup()
            if not self._started:
                del out[:at]
                return
        at += self._skip_out
        while size - at >= 5:
            kind = out[at]
            if kind == 0x51:  # Query
                self._counts[STATEMENTS] += 1
                self._statement = bytes(out[at + 5 : at + STATEMENT_BYTES])
                self._awaited.append(True)
                self._busy = False
            elif kind == 0x45:  # Execute
                self._counts[STATEMENTS] += 1
                self._busy = True
            elif kind in (0x50, 0x42, 0x44):  # Parse, Bind, Describe
                self._busy = True
                if kind == 0x50:
                    self._statement = bytes(out[at + 5 : at + STATEMENT_BYTES])
            elif kind == 0x53:  # Sync
                self._awaited.append(self._busy)
                self._busy = False
            at += 1 + int.from_bytes(out[at + 1 : at + 5], "big")
        self._skip_out = max(0, at - size)
        del out[:at]

    def _startup(self) -> int:
        """Read the untyped messages that open a connection; return how many bytes they took."""
        out, at = self._out, 0
        while len(out) - at >= 8:
            end = at + int.from_bytes(out[at : at + 4], "big")
            code = int.from_bytes(out[at + 4 : at + 8], "big")
            if end < at + 8:
                raise ValueError("no startup message")
            if end > len(out):
                break
            at = end
            if code in (SSL_REQUEST, GSS_REQUEST):
                self._negotiating = True
            elif code == CANCEL_REQUEST:
                self._opaque = True
                break
            else:
                self._started = True
                self._awaited.append(False)
                break
        return at

    def received(self, data: bytes) -> None:
        if self._opaque:
            return
        got = self._in
        got += data
        if self._negotiating:
            self._negotiating = False
            self._opaque = got[0] in b"SG"
            del got[:1]
        at, size = self._skip_in, len(got)
        while size - at >= 5:
            kind = got[at]
            end = at + 1 + int.from_bytes(got[at + 1 : at + 5], "big")
            if kind in (0x43, 0x5A) and end > size:
                break
            if kind == 0x43:  # CommandComplete
                self._completed(bytes(got[at + 5 : end - 1]))
            elif kind == 0x5A:  # ReadyForQuery
                if not self._status:
                    self._counts[CONNECTIONS] += 1
                self._status = bytes(got[at + 5 : at + 6])
                worked = self._awaited.popleft() if self._awaited else True
                if worked and self._status == b"I":
                    self._counts[TRANSACTIONS] += 1
            elif kind == 0x47:  # CopyInResponse
                self._copying_in = True
            at = end
        self._skip_in = max(0, at - size)
        del got[:at]

    def _completed(self, tag: bytes) -> None:
        verb = tag.split(b" ", 1)[0]
        if verb in WRITES or (verb == b"COPY" and self._copying_in):
            self._counts[ROWS_WRITTEN] += int(tag.rsplit(b" ", 1)[1])
            self._copying_in = False
        elif tag in (b"CREATE DATABASE", b"DROP DATABASE"):
            self._note_database(tag)

    def _note_database(self, tag: bytes) -> None:
        found = DATABASE.search(self._statement)
        if found:
            name = (found[1] or found[2].lower()).replace(b'""', b'"').decode(errors="replace")
            if tag.startswith(b"CREATE"):
                self._made[name] = None
            else:
                self._made.pop(name, None)
            self._counts[DATABASES] = len(self._made)


class RedisConversation:
    """Counts the commands of one Redis connection.

    Source:
        Redis serialization protocol specification: a request is an array of bulk strings, or an inline line.
    """

    def __init__(self, counts: Counts, made: dict[str, None]) -> None:
        self._counts = counts
        self._command = ""
        self._subscribed = False
        self._unanswered = False
        counts[CONNECTIONS] += 1
        self._out = bytearray()
        self._left = 0  # bulk strings still to come of the command being read
        self._named = True  # its first word has come
        self._skip = 0  # bytes still to come of the bulk string being read

    def sent(self, data: bytes) -> None:
        self._counts[BYTES_RECEIVED] += len(data)
        self._unanswered = True
        out = self._out
        out += data
        at, size = 0, len(out)
        while at < size:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            end = out.find(b"\r\n", at)
            if end < 0:
                break
            mark = out[at]
            if self._left and mark == 0x24:  # $
                length = int(out[at + 1 : end])
                if not self._named and length <= LONGEST:
                    if size < end + 2 + length:
                        break
                    self._name(out[end + 2 : end + 2 + length])
                self._named = True
                self._skip = length + 2
                self._left -= 1
            elif mark == 0x2A:  # *
                self._left = int(out[at + 1 : end])
                self._named = False
                self._counts[COMMANDS] += 1
            elif end > at:
                self._counts[COMMANDS] += 1
                self._name(out[at:end].partition(b" ")[0])
            at = end + 2
        del out[:at]

    def _name(self, word: bytearray) -> None:
        name = bytes(word).upper()
        self._command = name.decode(errors="replace")
        self._subscribed = name in SUBSCRIBES or (self._subscribed and b"UNSUBSCRIBE" not in name)
        if name in LASTING:
            self._counts[ADMINISTRATION] += 1

    def state(self) -> str:
        if self._subscribed:
            return "a subscription"
        return f"a client blocked in {self._command}" if self._unanswered else "a connection"

    def received(self, data: bytes) -> None:
        self._unanswered = False

    def ended(self) -> None:
        pass


class Frames:
    """Counts the frames of one direction of a WebSocket connection."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._data = bytearray()
        self._skip = 0  # bytes still to come of a payload

    def take(self, data: bytes | bytearray) -> None:
        buffer = self._data
        buffer += data
        at, size = self._skip, len(buffer)
        while size - at >= 2:
            length = buffer[at + 1] & 0x7F
            longer = {126: 2, 127: 8}.get(length, 0)
            end = at + 2 + longer + (4 if buffer[at + 1] & 0x80 else 0)  # of the head, with its mask
            if end > size:
                break
            if longer:
                length = int.from_bytes(buffer[at + 2 : at + 2 + longer], "big")
            self._counts[CONTROL_FRAMES if buffer[at] & 0x08 else FRAMES] += 1
            at = end + length
        self._skip = max(0, at - size)
        del buffer[:at]


class WebSocketConversation:
    """Counts the frames of one WebSocket connection, once its upgrade from HTTP has been accepted.

    Source:
        RFC 6455, sections 4.1 (the upgrade) and 5.2 (frames).
    """

    def __init__(self, counts: Counts, made: dict[str, None]) -> None:
        self._counts = counts
        self._asked, self._answered = bytearray(), bytearray()
        self._accepted: bool | None = None  # None until the server has answered
        self._out, self._in = Frames(counts), Frames(counts)

    def state(self) -> str:
        return "a WebSocket" if self._accepted else "a connection"

    def sent(self, data: bytes) -> None:
        if self._accepted:
            self._out.take(data)
        elif self._accepted is None:
            self._asked += data
            if len(self._asked) > LONGEST_HEAD:
                raise ValueError("no upgrade")

    def received(self, data: bytes) -> None:
        if self._accepted:
            self._in.take(data)
        elif self._accepted is None:
            self._answered += data
            self._read_answer()

    def _read_answer(self) -> None:
        head, end, rest = self._answered.partition(b"\r\n\r\n")
        if not end:
            if len(head) > LONGEST_HEAD:
                raise ValueError("no answer to an upgrade")
            return
        status, *fields = bytes(head).lower().split(b"\r\n")
        code = status.partition(b" ")[2][:3]
        if code[:1] == b"1" and code != b"101":  # there is more to come: 103 Early Hints, for one
            self._answered = rest
            self._read_answer()
            return
        named = {
            name.strip(): value.strip() for name, _, value in (field.partition(b":") for field in fields)
        }
        self._accepted = code == b"101" and named.get(b"upgrade") == b"websocket"
        self._counts[CONNECTIONS if self._accepted else REFUSED] += 1
        if self._accepted:
            self._out.take(self._asked.partition(b"\r\n\r\n")[2])
            self._in.take(rest)
        self._asked, self._answered = bytearray(), bytearray()

    def ended(self) -> None:
        pass


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
            asked = False
            for key, events in self.selector.select(PARENT_CHECK_S):
                if isinstance(key.data, Connection):
                    self._move(key.fileobj, key.data, events)  # type: ignore[arg-type]
                elif isinstance(key.data, Link):
                    self._accept(key.data)
                else:
                    asked = True
            if asked and not self._answer():
                return

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
        states = [connection.talk.state() for connection in connections if opener(connection.client) == pid]
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


def mapped(path: str) -> Counts:
    """Map the file of counts."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), ROWS * COLUMNS * 8)).cast("Q")


if __name__ == "__main__":
    # Ctrl-C reaches the whole group: the worker still counts at its end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection takes two
    with contextlib.suppress(BrokenPipeError):
        Tap(mapped(sys.argv[1])).run()
    sys.exit(0)
