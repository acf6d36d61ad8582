"""Hear of every ended session: announced over Redis, made up for from PostgreSQL."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Self

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisError

from netra_sessions.errors import StoreUnavailable
from netra_sessions.lane import private_pool
from netra_sessions.session import Ending, SessionId
from netra_sessions.store import Store

_RETRY_S = 0.1


class Endings:
    """Iterate over the endings from the moment the block was entered.

    After a lost connection, and every *replay_every*, what the announcements missed is read in PostgreSQL.
    """

    def __init__(
        self, redis: Redis, channel: str, store: Store, *, replay_every: timedelta, deadline: timedelta
    ) -> None:
        self._redis = redis
        self._channel = channel
        self._store = store
        self._replay_every = replay_every.total_seconds()
        self._deadline = deadline.total_seconds()
        self._pool: ConnectionPool | None = None
        self._listening: PubSub | None = None
        self._position = 0
        self._replay_at = 0.0
        self._told: dict[SessionId, int] = {}
        self._next: deque[Ending] = deque()

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            StoreUnavailable: a store did not answer within the deadline.
        """
        self._pool = private_pool(self._redis)
        try:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                raise StoreUnavailable("Redis") from error
            self._position = await self._store.position()
            self._replay_at = time.monotonic() + self._replay_every
        except BaseException:
            await self._pool.disconnect()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()
        if self._pool is not None:
            await self._pool.disconnect()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Ending:
        return await self.next()

    async def next(self) -> Ending:
        """Wait for the next ending, through outages of either store."""
        while not self._next:
            try:
                await self._hear()
            except (RedisError, OSError):
                await self._hang_up()
                await self._replay()
                if not self._next:
                    await asyncio.sleep(_RETRY_S)
            except BaseException:
                await self._hang_up()  # a reply may be half read; the next call connects again
                raise
        return self._next.popleft()

    async def _hear(self) -> None:
        listening = self._listening or await self._listen()
        left = self._replay_at - time.monotonic()
        if left <= 0:  # however much is announced: one that was not would wait for a silence
            await self._replay()
            return
        message = await listening.get_message(timeout=left)
        if message is None:
            async with asyncio.timeout(self._deadline):
                await listening.ping()
            message = await listening.get_message(timeout=self._deadline)
            if message is None:
                raise ConnectionError("the server stopped answering")
        if message["type"] == "subscribe":  # the client connected again by itself
            self._replay_at = 0.0
        elif message["type"] == "message":
            self._take_announced(message["data"])

    async def _listen(self) -> PubSub:
        """Subscribe, wait until the server confirms it, and let the record tell what came before."""
        assert self._pool is not None, "enter the block first"
        listening = self._listening = PubSub(self._pool)
        self._replay_at = 0.0
        async with asyncio.timeout(self._deadline):
            await listening.subscribe(self._channel)
            while (message := await listening.get_message(timeout=None)) is not None:
                if message["type"] == "subscribe":
                    break
        return listening

    async def _hang_up(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.aclose()

    async def _replay(self) -> None:
        """Read what the announcements missed; while PostgreSQL is out of reach they are all there is."""
        try:
            position = await self._store.position()
            self._take(await self._store.ended_since(self._position))
        except StoreUnavailable:
            self._replay_at = time.monotonic() + min(self._replay_every, self._deadline)
            return
        self._replay_at = time.monotonic() + self._replay_every
        self._position = position
        self._told = {session: at for session, at in self._told.items() if at >= position}

    def _take_announced(self, data: bytes | str) -> None:
        try:
            self._take([Ending.model_validate_json(data)])
        except ValidationError:
            return  # not ours; what was ended is in PostgreSQL

    def _take(self, endings: Iterable[Ending]) -> None:
        for ending in endings:
            if ending.session not in self._told:
                self._told[ending.session] = ending.position
                self._next.append(ending)
