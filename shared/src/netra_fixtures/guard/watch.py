"""Find mocks by watching: what a test imports, builds, opens and patches while it runs.

The audit hook and the wrappers are set once a process, and do nothing while no test is watched.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Literal

import pytest

from netra_fixtures import audit
from netra_fixtures.guard.callers import Line, importers_line, is_users, users_line
from netra_fixtures.guard.clients import Clients, defined_at, defined_in
from netra_fixtures.guard.refusal import (
    CLIENTS,
    REMEDIES,
    USE_POSTGRES,
    USE_REAL,
    Finding,
    MockRefused,
    is_memory_sqlite,
    refused_module,
)

_MOCKS = [("NonCallableMock", "__new__"), ("_patch", "__enter__"), ("_patch_dict", "_patch_dict")]
BUILDERS = {
    "aioresponses.core": [("aioresponses", "start")],
    "fakeredis": [("FakeRedis", "__init__"), ("FakeStrictRedis", "__init__"), ("FakeServer", "__init__")],
    "fakeredis.aioredis": [("FakeRedis", "__init__")],
    "mock.mock": _MOCKS,
    "mongomock": [("MongoClient", "__init__")],
    "requests_mock.mocker": [("MockerCore", "start")],
    "responses": [("RequestsMock", "start")],
    "respx.router": [("MockRouter", "start")],
    "unittest.mock": _MOCKS,
}
Phase = Literal["setup", "call", "teardown"]


class MockWatch:
    """Watch one test, from `start` to `stop`; what it must not do is refused where it does it."""

    def __init__(self) -> None:
        self._refusal: MockRefused | None = None
        self._outer: MockWatch | None = None
        self._test = ""
        self._place: Line = (Path(), 0)

    def start(self, test: str, place: Line) -> None:
        """Watch the test named *test*, whose first line stands at *place*."""
        self._test, self._place, self._refusal = test, place, None
        _switch.install()
        sys.meta_path.insert(0, _switch)
        self._outer, _switch.current = _switch.current, self

    def stop(self, objects: Iterable[object] | None = ()) -> MockRefused | None:
        """End the watch and give what was refused first.

        Args:
            objects: what the test holds; a patched client among them counts too. None looks for no patches.
        """
        _switch.current, self._outer = self._outer, None
        sys.meta_path.remove(_switch)
        if self._refusal is None and objects is not None:
            self._refusal = self._patched(objects)
        return self._refusal

    def imports(self, name: str, frame: FrameType) -> None:
        """Judge the first import of a module."""
        module = refused_module(name)
        if module is None:
            return
        # Libraries load unittest.mock for ends of their own, and late; nobody but a test wants the others.
        line = importers_line(frame) if REMEDIES[module] is USE_REAL else users_line(frame, self._place)
        self._refuse(line, f"imports {module}", REMEDIES[module])

    def opens(self, database: object, frame: FrameType) -> None:
        """Judge a connection of sqlite3."""
        name = database.decode(errors="replace") if isinstance(database, bytes) else str(database)
        if is_memory_sqlite(name):
            line = users_line(frame, self._place)
            self._refuse(line, f"opens the in-memory database {name!r}", USE_POSTGRES)

    def builds(self, what: str, remedy: str, frame: FrameType) -> None:
        """Judge the making of a mock, or the beginning of a patch."""
        self._refuse(users_line(frame, self._place), what, remedy)

    def patches(self, target: object, name: str, value: object, frame: FrameType) -> None:
        """Judge what monkeypatch is about to do."""
        if target is sys.modules:
            label = name if name.partition(".")[0] in CLIENTS else None
        elif isinstance(target, str):
            label = self._by_name(target, value)
        else:
            label = self._by_object(target, name, value)
        if label:
            self._refuse(users_line(frame, self._place), f"patches {label}", USE_REAL)

    def _by_name(self, dotted: str, value: object) -> str | None:
        if dotted.partition(".")[0] in CLIENTS:
            return dotted
        module, _, name = dotted.rpartition(".")
        return self._by_object(sys.modules[module], name, value) if module in sys.modules else None

    def _by_object(self, target: Any, name: str, value: object) -> str | None:
        own = defined_in(target if isinstance(target, type) else type(target)) == str(self._place[0])
        owner = (
            getattr(target, "__qualname__", None)
            or getattr(target, "__name__", None)
            or type(target).__qualname__
        )
        if _switch.clients.includes(target):
            return f"{owner}.{name}"
        replaced = getattr(target, name, None)
        takes_its_place = _switch.clients.includes(replaced) and not _switch.clients.includes(value)
        return f"{owner}.{name}, which is a client" if takes_its_place and not own else None

    def _patched(self, objects: Iterable[object]) -> MockRefused | None:
        found = []
        for label, value in _switch.clients.patches(objects):
            file, line = defined_at(value) or (str(self._place[0]), self._place[1])
            place = (Path(file), line) if is_users(file) else self._place
            found.append(Finding(*place, f"stands in for {label}", USE_REAL))
        return MockRefused(self._test, found) if found else None

    def _refuse(self, line: Line | None, what: str, remedy: str) -> None:
        if line is None:
            return
        refusal = MockRefused(self._test, [Finding(*line, what, remedy)])
        self._refusal = self._refusal or refusal
        raise refusal


@contextlib.contextmanager
def guarding(item: pytest.Item, phase: Phase) -> Iterator[None]:
    """Watch one phase of an integration test; a refusal replaces its outcome.

    Whether clients are patched is looked up where the test itself ends, before its fixtures clean up.
    """
    watch = MockWatch()
    watch.start(item.nodeid, (item.path, (item.location[1] or 0) + 1))
    try:
        yield
    except (KeyboardInterrupt, SystemExit, pytest.exit.Exception):
        watch.stop(None)
        raise
    except BaseException as error:
        refusal = watch.stop(_holds(item, phase))
        if refusal is None or refusal is error:
            raise
        raise refusal from error
    refusal = watch.stop(_holds(item, phase))
    if refusal is not None:
        raise refusal


def _holds(item: pytest.Item, phase: Phase) -> Iterable[object] | None:
    return getattr(item, "funcargs", {}).values() if phase == "call" else None


class _Switch:
    """Python's hooks are the process's: this holds what was hooked, and whom to tell."""

    def __init__(self) -> None:
        self.current: MockWatch | None = None
        self.clients = Clients()
        self._hooked = False
        self._wrapped: dict[str, ModuleType] = {}
        self._lock = threading.Lock()

    def install(self) -> None:
        """Hook what is loaded by now and was not yet hooked."""
        if not self._hooked:
            with self._lock:
                if not self._hooked:
                    audit.listen("sqlite3.connect", self._opened)
                    _wrap_monkeypatch(self)
                    self._hooked = True
        for name, builders in BUILDERS.items():
            module = sys.modules.get(name)
            if module is not None and self._wrapped.get(name) is not module:
                self._wrapped[name] = module
                for kind, method in builders:
                    _wrap_builder(self, name, getattr(module, kind, None), method)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Be asked first for each module that is not loaded yet, however it is imported; find none."""
        if self.current is not None:
            self.current.imports(name, sys._getframe(1))

    def _opened(self, args: tuple[Any, ...]) -> None:
        if self.current is not None:
            self.current.opens(args[0], sys._getframe(2))


