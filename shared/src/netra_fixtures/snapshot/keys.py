"""Reads the keys that a test left in its Redis, over a connection of the kit's own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netra_fixtures.isolation.redis import WorkerRedis
from netra_fixtures.report.left import KeyLeft, RedisLeft
from netra_fixtures.snapshot import masking

if TYPE_CHECKING:
    from redis import Redis

DEADLINE_S = 5
MOST_SCANNED = 100_000
SIZES = {
    "string": "STRLEN", "hash": "HLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD", "stream": "XLEN",
}  # fmt: skip


@dataclass(frozen=True)
class Extent:
    """How much is read, and whether secrets are masked."""

    keys: int
    items: int
    characters: int
    masked: bool


SHOWN = Extent(keys=40, items=5, characters=masking.READ_CHARACTERS, masked=True)
KEPT = Extent(keys=1000, items=1000, characters=100_000, masked=False)


def read_keys(own: WorkerRedis, extent: Extent, *, time_factor: float) -> RedisLeft:
    """Read names, types, times to live, sizes and the beginnings of values, by name.

    Raises:
        redis.RedisError: it answers no more.
    """
    limit = time.monotonic() + DEADLINE_S * time_factor
    with own.another_client(timeout_s=2 * time_factor) as client:
        match = "*" if own.alone else f"{own.namespace}:*"
        found = {bytes(name) for name in itertools.islice(_scanned(client, match, limit), MOST_SCANNED)}
        count = int(client.dbsize()) if own.alone else len(found)
        keys = []
        for name in sorted(found)[: extent.keys]:
            if time.monotonic() > limit:
                break
            key = _key(client, name, extent)
            if key is not None:
                keys.append(key)
    notes = (
        []
        if len(keys) == min(len(found), extent.keys)
        else ["Keys expired, or time ran out, as they were read."]
    )
    return RedisLeft(keys=tuple(keys), count=max(count, len(keys)), notes=tuple(notes))


def _scanned(client: Redis, match: str, limit: float) -> Iterator[Any]:
    for name in client.scan_iter(match=match, count=WorkerRedis.SCAN_BATCH):
        yield name
        if time.monotonic() > limit:
            return


def _key(client: Redis, name: bytes, extent: Extent) -> KeyLeft | None:
    kind = _text(client.type(name))
    if kind == "none":
        return None
    ttl_ms: Any = client.pttl(name)
    size: Any = client.execute_command(SIZES[kind], name) if kind in SIZES else 0
    key = _text(name)
    return KeyLeft(
        name=masking.shown_key(key) if extent.masked else key,
        type=kind,
        ttl_s=ttl_ms / 1000 if ttl_ms >= 0 else None,
        size=size,
        value=_value(client, name, kind, size, extent),
    )


def _value(client: Redis, name: bytes, kind: str, size: int, extent: Extent) -> str:
    key, few = _text(name), extent.items
    if kind == "string":
        text = _text(client.getrange(name, 0, extent.characters - 1))
        return masking.shown(key, text, size) if extent.masked else text
    if kind == "hash":
        items = _pairs(key, _mapping(client.hscan(name, count=few)), extent)
    elif kind == "list":
        items = (_item(key, one, extent) for one in _many(client.lrange(name, 0, few - 1)))
    elif kind == "set":
        items = (_item(key, one, extent) for one in _many(client.sscan(name, count=few)))
    elif kind == "zset":
        scored: Any = client.zrange(name, 0, few - 1, withscores=True)
        items = (f"{_item(key, member, extent)} = {score:g}" for member, score in scored)
    elif kind == "stream":
        entries: Any = client.xrange(name, count=few)
        items = (f"{_text(at)} ({', '.join(_pairs(key, fields, extent))})" for at, fields in entries)
    else:
        return "a value of a type that is not shown"
    some = list(itertools.islice(items, few))
    return ", ".join(some) + (", …" if len(some) < size else "")


def _pairs(key: str, fields: Mapping[Any, Any], extent: Extent) -> Iterator[str]:
    for field, value in fields.items():
        name = _text(field)
        yield f"{_item('', field, extent)}: {_item(f'{key}:{name}', value, extent)}"


def _item(name: str, value: Any, extent: Extent) -> str:
    text = _text(value)
    return masking.shown(name, text[: extent.characters], len(text)) if extent.masked else text


def _mapping(scanned: Any) -> Mapping[Any, Any]:
    fields: Mapping[Any, Any] = scanned[1]
    return fields


def _many(answer: Any) -> Iterable[Any]:
    """Give the members, also of an answer to SSCAN, which begins with a cursor."""
    members: Iterable[Any] = answer[1] if isinstance(answer, tuple) else answer
    return members


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
