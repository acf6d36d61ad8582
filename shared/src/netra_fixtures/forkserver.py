"""Forks processes that run Python programs, and has imported before what such a program imports at its top.

A program of its own, beside the worker that asks: it imports nothing of the kit, has one thread, and ends with the
worker. A request is a JSON object after its length, with three sockets: the program's standard input, its standard
output, and where its process id and later its exit code are told, a JSON object a line each. A fourth descriptor is
its standard error.
"""

import ast
import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

LENGTH = struct.Struct("!I")
DESCRIPTORS = 4
PR_SET_PDEATHSIG = 1


class ForkServer:
    """Forks for who asks on *control*, until its other end closes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._told: dict[int, socket.socket] = {}
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._woken, wake = socket.socketpair()
        for end in (self._woken, wake):
            end.setblocking(False)
        self._wake = wake

    def serve(self) -> dict[str, Any] | None:
        """Serve requests; in a forked process return the request that it is for, and None when all is over."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker gets it too, and says when to end
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as ready:
            ready.register(self._control, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while True:
                asked = self._control in [key.fileobj for key, _ in ready.select()]
                self._reap()
                if not asked:
                    continue
                data, descriptors, *_ = socket.recv_fds(self._control, LENGTH.size, DESCRIPTORS)
                if not data:
                    return None
                data = self._control.recv(LENGTH.unpack(data)[0], socket.MSG_WAITALL)
                request: dict[str, Any] = json.loads(data)
                if self._forked(request, descriptors):
                    return request

    def _forked(self, request: dict[str, Any], descriptors: list[int]) -> bool:
        """Fork, and tell the process id; true in the new process, which has become what was asked for."""
        told = socket.socket(fileno=descriptors.pop(2))
        for name in (*imports(request), *request["imports"]):
            with contextlib.suppress(Exception, SystemExit):  # the program will say so itself
                importlib.import_module(name)
        server = os.getpid()
        sys.stdout.flush()  # what an import said would be said again by each program
        gc.freeze()  # a collection would write to all of the memory that processes share
        pid = os.fork()
        if pid:
            for descriptor in descriptors:
                os.close(descriptor)
            self._told[pid] = told
            if not _told(told, pid=pid):  # nobody would end it
                os.kill(pid, signal.SIGKILL)
            return False
        self._leave(server)
        told.close()
        _become(request, descriptors)
        return True

    def _leave(self, server: int) -> None:
        """Let go in a forked process of all that is the server's, and end when it does."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit.register(gc.unfreeze)  # what Python's end can't let go of, some libraries report as leaked
        if self._libc is not None:
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != server:
                os._exit(1)
        for end in (self._control, self._woken, self._wake, *self._told.values()):
            end.close()

    def _reap(self) -> None:
        """Tell how processes ended."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if told := self._told.pop(ended[0], None):  # else something that an import started
                    with told:
                        _told(told, code=os.waitstatus_to_exitcode(ended[1]))


def imports(request: dict[str, Any]) -> Iterator[str]:
    """Name what the program of a request imports at its top."""
    path = request["program"]
    if request["module"]:
        with contextlib.suppress(ImportError):
            spec = importlib.util.find_spec(path)
            path = spec.origin if spec else None
    try:
        with open(path, "rb") as source:
            body = ast.parse(source.read()).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return
    for line in body:
        if isinstance(line, ast.Import):
            yield from (one.name for one in line.names)
        elif isinstance(line, ast.ImportFrom) and line.module and not line.level:
            yield line.module


def run(request: dict[str, Any]) -> None:
    """Run the program as Python would from a command line."""
    sys.argv = [request["program"], *request["arguments"]]
    before = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if request["module"]:
        sys.path[:0] = [os.getcwd(), *before]
        runpy.run_module(request["program"], run_name="__main__", alter_sys=True)
    else:
        sys.path[:0] = [os.path.dirname(os.path.abspath(request["program"])), *before]
        runpy.run_path(request["program"], run_name="__main__")


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])


def _told(told: socket.socket, **what: int) -> bool:
    """Tell it; false where nobody listens any more."""
    try:
        told.sendall(json.dumps(what).encode() + b"\n")
    except OSError:
        return False
    return True


def main() -> None:
    """Serve on the socket whose descriptor is the argument; in each forked process run its program."""
    request = ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        run(request)


if __name__ == "__main__":
    main()
