"""What passed over the wire in each test, counted by the tap and held against the servers' own counters."""

import contextlib
import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from netra_fixtures.errors import ServerDied, ServicesUnavailable
from netra_fixtures.tap import counting

TAP = "the tap that counts evidence"
ANSWER_DEADLINE_S = 30
RUN = "import sys; sys.path.append(sys.argv.pop(1)); from tap.relay import main; main()"
Counts = dict[str, dict[str, int]]
SHOWN = {
    "postgres": ("statements", "transactions", "rows_written"),
    "redis": ("commands",),
    "websocket": ("connections", "frames", "control_frames", "refused"),
}


class Tap:
    """The worker's end of its tap process; see `netra_fixtures.tap`.

    Args:
        directory: where the tap's sockets go; made here.
        deadline_s: for each of its answers; one that is slower is ended.
    """

    def __init__(self, directory: Path, *, deadline_s: float = ANSWER_DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._said = "it keeps none"
        directory.mkdir(mode=0o700)
        self.directory = directory
        file = directory / "counts"
        file.write_bytes(bytes(counting.ROWS * counting.COLUMNS * 8))
        self._rows = counting.mapped(str(file))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", RUN, str(Path(counting.__file__).parents[1]), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        )
        self._links: dict[str, tuple[str, int]] = {}  # by name: protocol and row
        self._kits: set[str] = set()
        self._dropped: Counts = {protocol: {} for protocol in SHOWN}

    def link(
        self, name: str, protocol: str, target: Path | str | tuple[str, int], *, of_tests: bool = True
    ) -> Path:
        """Open a socket that leads to *target*; return its path.

        Args:
            of_tests: what passes is a test's; else the kit's own, in no test's count.

        Raises:
            ServicesUnavailable: as many as can be counted are open.
        """
        if not of_tests:
            self._kits.add(name)
        leads_to = str(target) if isinstance(target, Path) else target
        free = set(range(counting.ROWS)) - {row for _, row in self._links.values()}
        if not free:
            raise ServicesUnavailable(
                TAP, f"all of its {counting.ROWS} links are open", "close some before the test opens more"
            )
        row = min(free)
        self._links[name] = protocol, row
        path = self.path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._ask(op="link", name=name, protocol=protocol, path=str(path), target=leads_to, row=row)
        return path

    def path(self, name: str) -> Path:
        """Give the path of a link's socket."""
        protocol, _ = self._links[name]
        return self.directory / name / (".s.PGSQL.5432" if protocol == "postgres" else f"{protocol}.sock")

    def drop(self, name: str) -> None:
        """Close a link and whatever still runs over it; its counts stay."""
        self._ask(op="drop", name=name)
        _add(self._dropped[self._links[name][0]], self.link_counts(name))
        _, row = self._links.pop(name)
        for column in range(counting.COLUMNS):
            self._rows[row * counting.COLUMNS + column] = 0

    def cut(self, name: str, pid: int) -> list[str]:
        """Close whatever runs over a link; say in words what each connection of process *pid* was, oldest first."""
        states: list[str] = self._ask(op="cut", name=name, pid=pid)["states"]
        return states

    def made(self, name: str) -> list[str]:
        """Name the databases that were made over a link and not dropped, and forget them."""
        names: list[str] = self._ask(op="made", name=name)["names"]
        return names

    def counts(self) -> Counts:
        """Give the totals of the tests since the start, by protocol."""
        totals: Counts = {protocol: dict(counts) for protocol, counts in self._dropped.items()}
        for name, (protocol, _) in self._links.items():
            if name not in self._kits:
                _add(totals[protocol], self.link_counts(name))
        return totals

    def link_counts(self, name: str) -> dict[str, int]:
        """Give the totals of one link."""
        protocol, row = self._links[name]
        start = row * counting.COLUMNS
        return dict(zip(counting.COUNTERS[protocol], self._rows[start:], strict=False))

    def _ask(self, **request: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        line = b""
        with contextlib.suppress(OSError):
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
            answers = select.poll()
            answers.register(stdout, select.POLLIN)
            if not answers.poll(self._deadline_s * 1000):
                self._said = f"it didn't answer within {self._deadline_s:g} s"
                self._process.kill()  # or it would give this answer to the next question
            line = stdout.readline()
        if not line:
            self._process.wait()
            raise self.died() or AssertionError("a process that was waited for has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ServicesUnavailable(TAP, answer["error"], "run the tests again")
        return answer

    def died(self) -> ServerDied | None:
        """Say that the process ended unasked, if it did: no test reaches its servers then."""
        code = self._process.poll()
        return None if code is None else ServerDied(TAP, code, self._said)

    def close(self) -> None:
        """End the process and wait for it; a child that a test forked may still hold its stdin."""
        self._process.kill()
        self._process.communicate()


class Ledger:
    """Tells tests apart: what passed since the last look belongs to the test that just ran."""

    def __init__(self) -> None:
        self._tap: Tap | None = None
        self._last: Counts = {}
        self._before: Counts = {}

    def open(self, tap: Tap) -> None:
        """Count by *tap* from now on."""
        self._tap = tap

    def close(self) -> None:
        """Keep the tap's last counts: it ends before the report of the last test is drawn up."""
        self._last, self._tap = self._now(), None

    def _now(self) -> Counts:
        return self._tap.counts() if self._tap else self._last

    def passed(self) -> Counts:
        """Give what passed in this test so far; zeros where no tap runs."""
        return self._since(self._now())

    def take(self) -> Counts:
        """Give what passed in this test, and begin the next."""
        now = self._now()
        passed, self._before = self._since(now), now
        return passed

    def _since(self, now: Counts) -> Counts:
        return {
            protocol: {
                name: now.get(protocol, {}).get(name, 0) - self._before.get(protocol, {}).get(name, 0)
                for name in names
            }
            for protocol, names in SHOWN.items()
        }


def _add(totals: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count
