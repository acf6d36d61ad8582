"""What a test opens, and what of it is still open once its own fixtures are done: each is named and closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any

from netra_fixtures import audit
from netra_fixtures.errors import Leaked, ServicesUnavailable
from netra_fixtures.evidence import Tap
from netra_fixtures.guard.callers import is_users
from netra_fixtures.waiting import time_factor

GRACE_S = 1  # for what is about to end by itself
ENDING_S = 10  # for a task that was told to end
TURNS = 5
SPAWNS = ("os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen")
# what Python and the kit start by themselves and keep for the process's life
STANDING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "netra_fixtures/forkserver.py")
UNCLOSED = r"(?i)unclosed (connection|transport|<socket)"
NOT_CHECKED_IN = "The garbage collector is trying to clean up non-checked-in connection"

Place = tuple[str, int]  # file and line

_current: LeakWatch | None = None
_in_test: ContextVar[LeakWatch | None] = ContextVar("netra_in_test", default=None)


@dataclass(frozen=True)
class Leak:
    """Something that a test left open.

    Attributes:
        what: with its article, as ``a connection``.
        place: the line that opened it.
    """

    what: str
    place: Place

    def __str__(self) -> str:
        file, line = self.place
        near = os.path.relpath(file)
        return f"{self.what}, opened at {file if near.startswith('..') else near}:{line}"


class LeakWatch:
    """Watch one test from before its fixtures are set up until after they are torn down.

    Args:
        tap: whose links lead to what the test may use.
        test: its first line, for what no line of the user's opened.
    """

    def __init__(self, tap: Tap, test: Place) -> None:
        self._tap = tap
        self.test = test
        self._root = f"{tap.directory}/"
        self._leaks: list[Leak] = []
        self._sockets: list[tuple[weakref.ref[socket.socket], str, Place]] = []  # with link and place
        self._tasks: dict[asyncio.Task[Any], Place] = {}  # that go on; kept, lest one that hangs is collected
        self._held: set[asyncio.Task[Any]] = set()
        self._spawned: list[Place] = []
        self._children: set[int] = set()  # before the first was spawned

    def found(self, leak: Leak) -> None:
        """Note a leak; it fails the test when the watch ends."""
        self._leaks.append(leak)
        # those that fail because what they use is closed now have failed enough
        self._held.update(self._tasks)

    def place(self, frame: FrameType | None) -> Place:
        """Give the innermost line of the user's at or above *frame*; the test's first where there is none."""
        while frame is not None:
            if is_users(frame.f_code.co_filename):
                return frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        with contextlib.suppress(RuntimeError):  # no loop runs
            return self._tasks.get(asyncio.current_task(), self.test)  # type: ignore[arg-type]
        return self.test

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the block ends, and close what was left open then."""
        global _current
        for event in SPAWNS:
            audit.listen(event, _spawned)
        audit.listen("socket.connect", _connected)
        outer, _current = _current, self
        with warnings.catch_warnings():
            warnings.filterwarnings("always", UNCLOSED, ResourceWarning)
            warnings.filterwarnings("always", NOT_CHECKED_IN)
            warnings.showwarning = self._collected(warnings.showwarning)
            try:
                yield
            finally:
                _current = outer
                self._end_children()
                self._cut_connections()

    def judge(self) -> None:
        """Fail the test for what it left open.

        Raises:
            Leaked: it left something; it is closed by now.
        """
        if self._leaks:
            raise Leaked([str(leak) for leak in self._leaks])

    # tasks

    @contextlib.asynccontextmanager
    async def of_loop(self) -> AsyncIterator[None]:
        """Watch the tasks that the test starts on the running loop, and end those that it leaves."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(self._factory(before))
        _in_test.set(self)
        yield
        _in_test.set(None)
        loop.set_task_factory(before)
        await self._end_tasks()
        await _turns()
        self._cut_connections()
        if self._leaks:
            gc.collect()  # what a leak holds on to would be collected in some other test
            await _turns()

    def _factory(self, before: Any) -> Any:
        def begin(
            loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
        ) -> asyncio.Task[Any]:
            task = before(loop, coro, **options) if before else asyncio.Task(coro, loop=loop, **options)
            if _in_test.get() is self:
                self._tasks[task] = self.place(sys._getframe(1))
                task.add_done_callback(self._tasks.pop)
            return task

        return begin

    async def until_cancelled_end(self) -> None:
        """Wait for the tasks that were told to end: they still use what they were given."""
        cancelled = [task for task in self._tasks if task.cancelling()]
        if cancelled:
            await asyncio.wait(cancelled, timeout=ENDING_S * time_factor())

    async def _end_tasks(self) -> None:
        await self.until_cancelled_end()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S * time_factor())
        for task, place in list(self._tasks.items()):
            self.found(Leak(f"the task {_name(task)}", place))
            task.cancel()
            await asyncio.wait([task], timeout=GRACE_S * time_factor())
        for task in self._held:
            if task.done() and not task.cancelled():
                task.exception()  # has been seen

    # processes

    def _end_children(self) -> None:
        limit = time.monotonic() + GRACE_S * time_factor()
        left = self._left_children()
        while left and time.monotonic() < limit:
            time.sleep(0.002)
            left = self._left_children()
        for pid, command in left.items():
            where = self._spawned[0] if len(set(self._spawned)) == 1 else self.test
            self.found(Leak(f"the child process {pid} ({command})", where))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left_children(self) -> dict[int, str]:
        if not self._spawned:
            return {}
        commands = {pid: _command(pid) for pid in _children() - self._children}
        return {
            pid: command
            for pid, command in commands.items()
            if command and not any(name in command for name in STANDING)
        }

    # connections

    def _collected(self, show: Callable[..., None]) -> Callable[..., None]:
        """Tell of a connection that was collected without having been closed, as the client's library warns."""

        def shown(
            message: Any, category: Any, filename: str, lineno: int, *more: Any, **options: Any
        ) -> None:
            place = self._opened_at(sys._getframe(1))
            if place is None and not self._leaks:
                show(message, category, filename, lineno, *more, **options)
            elif place is not None:
                self.found(Leak("a connection", place))

        return shown

    def _opened_at(self, frame: FrameType | None) -> Place | None:
        """Say where the connection that is being collected below *frame* was opened, if it was one of the test's."""
        while frame is not None:
            for name in ("self", "dbapi_connection"):
                descriptor = _descriptor(frame.f_locals.get(name))
                for reference, _, place in self._sockets if descriptor is not None else ():
                    own = reference()
                    if own is not None and own.fileno() == descriptor:
                        return place
            frame = None if frame.f_code.co_name == "__del__" else frame.f_back
        return None

    def _cut_connections(self) -> None:
        """Close what this process still holds; the tap lists its connections in the order they were made."""
        places: dict[str, list[Place]] = {}
        for reference, link, place in self._sockets:
            own = reference()
            if own is not None and own.fileno() != -1:
                places.setdefault(link, []).append(place)
        self._sockets.clear()
        for link, opened in places.items():
            states: list[str] = []
            with contextlib.suppress(ServicesUnavailable):  # the tap is gone, and the connections with it
                states = self._tap.cut(link, os.getpid())
            for state, place in zip_longest(states, opened):
                self.found(Leak(f"{state or 'a connection'} to {link}", place or self.test))


