"""Know the clients of real servers, and see where a test has put something else in their place."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from types import MethodType, ModuleType
from typing import Any

from netra_fixtures.guard.callers import is_users
from netra_fixtures.guard.refusal import CLIENTS

CLASSES = {
    "asyncpg.connection": ["Connection"],
    "asyncpg.pool": ["Pool", "PoolConnectionProxy"],
    "psycopg": ["AsyncConnection", "AsyncCursor", "Connection", "Cursor"],
    "redis.asyncio.client": ["Pipeline", "PubSub", "Redis"],
    "redis.asyncio.connection": ["BlockingConnectionPool", "Connection", "UnixDomainSocketConnection"],
    "redis.client": ["Pipeline", "PubSub", "Redis"],
    "redis.connection": ["BlockingConnectionPool", "Connection", "UnixDomainSocketConnection"],
    "sqlalchemy.engine.base": ["Connection", "Engine"],
    "sqlalchemy.ext.asyncio.engine": ["AsyncConnection", "AsyncEngine"],
    "sqlalchemy.ext.asyncio.session": ["AsyncSession"],
    "sqlalchemy.orm.session": ["Session"],
    "valkey.asyncio.client": ["Pipeline", "PubSub", "Valkey"],
    "valkey.client": ["Pipeline", "PubSub", "Valkey"],
    "websockets.asyncio.client": ["ClientConnection"],
    "websockets.asyncio.server": ["ServerConnection"],
    "websockets.sync.client": ["ClientConnection"],
}
OPENERS = {
    "asyncpg": ["connect", "create_pool"],
    "psycopg": ["connect"],
    "redis": ["Redis", "from_url"],
    "redis.asyncio": ["Redis", "from_url"],
    "sqlalchemy": ["create_engine"],
    "sqlalchemy.ext.asyncio": ["create_async_engine"],
    "valkey": ["Valkey", "from_url"],
    "valkey.asyncio": ["Valkey", "from_url"],
    "websockets.asyncio.client": ["connect"],
    "websockets.asyncio.server": ["serve"],
}
_MODULES = list(dict.fromkeys([*CLASSES, *OPENERS]))
_WRAPPERS = (staticmethod, classmethod, MethodType, property, functools.partial)
_GONE = object()


class Clients:
    """The client classes that are loaded, as they were when first seen."""

    def __init__(self) -> None:
        self._kinds: dict[type, dict[str, Any]] = {}  # with their bases
        self._clients: tuple[type, ...] = ()
        self._openers: dict[tuple[ModuleType, str], Any] = {}
        self._seen: dict[str, ModuleType] = {}

    def patches(self, objects: Iterable[object]) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, what stands there now) of each part of a client that is not its own."""
        self._learn()
        for kind, original in self._kinds.items():
            if vars(kind) != original:
                yield from self._changed(kind, original)
        for (module, name), opener in self._openers.items():
            now = getattr(module, name, None)
            if now is not opener and replaces(now):
                yield f"{module.__name__}.{name}", now
        for client in self._within(objects):
            yield from _shadowed(client)

    def includes(self, value: object) -> bool:
        """Tell whether *value* is a client, or a class or module of a library of clients."""
        if isinstance(value, ModuleType):
            return _root(value.__name__) in CLIENTS
        if isinstance(value, type):
            return _root(value.__module__) in CLIENTS
        if type(value).__module__ == "builtins":
            return _root(getattr(value, "__module__", None)) in CLIENTS and callable(value)
        self._learn()
        return issubclass(type(value), self._clients)

    def _learn(self) -> None:
        for name in _MODULES:
            module = sys.modules.get(name)
            if module is None or self._seen.get(name) is module:
                continue
            kinds = [getattr(module, kind, None) for kind in CLASSES.get(name, ())]
            openers = {opener: getattr(module, opener, None) for opener in OPENERS.get(name, ())}
            if None in kinds or None in openers.values():  # it is being imported; look again later
                continue
            self._seen[name] = module
            for kind in kinds:
                if isinstance(kind, type):
                    self._learn_class(kind)
            for opener, value in openers.items():
                self._openers[module, opener] = None if by_user(value) else value

    def _learn_class(self, kind: type) -> None:
        self._clients += (kind,)
        for base in kind.__mro__:
            if _root(base.__module__) in CLIENTS:
                self._kinds.setdefault(base, {k: v for k, v in vars(base).items() if not by_user(v)})

    def _changed(self, kind: type, original: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        now = vars(kind)
        for name in {*now, *original}:
            before, after = original.get(name, _GONE), now.get(name, _GONE)
            if before is after:
                continue
            inherited = before is _GONE and any(name in vars(base) for base in kind.__mro__[1:])
            if (inherited and replaces(after)) or (_is_code(before) and (after is _GONE or replaces(after))):
                yield f"{kind.__module__}.{kind.__qualname__}.{name}", None if after is _GONE else after
            elif after is not _GONE:  # what a library keeps on its classes, or hangs there to trace calls
                original[name] = after
            else:
                del original[name]

    def _within(self, objects: Iterable[object]) -> Iterator[object]:
        """Yield the clients among *objects* and in their attributes."""
        seen: set[int] = set()
        for value in objects:
            parts = () if isinstance(value, type | ModuleType) else _attributes(value).values()
            for part in (value, *parts):
                if issubclass(type(part), self._clients) and id(part) not in seen:
                    seen.add(id(part))
                    yield part


def replaces(value: object) -> bool:
    """Tell whether a method that became *value* was replaced by the user: by their code, or by a constant."""
    return by_user(value) or not (_is_code(value) or callable(value))


def by_user(value: object) -> bool:
    """Tell whether *value* is a function, method, property or callable object of the user's code."""
    code = getattr(_bare(value), "__code__", None)
    if code is not None:
        return is_users(code.co_filename)
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__ == "builtins" or not callable(value):
        return False
    return is_users(defined_in(kind) or "<unknown>")


def defined_in(kind: type) -> str | None:
    """Give the file of the module that defines *kind*."""
    return getattr(sys.modules.get(kind.__module__), "__file__", None)


def defined_at(value: object) -> tuple[str, int] | None:
    """Give the file and line where a function of the user's begins."""
    code = getattr(_bare(value), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else None


def _bare(value: object) -> object:
    while isinstance(value, _WRAPPERS):
        if isinstance(value, property):
            value = value.fget
        else:
            value = value.func if isinstance(value, functools.partial) else value.__func__
    return value


def _is_code(value: object) -> bool:
    return isinstance(value, staticmethod | classmethod | property) or callable(value)


def _shadowed(client: object) -> Iterator[tuple[str, Any]]:
    kind = type(client)
    for name, value in _attributes(client).items():
        if by_user(value) and callable(getattr(kind, name, None)):
            yield f"{kind.__module__}.{kind.__qualname__}.{name}", value


def _attributes(value: object) -> dict[str, Any]:
    try:
        return dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return {}


def _root(module: object) -> str:
    return module.partition(".")[0] if isinstance(module, str) else ""
