"""Where a run is, who holds it, and how what it leaves is removed.

A run's directory stands only while somebody lives who will remove it: its owner makes it and locks a file in it. Before
that the run is a name and two files without one, which the processes of the run open by way of the holder's own.
"""

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

PREFIX = "netra-"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
OWNER = "lease"
ELSEWHERE = "elsewhere"
CONTAINERS = "containers"
CLAIMED_WITHIN_S = 1
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Place:
    """What every process of a run is told of where it is.

    Attributes:
        directory: made by the run's supervisor.
        lease: locked by the holder, until it lets go or dies.
        turns: locked by whoever does what is done once a run.
        holder: the process id of pytest as it was started.
    """

    directory: Path
    lease: Path
    turns: Path
    holder: int

    def to_json(self) -> dict[str, Any]:
        """Give what `from_json` reads."""
        return {name: value if name == "holder" else str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(
            **{name: value if name == "holder" else Path(value) for name, value in told.items()}  # type: ignore[arg-type]
        )


def drawn_name() -> str:
    """Draw the name of a run's directory."""
    return PREFIX + "".join(secrets.choice(LETTERS) for _ in range(8))


def nameless() -> tuple[IO[bytes], Path]:
    """Open a file that is gone when this process is, and give the path by which the run's other processes open it.

    Where the system has no such files it gets a name, in the folder for temporary ones.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("netra-run")
        path = Path(f"/proc/{os.getpid()}/fd/{fd}")
        if os.access(path, os.R_OK | os.W_OK):
            return open(fd, "r+b", buffering=0), path
        os.close(fd)
    fd, name = tempfile.mkstemp(prefix=PREFIX, suffix=".lock")
    return open(fd, "r+b", buffering=0), Path(name)


def is_free(file: IO[Any]) -> bool:
    """Tell whether nobody else locks the file; it is locked by this process then."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def claim(directory: Path) -> IO[str]:
    """Make the directory of a run, and own it until the file given back is closed or this process ends."""
    directory.mkdir(mode=0o700)
    owner = (directory / OWNER).open("a+")
    (directory / OWNER).chmod(0o600)  # who can open a file can lock it
    fcntl.lockf(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    directory.chmod(0o711)  # the server's user passes through; what is inside is closed to it
    return owner


def is_unowned(directory: Path) -> bool:
    """Tell whether whoever made the directory is dead."""
    try:
        with (directory / OWNER).open("r+") as owner:
            return is_free(owner)
    except FileNotFoundError:  # being claimed just now, or its owner died in the middle of that
        with contextlib.suppress(OSError):
            return time.time() - directory.stat().st_mtime > CLAIMED_WITHIN_S
        return True
    except OSError:
        return False


def note_elsewhere(directory: Path, start: Path) -> None:
    """Note that what begins with *start* is the run's too, though it lies elsewhere, until the run is over."""
    with contextlib.suppress(OSError), (directory / ELSEWHERE).open("a") as notes:
        os.fchmod(notes.fileno(), 0o600)
        notes.write(f"{start}\n")


def note_containers(directory: Path) -> Path:
    """Note that a project of containers that bears the run's name may be there; give a folder for what they say."""
    notes = directory / CONTAINERS
    notes.mkdir(mode=0o700, exist_ok=True)
    return notes


def remove(directory: Path) -> None:
    """Remove a run's directory, and what of the run lies elsewhere."""
    if (directory / CONTAINERS).exists():
        from netra_fixtures.services.compose import remove_of_run

        remove_of_run(directory.name)
    starts: list[str] = []
    with contextlib.suppress(OSError):
        starts = (directory / ELSEWHERE).read_text().splitlines()
    for start in starts:
        if directory.name not in Path(start).name:
            continue  # only what bears the run's name
        for left in glob.glob(glob.escape(start) + "*"):
            with contextlib.suppress(OSError):
                Path(left).unlink()
            shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def die_with(holder: int) -> None:
    """Have the kernel end this process, whatever it is doing, when the one that holds the run ends.

    It does so for a child of the holder, and on Linux. Elsewhere xdist itself ends its workers, up to 15 s later.
    """
    if sys.platform != "linux":
        return
    import ctypes

    if os.getppid() == holder:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.kill(holder, 0)
    except ProcessLookupError:  # it was faster
        os._exit(1)
