"""Start the services once a run, share them between workers, and let go of them together.

The process that runs pytest (under xdist the controller) makes the run's directory and holds a lock on its file
``lease``. The first worker that needs a service starts the supervisor, which lives until that lock is free.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

from netra_fixtures.errors import ServerDied, ServicesUnavailable
from netra_fixtures.settings import Settings

PREFIX = "netra-"
STALE_S = 60
ROOM_BYTES = 512 << 20
START_DEADLINE_S = 30
ANSWER_DEADLINE_S = 120
POLL_S = 0.002
SHARED_MEMORY = Path("/dev/shm")
LONGEST_BASE = 40  # a Unix socket's path has 107 bytes, and up to 60 of them come below the base


class Run:
    """The directory of one run and the lock that keeps its services alive; the process that made it holds both."""

    # of this process, which could lock its own leases again, and would free them by that
    _held: ClassVar[set[Path]] = set()

    def __init__(self) -> None:
        base = _roomy_base()
        _sweep(base, but=self._held)
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        for name in ("lease", "lock"):
            (self.directory / name).touch(mode=0o600)  # who can open a file can lock it
        self.directory.chmod(0o711)  # the server's user passes through; what is inside is closed to it
        self._held.add(self.directory)
        self._lease = (self.directory / "lease").open("w")
        fcntl.lockf(self._lease, fcntl.LOCK_EX)

    def end(self, *, deadline_s: float = 10) -> None:
        """Let go; return when the supervisor has removed everything, or do it where there is none."""
        self._lease.close()
        if (self.directory / "control").exists():
            limit = time.monotonic() + deadline_s
            while self.directory.exists() and time.monotonic() < limit:
                time.sleep(POLL_S)
        shutil.rmtree(self.directory, ignore_errors=True)
        self._held.discard(self.directory)


def _roomy_base() -> Path:
    """Choose memory where it has room, else the folder for temporary files."""
    with contextlib.suppress(OSError):
        room = os.statvfs(SHARED_MEMORY)
        if room.f_bavail * room.f_frsize >= ROOM_BYTES and os.access(SHARED_MEMORY, os.W_OK):
            return SHARED_MEMORY
    base = Path(tempfile.gettempdir())
    return base if len(os.fsencode(base)) <= LONGEST_BASE else Path("/tmp")


def _sweep(base: Path, *, but: Collection[Path]) -> None:
    """Remove what runs left whose holder and supervisor were both killed."""
    for left in set(base.glob(PREFIX + "*")).difference(but):
        with contextlib.suppress(OSError):
            if left.stat().st_uid != os.geteuid() or time.time() - left.stat().st_mtime < STALE_S:
                continue
            with (left / "lease").open("a+") as lease:  # one killed early has none
                fcntl.lockf(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)


class Lease:
    """A worker's hold on the run's services: one connection to the supervisor, kept for the worker's life.

    Raises:
        ServicesUnavailable: the supervisor can't be started or reached.
    """

    def __init__(self, directory: Path, worker: str, settings: Settings) -> None:
        self.directory = directory
        self.worker = worker
        self.settings = settings
        with self.exclusive():
            if not (directory / "control").exists():
                self._start_supervisor()
        self._one_at_a_time = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_DEADLINE_S * settings.time_factor)
        self._socket.connect(str(directory / "control"))
        self._answers = self._socket.makefile("rb")

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the run's file lock: what is done once a run is done inside."""
        limit = time.monotonic() + ANSWER_DEADLINE_S * self.settings.time_factor
        with (self.directory / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > limit:
                        raise ServicesUnavailable(
                            "the run",
                            "another worker is starting the services and doesn't finish",
                            "see its output; raise --time-factor on a slow machine",
                        ) from None
                    time.sleep(POLL_S)
            yield

    def _start_supervisor(self) -> None:
        log = self.directory / "supervisor.log"
        cache = str(self.settings.cache or "")
        what = {"directory": str(self.directory), "cache": cache, "redis": self.settings.redis}
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "netra_fixtures.supervisor", json.dumps(what)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        limit = time.monotonic() + START_DEADLINE_S * self.settings.time_factor
        while not (self.directory / "control").exists():
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            if ended or time.monotonic() > limit:
                said = log.read_text(errors="replace").strip().splitlines()
                raise ServicesUnavailable(
                    "the supervisor",
                    "it " + ("ended" if ended else "doesn't answer") + f": {(said or ['no output'])[-1]}",
                    "run python -m netra_fixtures.supervisor by hand to see why",
                )
            time.sleep(POLL_S)

    def ask(
        self, op: str, *, meanwhile: Callable[[], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Have the supervisor do something; *meanwhile* is done here while it does.

        Raises:
            ServicesUnavailable: it couldn't, or is gone.
            ServerDied: a shared server is gone.
        """
        try:
            with self._one_at_a_time:
                self._socket.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
                if meanwhile:
                    meanwhile()
                line = self._answers.readline()
        except OSError:
            line = b""
        if not line:
            died = self.died()
            if died:
                raise died
            raise ServicesUnavailable("the supervisor", "it ended or doesn't answer", "run the tests again")
        answer: dict[str, Any] = json.loads(line)
        if "unavailable" in answer:
            raise ServicesUnavailable(*answer["unavailable"])
        return answer

    def died(self) -> ServerDied | None:
        """Say which server ended unasked, if one did."""
        return died(self.directory)

    def close(self) -> None:
        """Let the supervisor end what it started for this worker."""
        self._answers.close()
        self._socket.close()


def died(directory: Path) -> ServerDied | None:
    """Say which of a run's servers ended unasked, if one did."""
    try:
        record = json.loads((directory / "died.json").read_text())
    except OSError:
        return None
    return ServerDied(record["service"], record["code"], record["log"])
