"""What one Redis connection says: commands, bytes, and what it waits for."""

from .counting import CONNECTIONS, Counts

COMMANDS, BYTES_RECEIVED, ADMINISTRATION = 1, 2, 3
LASTING = frozenset({b"CONFIG", b"ACL", b"FUNCTION"})  # commands whose effect FLUSHALL doesn't undo
SUBSCRIBES = frozenset({b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE"})
LONGEST = 16  # bytes of a command's name


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
