"""A server's process: started as an unprivileged user, watched until it answers, ended for sure."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netra_fixtures.errors import ServerDied, ServicesUnavailable

POLL_S = 0.002
NOBODY = 65534
PR_SET_PDEATHSIG = 1
NO_ROOM = ("No space left on device", "Disk quota exceeded")
CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return NOBODY


def take_a_name() -> None:
    """Take, for this process alone, the name of a user that the machine knows; for use between fork and exec.

    initdb refuses a user id without an entry in the password file, as containers like to give one. In a user namespace
    of its own the process has an id that has one; what it writes belongs to the real id all the same.

    Raises:
        OSError: the kernel doesn't let this user make a namespace.
    """
    uid, gid = os.geteuid(), os.getegid()
    if _libc is None or _libc.unshare(CLONE_NEWUSER):
        raise OSError(
            "this user id has no entry in the password file, and may make no user namespace to borrow one"
        )
    known = next(entry for entry in pwd.getpwall() if entry.pw_uid)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{known.pw_uid} {uid} 1"),
        ("gid_map", f"{known.pw_gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def remedy_for(reason: str, directory: Path, otherwise: str) -> str:
    """Say what to do about a server that can't start in *directory*: make room where there is none."""
    if any(sign in reason for sign in NO_ROOM):
        return f"free room in {directory.parent.parent}, or set TMPDIR to a folder that has more"
    return otherwise


class Owner:
    """Who a server runs as: ourselves, or where we are root an unprivileged user, since PostgreSQL refuses root."""

    def __init__(self) -> None:
        self.uid = _nobody() if os.geteuid() == 0 else None

    def popen(self) -> dict[str, Any]:
        """Give the arguments that make `subprocess` run as this owner, away from any folder it can't enter."""
        base: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL}
        if self.uid is not None:
            base |= {"user": self.uid, "group": self.uid, "extra_groups": []}
        return base

    def popen_named(self) -> dict[str, Any]:
        """Give the same for a program that insists on a name for its user; it ends with the process that runs it."""
        die_with_parent = dying_with_parent(signal.SIGKILL)
        try:
            pwd.getpwuid(os.geteuid() if self.uid is None else self.uid)
        except KeyError:

            def take_a_name_first() -> None:  # a new user namespace forgets the signal
                take_a_name()
                die_with_parent()

            return self.popen() | {"preexec_fn": take_a_name_first}
        return self.popen() | {"preexec_fn": die_with_parent}

    def take(self, path: Path) -> None:
        """Make *path* and all below it this owner's."""
        if self.uid is None:
            return
        os.chown(path, self.uid, self.uid)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), self.uid, self.uid)

    def directory(self, path: Path) -> Path:
        """Make a folder that only this owner can enter."""
        path.mkdir(mode=0o700)
        self.take(path)
        return path

    def can_execute(self, program: Path) -> bool:
        """Tell whether this owner may run *program*: the folders above it may be closed to others."""
        if self.uid is None:
            return True
        return all(
            parent.stat().st_mode & 0o001
            or (parent.stat().st_uid == self.uid and parent.stat().st_mode & 0o100)
            for parent in program.resolve().parents
        )


def dying_with_parent(by: signal.Signals) -> Callable[[], None]:
    """Give what a child does between fork and exec so that the signal ends it when the thread that starts it ends."""
    parent = os.getpid()

    def die_with_parent() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, by)
            if os.getppid() != parent:  # it was faster
                os._exit(1)

    return die_with_parent


class ServerProcess:
    """A running server and its log; it dies with the process that started it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        owner: Owner | None = None,
        dies_by: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self.expected_to_end = False
        with log.open("ab") as sink:
            self._popen = subprocess.Popen(
                command,
                stdout=sink,
                stderr=sink,
                preexec_fn=dying_with_parent(dies_by),
                start_new_session=True,
                **(owner.popen() if owner else {"cwd": "/", "stdin": subprocess.DEVNULL}),
            )
        self.pid = self._popen.pid

    def until(self, answers: Callable[[], bool], *, deadline_s: float) -> None:
        """Poll every 2 ms until the server answers.

        Raises:
            ServicesUnavailable: it ended first, or the deadline passed; with the log's last lines.
        """
        limit = time.monotonic() + deadline_s
        while not answers():
            if not self.runs:
                self.check_not_killed()
                raise ServicesUnavailable(
                    self.name,
                    f"it ended with {self._popen.returncode} as it started: {self.last_lines()}",
                    remedy_for(self.last_lines(), self.log.parent, "mend what its log lines name"),
                )
            if time.monotonic() > limit:
                self.end(signal.SIGKILL)
                raise ServicesUnavailable(
                    self.name,
                    f"it took no connection within {deadline_s:g} s: {self.last_lines()}",
                    "raise --time-factor on a slow machine",
                )
            time.sleep(POLL_S)

    def check_not_killed(self) -> None:
        """Tell a server that was killed from one that couldn't start.

        Raises:
            ServerDied: somebody else ended it with SIGKILL.
        """
        if self._popen.poll() == -signal.SIGKILL and not self.expected_to_end:
            raise ServerDied(self.name, -signal.SIGKILL, self.last_lines())

    @property
    def runs(self) -> bool:
        """Whether the process has not ended yet."""
        return self._popen.poll() is None

    def wait(self, deadline_s: float | None = None) -> int | None:
        """Wait until the process has ended; return its code, or None where the deadline passed first."""
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self, by: signal.Signals, *, deadline_s: float = 10) -> int:
        """Send the signal and wait; SIGKILL the whole group past the deadline. Return the code it ended with."""
        self.expected_to_end = True
        if self.runs:
            self._popen.send_signal(by)
            try:
                self._popen.wait(deadline_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def last_lines(self, count: int = 5) -> str:
        """Give the log's last lines in one."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return " | ".join(lines[-count:]) or "its log is empty"
