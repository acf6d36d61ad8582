"""Hear over Redis that there is a new revision, and tell there which processes run what."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from netra_config.errors import StoreUnavailable
from netra_config.revision import Environment

T = TypeVar("T")


class Running(BaseModel):
    """What a process of the platform has in memory, as it reported itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    process: str
    schema_fingerprint: str
    version: int
    refused: int | None = None
    reported_at: datetime


class Watch:
    """The announcements and the reports of one environment; each command ends within the deadline."""

    def __init__(
        self, redis: Redis, namespace: str, environment: Environment, *, deadline: timedelta
    ) -> None:
        self._redis = redis
        self._deadline = deadline.total_seconds()
        self._prefix = f"{namespace}:config:{environment.value}"
        self.channel = f"{self._prefix}:revised"

    async def announce(self, version: int) -> None:
        """Tell every process that *version* was committed.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        await self._ask(lambda: self._redis.publish(self.channel, version))

    async def report(self, running: Running, *, lease: timedelta) -> None:
        """Tell what this process has in memory; it is forgotten after *lease*."""

        async def tell() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._key(running.process), running.model_dump_json(), px=lease)
                pipe.sadd(f"{self._prefix}:running", running.process)
                await pipe.execute()

        await self._ask(tell)

    async def withdraw(self, process: str) -> None:
        """Forget a process that ends."""
        await self._ask(lambda: self._redis.delete(self._key(process)))

    async def running(self) -> tuple[Running, ...]:
        """Return the reports whose lease holds, and forget the names of the others."""
        index = f"{self._prefix}:running"
        names = sorted(_text(name) for name in await self._ask(partial(self._redis.smembers, index)))
        if not names:
            return ()
        values = await self._ask(lambda: self._redis.mget([self._key(name) for name in names]))
        lapsed = [name for name, value in zip(names, values, strict=True) if value is None]
        if lapsed:
            await self._ask(lambda: self._redis.srem(index, *lapsed))
        return tuple(one for value in values if (one := _running(value)) is not None)

    async def listen(self, heard: Callable[[int | None], None], *, silence: timedelta) -> None:
        """Call *heard* with each version announced, and with None once the server confirmed the subscription.

        Returns only by an error: the caller listens again.

        Args:
            silence: after this long without a word the server is asked whether it is there.

        Raises:
            StoreUnavailable: the connection is lost, or only looks alive.
        """
        pool = _private_pool(self._redis)
        try:
            channel = PubSub(pool)
            try:
                async with asyncio.timeout(self._deadline):
                    await channel.subscribe(self.channel)
                while True:
                    await self._hear(channel, heard, silence.total_seconds())
            finally:
                await channel.aclose()
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error
        finally:
            await pool.disconnect()

    async def _hear(self, channel: PubSub, heard: Callable[[int | None], None], silence_s: float) -> None:
        message = await channel.get_message(timeout=silence_s)
        if message is None:
            async with asyncio.timeout(self._deadline):
                await channel.ping()
            message = await channel.get_message(timeout=self._deadline)
            if message is None:
                raise ConnectionError("the server stopped answering")
        if message["type"] == "subscribe":
            heard(None)
        elif message["type"] == "message" and _text(message["data"]).isdecimal():
            heard(int(message["data"]))

    def _key(self, process: str) -> str:
        return f"{self._prefix}:process:{process}"

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await call()
        except (RedisError, OSError) as error:
            raise StoreUnavailable("Redis") from error


def _private_pool(redis: Redis) -> ConnectionPool:
    """Open a pool to the server of *redis* whose reads wait as long as the caller does."""
    pool = redis.connection_pool
    settings = {**pool.connection_kwargs, "socket_timeout": None, "health_check_interval": 0}
    return ConnectionPool(
        connection_class=pool.connection_class, **{**settings, "retry": Retry(NoBackoff(), 0)}
    )


def _running(value: bytes | str | None) -> Running | None:
    try:
        return None if value is None else Running.model_validate_json(value)
    except ValidationError:
        return None  # not ours


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
