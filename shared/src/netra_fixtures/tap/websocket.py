"""What one WebSocket connection says, once its upgrade was accepted: frames in both directions."""

from .counting import CONNECTIONS, Counts

FRAMES, CONTROL_FRAMES, REFUSED = 1, 2, 3
LONGEST_HEAD = 1 << 16  # of an HTTP request or answer, in bytes


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
