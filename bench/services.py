"""How long the first test of a run waits for its servers, against the same servers started by hand."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import asyncpg

from figures import Figure, Limit, LimitOn
from kit import plainly
from netra_fixtures.lease import Run
from netra_fixtures.services.embedded import Embedded
from netra_fixtures.services.postgres import INITDB, SETTINGS, SUPERUSER
from netra_fixtures.services.process import ServerProcess
from netra_fixtures.services.redis import ask, valkey_program
from netra_fixtures.settings import cache_folder
from turns import Subject, timed

NOTHING_CACHED = Limit(on=LimitOn.MEDIAN, bound=1000)
CACHED = Limit(on=LimitOn.MEDIAN, bound=250)
DEADLINE_S = 30
POLL_S = 0.002
HERE = Path(__file__).absolute().parent


class ByHand:
    """Both servers with the kit's settings and none of its work, below the directory of a run.

    Args:
        kept: a cluster to copy instead of running initdb.
    """

    def __init__(self, directory: Path, kept: Path | None = None) -> None:
        self.directory = directory
        self.kept = kept
        backend = Embedded(directory, cache=directory / "kept", redis="valkey")
        self._cluster = backend.postgres("pg", "")
        self._valkey = valkey_program()
        self._running: list[ServerProcess] = []

    def start(self) -> None:
        """Start both at once, and return when both have answered."""
        cluster, programs = self._cluster, self._cluster.installation / "bin"
        if self.kept:
            subprocess.run(["cp", "-R", self.kept, cluster.data], check=True, timeout=DEADLINE_S)
            cluster.data.chmod(0o700)
            cluster.owner.take(cluster.data)
        else:
            subprocess.run(
                [programs / "initdb", "-D", cluster.data, *INITDB],
                check=True, capture_output=True, timeout=DEADLINE_S, **cluster.owner.popen(),
            )  # fmt: skip
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        options += ["-c", f"unix_socket_directories={cluster.directory}"]
        command = [str(programs / "postgres"), "-D", str(cluster.data), *options]
        self._run("PostgreSQL", command, cluster.directory, owned=True)
        redis = self.directory / "redis.sock"
        command = [str(self._valkey), "--unixsocket", str(redis), "--port", "0", "--save", ""]
        self._run("Redis", command, self.directory, owned=False)
        _until(lambda: ask(redis, b"PING") == b"+PONG")
        _until(lambda: asyncio.run(_answers(cluster.directory)))

    def _run(self, name: str, command: list[str], directory: Path, *, owned: bool) -> None:
        owner = self._cluster.owner if owned else None
        self._running.append(ServerProcess(name, command, log=directory / f"{name}.log", owner=owner))

    def end(self) -> None:
        """End both."""
        for server in self._running:
            server.end(signal.SIGQUIT if server.name == "PostgreSQL" else signal.SIGKILL)


def _until(answered: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE_S
    while not answered():
        if time.monotonic() > limit:
            raise TimeoutError(f"a server started by hand didn't answer within {DEADLINE_S} s")
        time.sleep(POLL_S)


async def _answers(socket: Path) -> bool:
    with contextlib.suppress(OSError, asyncpg.PostgresError):
        connection = await asyncpg.connect(host=str(socket), user=SUPERUSER, database="postgres", ssl=False)
        await connection.execute("select 1")
        await connection.close()
        return True
    return False


def _by_hand(kept: Callable[[], Path | None]) -> float:
    """Start both servers by hand and end them; return how long the start took."""
    run = Run(alone=True)
    servers = ByHand(run.directory, kept())
    try:
        return timed(servers.start)()
    finally:
        servers.end()
        _until(lambda: _removed(run))


def _removed(run: Run) -> bool:
    """End the run; tell whether its directory is gone, which a child of a killed initdb may still write to."""
    run.end()
    return not run.directory.exists()


@contextlib.contextmanager
def _own_cache() -> Iterator[Path]:
    """Give a cache of our own, on the disk where a person's is; a killed run's supervisor may still write to it."""
    folder = cache_folder(os.environ) or Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    cache = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))

    def removed() -> bool:
        shutil.rmtree(cache, ignore_errors=True)
        return not cache.exists()

    try:
        yield cache
    finally:
        _until(removed)


def measure(subject: Subject) -> Iterator[Figure]:
    """Measure both services up, with nothing cached and with the data directory cached."""
    with _own_cache() as cache:
        imported: list[float] = []  # the same with the imports of what tests import themselves

        def first_answer() -> float:
            command = [sys.executable, str(HERE / "first_answer.py"), str(cache)]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                env=plainly(os.environ),
                check=True,
            )
            asked, started = map(float, done.stdout.split())
            imported.append(started)
            return asked

        def uncached() -> float:
            for kept in cache.iterdir():
                shutil.rmtree(kept)
            return first_answer()

        for name, contender, kept, turns, by_hand, limit in (
            ("services up, nothing cached", uncached, lambda: None, 7,
             "initdb, postgres and valkey-server by hand", NOTHING_CACHED),
            ("services up, data directory cached", first_answer, lambda: next(cache.glob("pg-*")), 11,
             "cp of a cluster, postgres and valkey-server by hand", CACHED),
        ):  # fmt: skip
            ours, bare = subject.in_turns(contender, partial(_by_hand, kept), turns=turns, seconds=25)
            yield subject.figure(name, ours, [(by_hand, bare)], limit=limit)
            yield subject.figure(
                f"{name}, with the drivers' imports", imported[-len(ours) :], [(by_hand, bare)]
            )
