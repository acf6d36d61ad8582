"""What processes tell each other over Redis, by one channel, and who waits for it here."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from netra_tools.errors import StoreUnavailable
from netra_tools.memory import Memory, private_pool

_RETRY_S = 0.1
_SILENCE_S = 5.0


class Waiters:
    """Tasks that wait until something of a name happens."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, set[asyncio.Event]] = {}

    @contextmanager
    def waiting(self, name: bytes) -> Iterator[asyncio.Event]:
        """Give an event that is set once *name* was told, from now on."""
        event = asyncio.Event()
        group = self._waiting.setdefault(name, set())
        group.add(event)
        try:
            yield event
        finally:
            group.discard(event)
            if not group and self._waiting.get(name) is group:
                del self._waiting[name]

    def wake(self, name: bytes) -> None:
        """Wake those who wait for *name*."""
        for event in self._waiting.get(name, ()):
            event.set()

    def wake_all(self) -> None:
        """Wake everybody: what was told meanwhile is not known."""
        for name in list(self._waiting):
            self.wake(name)


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


class Signals:
    """Send and hear announcements; each is a kind, a blank and what it is about."""

    def __init__(self, redis: Redis, memory: Memory, channel: str, *, deadline: timedelta) -> None:
        self.channel = channel.encode()
        self.connected = asyncio.Event()
        self._redis = redis
        self._memory = memory
        self._deadline = deadline.total_seconds()
        self._told: dict[bytes, Callable[[bytes], None]] = {}

    def on(self, kind: bytes, told: Callable[[bytes], None]) -> None:
        """Call *told* with what each announcement of *kind* is about."""
        self._told[kind] = told

    async def send(self, kind: bytes, about: bytes) -> None:
        """Announce; without Redis nobody hears, and whoever waits looks again by itself."""
        try:
            await self._memory.ask(b"PUBLISH", self.channel, kind + b" " + about)
        except StoreUnavailable:
            return

    async def listen(self, connected: Callable[[], None]) -> None:
        """Hear announcements for ever; *connected* is called whenever some may have been missed before."""
        pool = private_pool(self._redis)
        try:
            while True:
                listening = PubSub(pool)
                try:
                    await self._hear(listening, connected)
                except (RedisError, OSError):
                    await asyncio.sleep(_RETRY_S)
                finally:
                    self.connected.clear()
                    await listening.aclose()
        finally:
            await pool.disconnect()

    async def _hear(self, listening: PubSub, connected: Callable[[], None]) -> None:
        async with asyncio.timeout(self._deadline):
            await listening.subscribe(self.channel)
        waiting_for = "subscribe"
        while True:
            silence = self._deadline if waiting_for else _SILENCE_S
            message = await listening.get_message(timeout=silence)
            if message is None:
                if waiting_for:
                    raise ConnectionError("the server stopped answering")
                async with asyncio.timeout(self._deadline):
                    await listening.ping()
                waiting_for = "pong"
                continue
            if message["type"] == "subscribe":
                self.connected.set()
                connected()
            elif message["type"] == "message":
                self._take(message["data"])
            waiting_for = ""

    def _take(self, data: bytes | str) -> None:
        kind, _, about = (data.encode() if isinstance(data, str) else data).partition(b" ")
        told = self._told.get(kind)
        if told is not None:
            told(about)
