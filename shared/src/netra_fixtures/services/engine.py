"""The container engine: whether one may be there, and its program `docker`, each call with a deadline."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.services.process import dying_with_parent

SOCKETS = ("/var/run/docker.sock", "{XDG_RUNTIME_DIR}/docker.sock", "{HOME}/.docker/run/docker.sock")
GRACE_S = 1


def in_sight(environ: Mapping[str, str]) -> bool:
    """Tell whether an engine may answer, at the cost of a few looks at files: its program and its socket are there."""
    if shutil.which("docker", path=environ.get("PATH")) is None:
        return False
    host = environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        return os.path.exists(host.removeprefix("unix://"))
    known = {name: environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "HOME")}
    return bool(
        host or _context(environ) or any(os.path.exists(socket.format(**known)) for socket in SOCKETS)
    )


def _context(environ: Mapping[str, str]) -> bool:
    """Tell whether the user chose an engine other than the one at the usual socket."""
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME", ""), ".docker")
    with contextlib.suppress(OSError):
        return '"currentContext"' in Path(folder, "config.json").read_text(errors="replace")
    return bool(environ.get("DOCKER_CONTEXT"))


class Said(NamedTuple):
    """What one call of the program ended with."""

    code: int
    out: str
    err: str

    @property
    def why(self) -> str:
        """The last line of what it complained about."""
        lines = self.err.strip().splitlines() or self.out.strip().splitlines()
        return lines[-1].strip() if lines else f"it ended with {self.code}"


class Docker:
    """The program `docker`, called with *environ*.

    Calls are made on the main thread: a child dies with the thread that started it. `interrupt`, from another thread,
    ends the call that runs and refuses those that follow.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._interrupted = False

    @property
    def program(self) -> str:
        """The path of the program.

        Raises:
            ServicesUnavailable: there is none.
        """
        found = shutil.which("docker", path=self.environ.get("PATH"))
        if found is None:
            raise ServicesUnavailable(
                "Docker",
                "there is no program docker on PATH",
                "install Docker with its Compose plugin, or use --services=embedded",
            )
        return found

    def call(self, *arguments: str, deadline_s: float, uninterrupted: bool = False) -> Said:
        """Run to the end, or to the deadline, which counts as a failure that says so.

        Args:
            uninterrupted: `interrupt` lets the call end by itself, since the engine would go on with it anyway.

        Raises:
            ServicesUnavailable: there is no such program, or the run is over.
        """
        with self._lock:
            if self._interrupted:
                raise ServicesUnavailable("Docker", "the run is over", "start another")
            process = self._start(*arguments)
            self._running = None if uninterrupted else process
        try:
            out, err = process.communicate(timeout=deadline_s)
            return Said(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            _kill(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=GRACE_S)
            return Said(1, "", f"docker {arguments[0]} took longer than {deadline_s:g} s")
        finally:
            self._running = None

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.program, *arguments],
            env=self.environ,
            cwd="/",  # compose looks for files from here upwards
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=dying_with_parent(signal.SIGKILL),
        )

    def interrupt(self) -> None:
        """End the call that runs, and refuse those that follow."""
        with self._lock:
            self._interrupted = True
            if self._running:
                _kill(self._running)


def _kill(process: "subprocess.Popen[str]") -> None:
    """End the program, and the plugin that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
