"""What is counted of each protocol, where it stands in the file of counts, and who counts it."""

import mmap
from typing import Protocol

ROWS, COLUMNS = 256, 8  # of the file of counts
COUNTERS = {
    "postgres": ("connections", "statements", "transactions", "rows_written", "databases", "listens"),
    "redis": ("connections", "commands", "bytes_received", "administration"),
    "websocket": ("connections", "frames", "control_frames", "refused"),
}
CONNECTIONS = 0

Counts = memoryview


def mapped(path: str) -> Counts:
    """Map the file of counts."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), ROWS * COLUMNS * 8)).cast("Q")


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
