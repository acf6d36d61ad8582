"""Start the services once a run, share them between workers, and let go of them together.

The process that runs pytest (under xdist the controller) holds the lease, a lock that the kernel frees when it ends.
The first worker that needs a service starts the supervisor, which makes the run's directory and lives until that lock
is free.
"""

import contextlib
import fcntl
import json
import os
import secrets
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from netra_fixtures import hold
from netra_fixtures.errors import ServerDied, ServicesUnavailable
from netra_fixtures.settings import Settings

SUPERVISOR = "the supervisor"
ORDERLY = b"1"  # written into the lease by a holder that lets go
STALE_S = 60
ROOM_BYTES = 512 << 20
ROOM_FILES = 10_000  # a cluster has a thousand, and each database three hundred more
START_DEADLINE_S = 30
ANSWER_DEADLINE_S = 120
POLL_S = 0.002
SHARED_MEMORY = Path("/dev/shm")
LONGEST_BASE = 40  # a Unix socket's path has 107 bytes, and up to 60 of them come below the base


class Run:
    """One run and the lock that keeps its services alive; the process that began it holds that.

    Args:
        alone: this process owns the servers itself, so it makes the directory too.
    """

    def __init__(self, *, alone: bool = False) -> None:
        base, self.note = _roomy_base()
        _sweep(base)
        self._lease, lease = hold.nameless()
        self._turns, turns = hold.nameless()
        fcntl.lockf(self._lease, fcntl.LOCK_EX)
        self.directory = base / hold.drawn_name()
        self.place = hold.Place(self.directory, lease=lease, turns=turns, holder=os.getpid())
        self._owner = hold.claim(self.directory) if alone else None

    def end(self, *, deadline_s: float = 10) -> None:
        """Let go; return when the supervisor has removed everything, or do it where none lives."""
        if not self._lease.closed:
            self._lease.write(ORDERLY)
        for file in (self._lease, self._turns, self._owner):
            if file:
                file.close()
        limit = time.monotonic() + deadline_s
        while self.directory.exists():
            late = time.monotonic() > limit
            if late or hold.is_unowned(self.directory):
                hold.remove(self.directory)
            if late:
                break
            time.sleep(POLL_S)
        for path in (self.place.lease, self.place.turns):
            with contextlib.suppress(OSError):  # it had a name only where files without one can't be
                path.unlink()


def _roomy_base() -> tuple[Path, str]:
    """Choose memory where it has room, else the folder for temporary files; say why not memory, if it is there."""
    why = ""
    with contextlib.suppress(OSError):
        room = os.statvfs(SHARED_MEMORY)
        free = room.f_bavail * room.f_frsize
        if room.f_files and room.f_favail < ROOM_FILES:
            why = f"has room for {room.f_favail:,} more of the {ROOM_FILES:,} files that servers want"
        elif free < ROOM_BYTES:
            why = f"has {free >> 20} MB free of the {ROOM_BYTES >> 20} MB that servers want"
        elif not os.access(SHARED_MEMORY, os.W_OK):
            why = "can't be written to"
        else:
            return SHARED_MEMORY, ""
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > LONGEST_BASE:
        base = Path("/tmp")
    return base, f"{SHARED_MEMORY} {why}, so they use {base}, which is slower; enlarge it" if why else ""


def _sweep(base: Path) -> None:
    """Remove what runs left whose holder and supervisor were both killed."""
    for left in base.glob(hold.PREFIX + "*"):
        with contextlib.suppress(OSError):
            if left.stat().st_uid != os.geteuid() or time.time() - left.stat().st_mtime < STALE_S:
                continue
            if left.name.endswith(".junit.xml"):  # on its way into a report
                left.unlink()
            elif left.is_dir() and hold.is_unowned(left):
                hold.remove(left)