async def _turns() -> None:
    """Let the event loop go round: transports that were closed close their sockets then."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _spawned(args: tuple[Any, ...]) -> None:
    if _current is not None:
        if not _current._spawned:
            _current._children = _children()
        _current._spawned.append(_current.place(sys._getframe(2)))


def _connected(args: tuple[Any, ...]) -> None:
    """Keep in mind which socket leads to a server, and who opened it."""
    own, address = args
    if _current is not None and isinstance(address, str) and address.startswith(_current._root):
        link = address.removeprefix(_current._root).partition("/")[0]
        if not link.startswith("kit-"):
            _current._sockets.append((weakref.ref(own), link, _current.place(sys._getframe(2))))


def _descriptor(holder: Any) -> int | None:
    """Give the open file descriptor of a client's connection, whichever library's it is."""
    for name in ("_connection", "_writer", "_transport"):
        holder = getattr(holder, name, None) or holder
    ask = getattr(holder, "get_extra_info", None)
    own = ask("socket") if ask is not None else None
    return own.fileno() if own is not None and own.fileno() != -1 else None


def _name(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task))


def _children() -> set[int]:
    """Give the ids of this process's children; none where the system has no /proc."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, thread.read_text().split()))
    return found


def _command(pid: int) -> str:
    """Give a process's command line; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
