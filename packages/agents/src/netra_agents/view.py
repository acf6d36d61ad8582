"""What screens read of runs, in Redis: made of the truth in PostgreSQL, and made again by one call."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from netra_agents.errors import StoreUnavailable
from netra_agents.run import RunId

# KEYS: the views. ARGV: their texts. Each is set unless one of a later revision stands there.
_SHOW: Final = """
for i, key in ipairs(KEYS) do
  local there = redis.call('GET', key)
  local read, known = pcall(cjson.decode, there)
  if not there or not read or type(known) ~= 'table' or type(known.revision) ~= 'number'
    or known.revision <= cjson.decode(ARGV[i]).revision
  then
    redis.call('SET', key, ARGV[i])
  end
end
"""
_PAGE: Final = 500


class View:
    """The views of one installation's runs; the client stays the caller's."""

    def __init__(self, redis: Redis, namespace: str, *, deadline: timedelta) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:agents:run:"
        self._deadline = deadline.total_seconds()
        self._show = redis.register_script(_SHOW)

    async def show(self, views: Sequence[tuple[RunId, str]]) -> None:
        """Bring views up to date, unless they are ahead.

        Raises:
            StoreUnavailable: Redis did not answer within the deadline.
        """
        if not views:
            return
        keys = [self._prefix + str(run) for run, _ in views]
        async with _answered(self._deadline):
            await self._show(keys=keys, args=[view for _, view in views])

    async def read(self, runs: Sequence[RunId]) -> list[str | None]:
        """Return the views of runs, in their order."""
        if not runs:
            return []
        async with _answered(self._deadline):
            found = await self._redis.mget([self._prefix + str(run) for run in runs])
        return [_text(one) for one in found]

    async def drop(self, runs: Sequence[RunId]) -> None:
        """Remove the views of runs."""
        if not runs:
            return
        async with _answered(self._deadline):
            await self._redis.delete(*(self._prefix + str(run) for run in runs))

    async def all(self) -> AsyncIterator[RunId]:
        """Give the runs that have a view; each at least once."""
        cursor: int = 0
        while True:
            async with _answered(self._deadline):
                cursor, keys = await self._redis.scan(cursor, match=_escaped(self._prefix) + "*", count=_PAGE)
            for key in keys:
                name = (_text(key) or "").removeprefix(self._prefix)
                try:
                    yield RunId(UUID(name))
                except ValueError:
                    continue
            if cursor == 0:
                return


@asynccontextmanager
async def _answered(seconds: float) -> AsyncIterator[None]:
    """Give up what Redis does not answer in time."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise StoreUnavailable("Redis") from error


def _text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value


def _escaped(text: str) -> str:
    return "".join(f"\\{one}" if one in "*?[]\\^-" else one for one in text)
