"""The entries in Redis, and every command that touches them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from netra_sessions.deadline import due_after
from netra_sessions.lane import CacheUnavailable, Lane, packed
from netra_sessions.record import FENCE, Activity, Page, Record, activity_of
from netra_sessions.scripts import ADVANCE, BEHIND, DROP, FORGOTTEN, INSTALL, RAISE, SAVED, TOUCH
from netra_sessions.session import Ending, SessionPolicy, duration_ms

T = TypeVar("T")
_SHORTEST_FENCE = timedelta(seconds=60)


class CacheForgot(CacheUnavailable):
    """Redis lost its memory, all of it or since some moment: what it holds may be of the past."""


def epoch_text(epoch: int) -> bytes:
    """Write *epoch* the way entries and scripts compare it."""
    return b"%012d" % epoch


class Cache:
    """Keep, find and fence entries; every call ends within a quarter of the policy's deadline."""

    def __init__(self, redis: Redis, namespace: str, policy: SessionPolicy) -> None:
        self.coarse_ms = max(1, duration_ms(policy.idle_lifetime) // 4)
        self.idle_ms = duration_ms(policy.idle_lifetime)
        self.fence_lasts = max(_SHORTEST_FENCE, policy.deadline * 10)
        self.channel = f"{namespace}:ended"
        self._kept_ms = self.idle_ms + self.coarse_ms + 60_000  # for garbage: the scripts judge lifetimes
        self._redis = redis
        self._prefix = f"{namespace}:session:".encode()
        self._epoch_key = f"{namespace}:epoch".encode()
        self._server_key = f"{namespace}:server".encode()
        self._timeout = policy.deadline / 4
        self._lane = Lane(redis, timeout=self._timeout)
        self._touch = packed(b"EVALSHA", TOUCH.sha.encode(), b"2")
        told_again_ms = max(0, self.coarse_ms - duration_ms(policy.deadline))
        limits = (self.idle_ms, self.coarse_ms, told_again_ms, self._kept_ms)
        self._limits = packed(*(b"%d" % ms for ms in limits))

    async def close(self) -> None:
        """Close what this object opened."""
        await self._lane.close()

    def key(self, digest: bytes) -> bytes:
        """Name the entry of the token that has *digest*."""
        return self._prefix + digest.hex().encode()

    async def touch(
        self, digest: bytes, now_ms: int, epoch: bytes, device: str | None, address: str | None
    ) -> bytes | None:
        """Use the session: check, slide and count in one round trip.

        Returns:
            `1` where PostgreSQL should be told, else `0`, and then the session as JSON; None where the
            record must be asked.

        Raises:
            CacheUnavailable: no answer.
            CacheForgot: the server restarted, was emptied, or went back in time.
        """
        key = self.key(digest)
        command = b"%s$%d\r\n%s\r\n$%d\r\n%s\r\n$12\r\n%s\r\n$15\r\n%15d\r\n%s" % (
            self._touch, len(key), key, len(self._epoch_key), self._epoch_key, epoch, now_ms, self._limits,
        )  # fmt: skip
        if device is None and address is None:
            reply = await self._lane.send(b"*11\r\n" + command)
        else:
            client = [b"" if told is None else json.dumps(told).encode() for told in (device, address)]
            reply = await self._lane.send(b"*13\r\n" + command + packed(*client))
        if type(reply) is bytes:
            return reply
        if reply in (FORGOTTEN, BEHIND) or isinstance(reply, NoScriptError):
            raise CacheForgot
        if isinstance(reply, ResponseError):
            raise CacheUnavailable from reply
        return None

    async def install(
        self, records: Sequence[tuple[Record, int]], epoch: bytes, *, lifting: bytes = FENCE
    ) -> int:
        """Put in records (record, last seen as PostgreSQL has it) where nothing newer and no fence stands.

        Returns:
            How many were put in, or -1 where the epoch moved on since the records were read.
        """
        keys = [self.key(record.digest) for record, _ in records]
        values = [record.entry(epoch, persisted_ms) for record, persisted_ms in records]
        arguments = self._installing(keys, values, epoch, lifting)
        reply = await self._lane.send(b"*%d\r\n" % len(arguments) + packed(*arguments))
        if isinstance(reply, NoScriptError):
            raise CacheForgot
        if not isinstance(reply, int):
            raise CacheUnavailable
        return reply

    async def install_page(self, page: Page, epoch: bytes) -> int:
        """Put in many records at once, as `install` does, on a connection where no request waits behind."""
        keys = [self._prefix + digest.encode() for digest in page.digests]
        arguments = self._installing(keys, [epoch + entry for entry in page.entries], epoch, FENCE)
        return int(await self._ask(lambda: self._redis.execute_command("EVALSHA", *arguments[1:])))

    def _installing(
        self, keys: Sequence[bytes], values: Sequence[bytes], epoch: bytes, lifting: bytes
    ) -> list[bytes]:
        head = [b"EVALSHA", INSTALL.sha.encode(), b"%d" % (len(keys) + 1), self._epoch_key, *keys]
        return [*head, epoch, b"%d" % self._kept_ms, lifting, *values]

    async def fence(self, digests: Sequence[bytes], mark: bytes) -> list[Activity | None]:
        """Replace entries by a fence, which nothing but *mark* lifts, and return their activity."""
        if not digests:
            return []
        keys = [self.key(digest) for digest in digests]
        kept_ms = b"%d" % duration_ms(self.fence_lasts)
        found = await self._eval(RAISE.text, keys, FENCE + mark, kept_ms)
        return [activity_of(_bytes(value)) for value in found]

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the raw values of *keys*."""
        if not keys:
            return []
        return [_bytes(value) for value in await self._ask(lambda: self._redis.mget(keys))]

    async def activities(self, digests: Iterable[bytes]) -> list[Activity | None]:
        """Return what Redis knows of the sessions' last requests."""
        return [activity_of(value) for value in await self.read([self.key(digest) for digest in digests])]

    async def scan(self, *, size: int) -> AsyncIterator[list[bytes]]:
        """Walk over the keys of all entries; a key may come twice."""
        cursor: int | None = None
        pattern = _literal(self._prefix) + b"*"
        while cursor != 0:
            scan = partial(self._redis.scan, cursor or 0, match=pattern, count=size)
            cursor, keys = await self._ask(scan)
            yield [key if isinstance(key, bytes) else key.encode() for key in keys]

    def digest(self, key: bytes) -> bytes | None:
        """Return the digest in an entry's *key*, or None if it holds none."""
        try:
            return bytes.fromhex(key.removeprefix(self._prefix).decode("ascii", "replace"))
        except ValueError:
            return None

    async def drop(self, key: bytes, body: str) -> bool:
        """Delete the entry if it still holds *body*."""
        return bool(await self._eval(DROP.text, [key], body))

    async def delete(self, key: bytes) -> bool:
        """Delete whatever stands at *key*."""
        return bool(await self._ask(lambda: self._redis.delete(key)))

    async def saved(self, instants_ms: Mapping[bytes, int]) -> None:
        """Note until when PostgreSQL knows the activity of sessions, by digest."""
        keys = [self.key(digest) for digest in instants_ms]
        await self._eval(SAVED.text, keys, *(b"%d" % ms for ms in instants_ms.values()))

    async def advance(self, epoch: bytes, *, anew: bool) -> int | None:
        """Set the epoch forward, never back, and, unless *anew*, only on the server it was begun on.

        Returns:
            The one that holds, or None if Redis has none; negative where it is another server's, or of this
            one's life before a restart or a promotion.
        """
        keys = [self._epoch_key, self._server_key]
        held = await self._eval(ADVANCE.text, keys, epoch, b"1" if anew else b"0")
        return None if held is None else int(held)

    async def load_scripts(self) -> None:
        """Teach the server the scripts; where it forgot them, it forgot more."""
        for script in (TOUCH, INSTALL):
            await self._ask(partial(self._redis.execute_command, "SCRIPT LOAD", script.text))

    async def announce(self, endings: Iterable[Ending]) -> None:
        """Tell whoever listens that sessions ended."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for ending in endings:
                pipe.publish(self.channel, ending.model_dump_json())
            await self._ask(pipe.execute)

    async def _eval(self, text: str, keys: Sequence[bytes], *arguments: bytes | str) -> Any:
        return await self._ask(
            lambda: self._redis.execute_command("EVAL", text, len(keys), *keys, *arguments)
        )

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout_at(due_after(self._timeout)):
                return await call()
        except NoScriptError as error:
            raise CacheForgot from error
        except (RedisError, OSError) as error:
            raise CacheUnavailable from error


def _literal(pattern: bytes) -> bytes:
    """Quote what a MATCH pattern would read as a wildcard."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^" else bytes([c]) for c in pattern)


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