def _wrap_builder(switch: _Switch, module: str, owner: object, method: str) -> None:
    if not isinstance(owner, type):
        return
    original = getattr(owner, method)
    remedy = REMEDIES[refused_module(module) or "mock"]

    @functools.wraps(original)
    def watched(first: Any, *args: Any, **kwargs: Any) -> Any:
        if switch.current is not None:
            switch.current.builds(_described(first, method), remedy, sys._getframe(1))
        return original(first, *args, **kwargs)

    setattr(owner, method, staticmethod(watched) if method == "__new__" else watched)


def _described(first: Any, method: str) -> str:
    if isinstance(first, type):
        return f"builds a {first.__name__}"
    patched = getattr(first, "attribute", None)
    if method == "__enter__" and isinstance(patched, str):
        return f"patches {patched}"
    return (
        f"starts {type(first).__name__.lstrip('_')}"
        if method != "__init__"
        else f"builds a {type(first).__name__}"
    )


def _wrap_monkeypatch(switch: _Switch) -> None:
    for method in ("setattr", "delattr", "setitem", "delitem"):
        setattr(pytest.MonkeyPatch, method, _watched_patch(switch, getattr(pytest.MonkeyPatch, method)))


def _watched_patch(switch: _Switch, original: Callable[..., None]) -> Callable[..., None]:
    of_items = original.__name__.endswith("item")

    @functools.wraps(original)
    def watched(self: pytest.MonkeyPatch, target: Any, *args: Any, **kwargs: Any) -> None:
        watch = switch.current
        if watch is not None and (target is sys.modules or not of_items):
            given = [*args, *kwargs.values(), None, None]
            name, value = ("", given[0]) if isinstance(target, str) else (str(given[0]), given[1])
            watch.patches(target, name, value, sys._getframe(1))
        original(self, target, *args, **kwargs)

    return watched


_switch = _Switch()
