"""What one PostgreSQL connection says: statements, transactions, written rows, and databases that are made."""

import re
from collections import deque

from .counting import CONNECTIONS, Counts

STATEMENTS, TRANSACTIONS, ROWS_WRITTEN, DATABASES, LISTENS = 1, 2, 3, 4, 5
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
WRITES = frozenset({b"INSERT", b"UPDATE", b"DELETE", b"MERGE"})
STATEMENT_BYTES = 256  # kept of each, enough for the name of a database
DATABASE = re.compile(rb'\bdatabase\s+(?:if\s+exists\s+)?(?:"((?:[^"]|"")+)"|(\w+))', re.IGNORECASE)


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
        elif tag == b"LISTEN":
            self._counts[LISTENS] += 1
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
