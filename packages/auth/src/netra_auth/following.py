"""Follow revocations: announced over Redis, made up for from PostgreSQL, known in memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ValidationError, model_validator
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.clock import Clock
from netra_auth.errors import StoreUnavailable
from netra_auth.identity import Principal
from netra_auth.revocation import Revocation, RevocationSet
from netra_auth.store import revocations
from netra_auth.store.database import Database
from netra_auth.store.memory import private

_RETRY_S = 0.1


class WhenBlind(StrEnum):
    """What a verifier does with good tokens while it can't hear of revocations."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class FollowPolicy(BaseModel, frozen=True, extra="forbid"):
    """How closely a verifier follows revocations, and what it does when it can't.

    It is blind once Redis has not answered for `trust`, or PostgreSQL for `record_trust`. A revocation that was
    not announced is known after `poll_every` and one query.
    """

    poll_every: timedelta = timedelta(milliseconds=500)
    trust: timedelta = timedelta(seconds=1)
    record_trust: timedelta = timedelta(seconds=30)
    when_blind: WhenBlind = WhenBlind.REFUSE
    deadline: timedelta = timedelta(seconds=2)

    @model_validator(mode="after")
    def _durations_make_sense(self) -> Self:
        if min(self.poll_every, self.trust, self.deadline) < timedelta(milliseconds=1):
            raise ValueError("each duration is at least one millisecond")
        if self.record_trust <= self.poll_every:
            raise ValueError("the record is trusted for longer than poll_every")
        return self


class Follower:
    """Know the revocations that were made, while `listen` and `poll` run."""

    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, channel: str, policy: FollowPolicy, clock: Clock
    ) -> None:
        self._database = Database(engine, deadline=policy.deadline)
        self._redis = redis
        self._channel = channel
        self._policy = policy
        self._clock = clock
        self._trust = policy.trust.total_seconds()
        self._record_trust = policy.record_trust.total_seconds()
        self._known = RevocationSet()
        self._position = 0
        self._heard_at = self._read_at = -float("inf")
        self._reading = asyncio.Lock()
        self.listening = asyncio.Event()

    def is_blind(self) -> bool:
        """Tell whether a revocation may have been made that is not known here."""
        now = time.monotonic()
        return now - self._heard_at > self._trust or now - self._read_at > self._record_trust

    def covers(self, principal: Principal) -> bool:
        """Tell whether a revocation that is known covers the token of *principal*."""
        return self._known.covers(principal)

    async def catch_up(self) -> None:
        """Read in the record what was made since the last time.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        async with self._reading:
            began, now = time.monotonic(), self._clock()
            self._position, found = await revocations.since(self._database, self._position, now)
            self._read_at = began
            for revocation in found:
                self._known.add(revocation)
            self._known.forget(now)

    async def poll(self) -> None:
        """Read the record again and again; outages are waited out."""
        while True:
            await asyncio.sleep(self._policy.poll_every.total_seconds())
            try:
                await self.catch_up()
            except StoreUnavailable:
                continue  # is_blind() tells how long this may go on

    async def listen(self) -> None:
        """Hear announcements; a connection that is lost or silent is made anew."""
        while True:
            try:
                async with self._subscribed() as listening:
                    await self._hear(listening)
            except (RedisError, OSError, StoreUnavailable):
                await asyncio.sleep(_RETRY_S)

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[PubSub]:
        """Subscribe, wait until the server confirms it, and read what was made before."""
        pool = ConnectionPool(**private(self._redis))
        listening = PubSub(pool)
        try:
            asked = time.monotonic()
            async with asyncio.timeout(self._policy.deadline.total_seconds()):
                await listening.subscribe(self._channel)
                while (message := await listening.get_message(timeout=None)) is None:
                    pass
            if message["type"] != "subscribe":
                raise ConnectionError("the server did not confirm the subscription")
            await self.catch_up()
            self._heard_at = asked
            self.listening.set()
            yield listening
        finally:
            await listening.aclose()
            await pool.disconnect()

    async def _hear(self, listening: PubSub) -> None:
        """Take announcements in, and ask every quarter of `trust` whether the server is there.

        What an answer vouches for is the moment of the question: all that was announced before came before it.
        """
        asked: float | None = None
        ask_at = time.monotonic()
        while True:
            now = time.monotonic()
            if asked is None and now >= ask_at:
                asked = now
                async with asyncio.timeout(self._trust):
                    await listening.ping()
            due = ask_at if asked is None else asked + self._trust
            message = await listening.get_message(timeout=max(0.0, due - time.monotonic()))
            if message is None:
                if asked is not None and time.monotonic() >= due:
                    raise ConnectionError("the server stopped answering")
            elif message["type"] == "pong" and asked is not None:
                self._heard_at, ask_at = asked, asked + self._trust / 4
                asked = None
            elif message["type"] == "message":
                self._take(message["data"])
            elif message["type"] == "subscribe":
                raise ConnectionError("the client connected again by itself")

    def _take(self, data: bytes | str) -> None:
        try:
            self._known.add(Revocation.model_validate_json(data))
        except ValidationError:
            return  # not ours; what was revoked is in PostgreSQL
