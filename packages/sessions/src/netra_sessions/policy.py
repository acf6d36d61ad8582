"""The limits of a gateway."""

from datetime import timedelta

from pydantic import BaseModel, Field

from netra_sessions.history import HistoryPolicy


class GatewayPolicy(BaseModel, frozen=True):
    """What a gateway allows a connection, and how soon it notices that one is gone.

    A connection is closed after two missed `heartbeat`s. What was written and not read is at most
    `unread_limit_bytes` and one event a connection. `drain` bounds the closing of all connections.
    """

    heartbeat: timedelta = Field(default=timedelta(seconds=20), ge=timedelta(milliseconds=10))
    lease: timedelta = Field(default=timedelta(seconds=60), ge=timedelta(milliseconds=100))
    deadline: timedelta = Field(default=timedelta(seconds=2), ge=timedelta(milliseconds=10))
    drain: timedelta = Field(default=timedelta(seconds=10), ge=timedelta(0))
    connections_per_user: int = Field(default=20, ge=1)
    frames_per_second: float = Field(default=10, gt=0)
    frame_limit_bytes: int = Field(default=4_096, ge=64)
    unread_limit_bytes: int = Field(default=1_048_576, ge=1_024)
    history: HistoryPolicy = HistoryPolicy()
