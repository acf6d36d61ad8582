"""Runs of pytest that are killed somewhere: who the victim is, when it dies, and what of the run is left after."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = """
import asyncio
import pathlib
import time

import pytest
from sqlalchemy import text


@pytest.mark.parametrize("turn", range(8))
async def test_order(engine, redis_client, namespace, turn):
    pathlib.Path(f"begun-{turn}").touch()
    for _ in range(10):
        async with engine.begin() as connection:
            await connection.execute(text("insert into shop.orders (what) values ('a')"))
        await redis_client.incr(f"{namespace}:orders")
        await asyncio.sleep(0.005)


def test_long():
    pathlib.Path("begun-long").touch()
    time.sleep(LONG)
"""
DEADLINE_S = 120  # for a stage to come
WITHIN_S = 5  # what is left of a killed run is gone after that
POLL_S = 0.01


@dataclass(frozen=True)
class Process:
    """A process of a run, as the kernel shows it."""

    pid: int
    parent: int
    command: str
    folder: str


def processes(since: int = 0) -> list[Process]:
    """List the processes that run now; those that are dead and only not yet reaped have no command.

    Args:
        since: when the first of them began, as the kernel counts; of the older ones no more than that is read.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent, began = parent_and_begin(entry)
            if began < since:
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            folder = os.readlink(entry / "cwd")
        except OSError:
            continue
        if command:
            found.append(Process(int(entry.name), parent, command, folder))
    return found


def parent_and_begin(entry: Path) -> tuple[int, int]:
    """Read from a process's folder who started it, and when, as the kernel counts."""
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), int(fields[19])


def segments() -> set[int]:
    """List the System V shared memory segments of the machine."""
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


class KilledRun:
    """A run of pytest in a folder of its own, watched from outside.

    Args:
        arguments: what pytest is given.
        long_s: how long the test lasts that asks for nothing.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environ: Mapping[str, str],
        long_s: float = 0,
        source: str = PROJECT,
    ) -> None:
        self.folder = folder
        (folder / "test_shop.py").write_text(source.replace("LONG", str(long_s)))
        self.segments_before = segments()
        self.name = ""
        self.seen: dict[int, Process] = {}
        with (folder / "output.txt").open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pytest", "-p", "no:valkey", *arguments],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        _, self._began = parent_and_begin(Path("/proc", str(self.process.pid)))

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")

    @property
    def directory(self) -> Path:
        return Path("/dev/shm", self.name)

    def look(self) -> dict[int, Process]:
        """List the processes of the run that live; the run's name is that of its directory."""
        everybody = {one.pid: one for one in processes(self._began)}
        ours = {self.process.pid, *self.seen}
        while more := {one.pid for one in everybody.values() if one.parent in ours} - ours:
            ours |= more
        if not self.name:
            for one in everybody.values():
                if one.pid in ours and "netra_fixtures.supervisor" in one.command:
                    self.name = Path(one.command.partition('"directory": "')[2].partition('"')[0]).name
        living = {
            pid: one
            for pid, one in everybody.items()
            if pid in ours or (self.name and (self.name in one.command or self.name in one.folder))
        }
        self.seen |= living
        return living

    def victim(self, role: str) -> int | None:
        """Find the process of a role; None where it isn't there yet."""
        living = self.look()
        marks = {
            "supervisor": "netra_fixtures.supervisor",
            "postgres": "/bin/postgres -D",
            "redis": "--unixsocket",
            "tap": "tap.relay",
        }
        if role == "pytest":
            return self.process.pid
        if role == "worker":
            found = [
                p.pid for p in living.values() if p.parent == self.process.pid and "exec(eval(" in p.command
            ]
        else:
            found = [p.pid for p in living.values() if marks[role] in p.command]
        return min(found, default=None)

    def until(self, stage: Callable[[], bool]) -> bool:
        """Wait for a stage; tell whether it came before the run ended."""
        limit = time.monotonic() + DEADLINE_S
        while not stage():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < limit, f"the stage didn't come: {self.output}"
            self.look()
            time.sleep(POLL_S)
        return True

    def kill(self, role: str) -> bool:
        """Kill the victim with SIGKILL as soon as it is there; tell whether it was before the run ended."""
        found: list[int] = []
        if not self.until(lambda: bool(found) or bool((pid := self.victim(role)) and not found.append(pid))):
            return False
        try:
            os.kill(found[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def begun(self) -> int:
        """Say how many tests have begun."""
        return len(list(self.folder.glob("begun-*")))

    def has(self, *patterns: str) -> bool:
        """Tell whether a file is there, below the run's directory or beside its report."""
        if self.name == "":
            self.look()
        places = [self.directory] if self.name else []
        return any(next(place.glob(pattern), None) for place in places for pattern in patterns)

    def ended(self) -> int:
        """Wait for the run's end and give its exit code."""
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()

    def left(self) -> list[str]:
        """List what of the run is left on the machine."""
        temporary = Path(os.environ.get("TMPDIR", "/tmp"))
        cache = self.folder / "cache" / "netra-fixtures"
        files = [
            *(
                path
                for base in (Path("/dev/shm"), temporary)
                for path in base.glob(f"{self.name or 'none'}*")
            ),
            *(self.folder / "reports").glob(".latest*"),
            *cache.glob("part-*"),
        ]
        return [
            *(f"{one.pid} {one.command}" for one in self.look().values()),
            *map(str, files),
            *(f"segment {one}" for one in segments() - self.segments_before if self._is_ours(one)),
        ]

    def _is_ours(self, segment: int) -> bool:
        """Tell whether a process of the run made the segment."""
        for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1]) == segment:
                return int(fields[4]) in self.seen
        return False

    def left_in_time(self) -> list[str]:
        """Wait until nothing is left, at most five seconds; list what is left then."""
        limit = time.monotonic() + WITHIN_S
        while left := self.left():
            if time.monotonic() > limit:
                break
            time.sleep(POLL_S)
        return left
