"""What a worker has on servers that outlive it: its databases and keys, removed for it when it couldn't do so itself.

The supervisor keeps the notes and starts this module as a program, ``python -m netra_fixtures.belongings``, with what
to remove on its standard input; so drivers and waiting stay out of the process that owns the servers.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from typing import Any

from netra_fixtures.services.process import dying_with_parent

DEADLINE_S = 10
Note = dict[str, Any]


class Belongings:
    """The notes of one run.

    Args:
        run: the name of the run's directory.
    """

    def __init__(self, run: str, *, time_factor: float) -> None:
        self._run = run
        self._deadline_s = DEADLINE_S * time_factor
        self._notes: dict[str, Note] = {}
        self._reclaimed: list[Note] = []
        self._one_at_a_time = threading.Lock()

    def note(self, name: str, about: Note) -> None:
        """Keep in mind what a worker has: where, and whether the server stays when the run is over."""
        self._notes[name] = about

    def forget(self, name: str) -> None:
        """The worker removed it itself."""
        self._notes.pop(name, None)

    def reclaim(self, name: str) -> None:
        """Remove what a worker that has gone didn't."""
        with self._one_at_a_time:
            note = self._notes.pop(name, None)
            if note:
                self._reclaimed.append(note)
                worker = note["worker"]
                self._remove(note, databases=f"^{self._prefix}_{worker}(_f[0-9]+)?$", keys=f"{worker}:")

    def reclaim_all(self) -> None:
        """Remove what is left on servers that stay, the template of all workers included."""
        with self._one_at_a_time:
            notes = [note for note in (*self._notes.values(), *self._reclaimed) if note["stays"]]
            if notes:
                where = {name: value for note in notes for name, value in note.items()}
                self._remove(where, databases=f"^{self._prefix}_", keys="")
            self._notes.clear()

    @property
    def _prefix(self) -> str:
        return self._run.replace("-", "_")

    def _remove(self, where: Note, *, databases: str, keys: str) -> None:
        what = {**where, "databases": databases, "keys": f"{self._run}:{keys}*"}
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # else the next run does
            subprocess.run(
                [sys.executable, "-P", "-m", "netra_fixtures.belongings"],
                input=json.dumps(what).encode(),
                timeout=self._deadline_s,
                check=False,
                preexec_fn=dying_with_parent(signal.SIGKILL),
            )


def _drop(endpoint: Note, pattern: str) -> None:
    from netra_fixtures.isolation.connection import Database
    from netra_fixtures.services.endpoint import PostgresEndpoint

    database = Database(PostgresEndpoint.model_validate(endpoint), time_factor=1)
    database.drop_matching(pattern)
    database.close()


def _unlink(url: str, pattern: str) -> None:
    from redis import Redis

    with Redis.from_url(url, socket_timeout=DEADLINE_S) as client:
        for key in client.scan_iter(match=pattern, count=1000):
            client.unlink(key)


def main() -> None:
    """Remove the databases and the keys whose names match."""
    what = json.load(sys.stdin)
    if "redis" in what:
        _unlink(what["redis"], what["keys"])
    if "postgres" in what:
        _drop(what["postgres"], what["databases"])


if __name__ == "__main__":
    main()
