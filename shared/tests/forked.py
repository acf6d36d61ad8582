"""Runs of pytest, and of the kit's commands, that are forked where all that they import is there already."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from netra_fixtures.forkserver import LENGTH

PROGRAM = Path(__file__).with_name("forking.py")
DEADLINE_S = 120


class ForkedRuns:
    """Runs modules as `python -m` would, forked from a process that has imported what pytest and the kit do.

    Args:
        options: those of its own run of pytest, which decide what plugins are imported.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._control, given = socket.socketpair()
        # of this session; Python reads some of its own as it starts, and only then
        others = ("NETRA_", "PYTEST_", "PYTHON")
        own = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        with given:
            self._server = subprocess.Popen(
                # its text: the name of a file of ours, below all that a run calls, would be taken for a user's
                [sys.executable, "-P", "-c", PROGRAM.read_text(), str(given.fileno()), *options],
                pass_fds=[given.fileno()], env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def close(self) -> None:
        """End what forks, and what it forked."""
        self._control.close()
        self._server.kill()
        self._server.wait()

    def pytest(self, folder: Path, *arguments: str) -> pytest.RunResult:
        """Run pytest in *folder*, and show what it says."""
        began = time.monotonic()
        done = self.run("pytest", *arguments, folder=folder, environ=os.environ)
        print(done.stdout, done.stderr, sep="\n")
        lines = done.stdout.splitlines(), done.stderr.splitlines()
        return pytest.RunResult(done.returncode, *lines, time.monotonic() - began)

    def run(
        self, module: str, *arguments: str | Path, folder: Path, environ: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a module in *folder*, and wait for its end.

        Raises:
            TimeoutError: it was killed, since it had not ended after 120 s.
        """
        request = {
            "program": module, "module": True, "arguments": list(map(str, arguments)), "folder": str(folder),
            "imports": [], "environment": dict(environ),
        }  # fmt: skip
        with ExitStack() as opened:
            nothing = opened.enter_context(Path(os.devnull).open("rb"))
            out, err = (opened.enter_context(TemporaryFile("w+", encoding="utf8")) for _ in range(2))
            told, given = map(opened.enter_context, socket.socketpair())
            self._ask(request, [one.fileno() for one in (nothing, out, given, err)])
            given.close()
            code = _ended(told)
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess([module, *map(str, arguments)], code, out.read(), err.read())

    def _ask(self, request: Mapping[str, object], descriptors: Sequence[int]) -> None:
        data = json.dumps(request).encode()
        socket.send_fds(self._control, [LENGTH.pack(len(data))], descriptors)
        self._control.sendall(data)


def _ended(told: socket.socket) -> int:
    """Wait for the end of what was forked, and give its exit code."""
    told.settimeout(DEADLINE_S)
    with told.makefile() as lines:
        pid = json.loads(lines.readline())["pid"]
        try:
            return int(json.loads(lines.readline())["code"])
        except BaseException:  # the test's own timeout too
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