class Lease:
    """A worker's hold on the run's services: one connection to the supervisor, kept for the worker's life.

    Raises:
        ServicesUnavailable: the supervisor can't be started.
        ServerDied: it was killed.
    """

    def __init__(self, place: hold.Place, worker: str, settings: Settings) -> None:
        self.place = place
        self.directory = place.directory
        self.worker = worker
        self.settings = settings
        with self.exclusive():
            if not (self.directory / "control").exists():
                self._start_supervisor()
        self._one_at_a_time = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_DEADLINE_S * settings.time_factor)
        try:
            self._socket.connect(str(self.directory / "control"))
        except OSError:
            raise self._lost() from None
        self._answers = self._socket.makefile("rb")

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the run's file lock: what is done once a run is done inside."""
        limit = time.monotonic() + ANSWER_DEADLINE_S * self.settings.time_factor
        with self.place.turns.open("r+b", buffering=0) as lock:
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
        what = {
            **self.place.to_json(),
            "cache": str(self.settings.cache or ""),
            "redis": self.settings.redis,
            "time_factor": self.settings.time_factor,
            "root": str(self.settings.root),
        }
        with tempfile.TemporaryFile() as log:  # until there is a directory
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "netra_fixtures.supervisor", json.dumps(what)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
            )
            limit = time.monotonic() + START_DEADLINE_S * self.settings.time_factor
            while not (self.directory / "control").exists():
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended and os.WIFSIGNALED(status):
                    raise ServerDied(SUPERVISOR, -os.WTERMSIG(status), _last_lines(log))
                if ended or time.monotonic() > limit:
                    raise ServicesUnavailable(
                        SUPERVISOR,
                        f"it {'ended' if ended else 'does not answer'}: {_last_lines(log, 1)}",
                        "run python -m netra_fixtures.supervisor by hand to see why",
                    )
                time.sleep(POLL_S)

    def ask(
        self, op: str, *, meanwhile: Callable[[], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Have the supervisor do something; *meanwhile* is done here while it does.

        Raises:
            ServicesUnavailable: it couldn't, or doesn't answer.
            ServerDied: it is gone, or a shared server is.
        """
        try:
            with self._one_at_a_time:
                self._socket.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
                if meanwhile:
                    meanwhile()
                line = self._answers.readline()
        except TimeoutError:
            raise ServicesUnavailable(SUPERVISOR, "it doesn't answer", "run the tests again") from None
        except OSError:
            line = b""
        if not line:
            raise self.died() or self._lost()
        answer: dict[str, Any] = json.loads(line)
        if "died" in answer:
            raise died(self.directory) or ServerDied(answer["died"], None, "")
        if "unavailable" in answer:
            raise ServicesUnavailable(*answer["unavailable"])
        return answer

    def died(self) -> ServerDied | None:
        """Say which server ended unasked, if one did, or that the supervisor did, and its servers with it."""
        gone = select.poll()
        gone.register(self._socket, select.POLLIN)
        try:
            lost = bool(gone.poll(0)) and not self._socket.recv(1, socket.MSG_PEEK)
        except OSError:
            lost = True
        return died(self.directory) or (self._lost() if lost else None)

    def look(self) -> None:
        """Have the supervisor look at its servers, so that `died` knows."""
        with contextlib.suppress(ServerDied, ServicesUnavailable):
            self.ask("health")

    def _lost(self) -> ServerDied:
        log = "no log"
        with contextlib.suppress(OSError), (self.directory / "supervisor.log").open("rb") as said:
            log = _last_lines(said)
        return ServerDied(SUPERVISOR, None, log)

    def close(self) -> None:
        """Let the supervisor end what it started for this worker."""
        self._answers.close()
        self._socket.close()


def _last_lines(log: IO[bytes], count: int = 5) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-count:]) or "it said nothing"


def died(directory: Path) -> ServerDied | None:
    """Say which of a run's servers ended unasked, if one did."""
    try:
        record = json.loads((directory / "died.json").read_text())
    except OSError:
        return None
    return ServerDied(record["service"], record["code"], record["log"])


def record_death(directory: Path, death: ServerDied) -> None:
    """Let every worker of the run know; the first death is the one that counts."""
    part = directory / f"died.{secrets.token_hex(4)}.part"
    with contextlib.suppress(OSError):
        part.touch(mode=0o600)
        part.write_text(json.dumps({"service": death.service, "code": death.code, "log": death.log}))
        with contextlib.suppress(FileExistsError):
            os.link(part, directory / "died.json")
        part.unlink()
