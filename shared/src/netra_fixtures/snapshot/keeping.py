"""Keeps the database and the keys of a failed test beyond the run, and finds them again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from netra_fixtures.errors import KeptStateMissing, ServicesUnavailable
from netra_fixtures.services.endpoint import PostgresEndpoint
from netra_fixtures.services.postgres import wheel_installation
from netra_fixtures.settings import cache_folder

if TYPE_CHECKING:
    from netra_fixtures.isolation.connection import Database
    from netra_fixtures.report.left import RedisLeft
    from netra_fixtures.worker import Worker

KEPT_RUNS = 5
DUMP_DEADLINE_S = 30
STALE_S = 3600
PART = ".part-"
DUMP, KEYS, ABOUT = "postgres.sql", "redis.json", "about.json"
OURS = "set session_replication_role = replica; drop schema if exists netra_fixtures cascade"
LEAVE = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1"


@dataclass(frozen=True)
class About:
    """What is known of a kept state.

    Attributes:
        kept_at: seconds since the epoch.
        server: the address of the server that still holds the database, without its password; None where it is dumped.
    """

    name: str
    nodeid: str
    run: str
    kept_at: float
    server: str | None


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Say where kept states are: beside what else outlives a run, or among temporary files without a home."""
    nowhere = Path(tempfile.gettempdir(), f"netra-fixtures-{os.geteuid()}")
    return (cache_folder(environ) or nowhere) / "failed"


def name_of(nodeid: str, root: Path) -> str:
    """Name the kept state of a test: the same again for the same test of the same checkout, and for no other."""
    digest = hashlib.sha256(f"{platform.node()}:{root}:{nodeid}".encode()).hexdigest()
    return f"netra_failed_{digest[:12]}"


class Keeping:
    """The state of one failed test on its way to where it is kept; there at once and whole, or not at all."""

    def __init__(self, nodeid: str, root: Path, worker: Worker) -> None:
        self._nodeid, self._root, self._run = nodeid, root, worker.directory.name
        self._deadline_s = DUMP_DEADLINE_S * worker.settings.time_factor
        self._name = name_of(nodeid, root)
        self._server: PostgresEndpoint | None = None
        self._database: Database | None = None
        home = folder()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._part = Path(
            tempfile.mkdtemp(prefix=PART, dir=home)
        )  # of mode 0700: what is in it is not masked

    def database(self, database: Database, endpoint: PostgresEndpoint, *, external: bool) -> None:
        """Keep a database that nobody needs any more: on its server under a new name, or as a dump."""
        _without_ours(database, endpoint)
        if external:
            database.drop(self._name)
            database.execute(f'alter database "{endpoint.database}" rename to "{self._name}"')
            self._server, self._database = endpoint.named(self._name), database
        else:
            dump(endpoint, self._part / DUMP, deadline_s=self._deadline_s)

    def keys(self, left: RedisLeft) -> None:
        """Keep the keys, whole and not masked."""
        (self._part / KEYS).write_text(left.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def finish(self) -> tuple[str, str] | None:
        """Put the state in its place; give its name and the command that opens it, or None where nothing was kept."""
        if self._server is None and not any(self._part.iterdir()):
            self._part.rmdir()
            return None
        about = About(
            name=self._name,
            nodeid=self._nodeid,
            run=self._run,
            kept_at=time.time(),
            server=_without_password(self._server) if self._server else None,
        )
        (self._part / ABOUT).write_text(json.dumps(asdict(about), indent=1) + "\n", encoding="utf-8")
        place = self._part.with_name(self._name)
        shutil.rmtree(place, ignore_errors=True)
        self._part.rename(place)
        prune(folder(), runs=KEPT_RUNS, drop=self._drop)
        return self._name, command(about, self._root)

    def _drop(self, about: About) -> bool:
        return self._database is not None and drop_left(self._database, about)


def _without_ours(database: Database, endpoint: PostgresEndpoint) -> None:
    """End the sessions that are left, and remove what the kit put beside the tables."""
    database.wait(_alone(database, endpoint.database))
    database.until_left(endpoint.database)
    database.wait(_drop_ours(database, endpoint))
    database.until_left(endpoint.database)


async def _alone(database: Database, name: str) -> None:
    await (await database.admin_connection()).fetchval(LEAVE, name)


async def _drop_ours(database: Database, endpoint: PostgresEndpoint) -> None:
    connection = await database.connect(endpoint)
    try:
        await connection.execute(OURS)  # as a replica, so that the event triggers don't watch their own end
    finally:
        await connection.close()


def dump(endpoint: PostgresEndpoint, file: Path, *, deadline_s: float) -> None:
    """Write a database as SQL that any psql reads.

    Raises:
        ServicesUnavailable: pg_dump can't.
    """
    options = ("--no-owner", "--no-privileges", "--lock-wait-timeout=2000", f"--file={file}")
    _client("pg_dump", endpoint, *options, deadline_s=deadline_s)


def restore(endpoint: PostgresEndpoint, file: Path, *, deadline_s: float) -> None:
    """Read what `dump` wrote into an empty database.

    Raises:
        ServicesUnavailable: psql can't.
    """
    _client(
        "psql",
        endpoint,
        "--quiet",
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        f"--file={file}",
        deadline_s=deadline_s,
    )


def _client(program: str, endpoint: PostgresEndpoint, *options: str, deadline_s: float) -> None:
    where = (
        f"--host={endpoint.socket.parent if endpoint.socket else endpoint.host}",
        f"--port={endpoint.port}",
        f"--username={endpoint.user}",
        "--no-password",
        f"--dbname={endpoint.database}",
    )
    done = subprocess.run(
        [wheel_installation() / "bin" / program, *where, *options],
        env={**os.environ, "PGPASSWORD": endpoint.password.get_secret_value()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=deadline_s,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ServicesUnavailable(program, said, "run the test again with --keep-failed")


def command(about: About, root: Path) -> str:
    """Say how to open a kept state."""
    if about.server:
        return f'psql "{about.server}"'
    from netra_fixtures.snapshot.taking import python

    return f"{python(root)} -m netra_fixtures.standing open {about.name}"


def _without_password(endpoint: PostgresEndpoint) -> str:
    """Give the address for a shell whose variable PGPASSWORD holds the password."""
    return (
        f"postgresql://{quote(endpoint.user)}:$PGPASSWORD@{endpoint.host}:{endpoint.port}/{endpoint.database}"
    )


def kept(home: Path) -> list[About]:
    """List the kept states, newest first."""
    return sorted(_abouts(home), key=lambda about: about.kept_at, reverse=True)


def _abouts(home: Path) -> Iterator[About]:
    for file in home.glob(f"netra_failed_*/{ABOUT}"):
        try:
            known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            yield About(**known)
        except (OSError, ValueError, TypeError):
            continue  # another run replaces it right now, or another version wrote it


def find(home: Path, name: str) -> About:
    """Find a kept state.

    Raises:
        KeptStateMissing: there is none of that name.
    """
    for about in kept(home):
        if about.name == name:
            return about
    raise KeptStateMissing(name)


def drop_left(database: Database, about: About) -> bool:
    """Drop a database that was left on its server, if *database* is of that server; return whether it is gone."""
    if about.server != _without_password(database.admin.named(about.name)):
        return False
    database.drop(about.name)
    return True


def prune(home: Path, *, runs: int, drop: Callable[[About], bool]) -> list[About]:
    """Remove what older runs kept than the last *runs* that kept anything; return what stays all the same.

    Args:
        drop: drops a database that was left on a server of somebody else's, and says whether it could.
    """
    states = kept(home)
    last = list(dict.fromkeys(about.run for about in states))[:runs]
    stay = []
    for about in states:
        if about.run in last:
            continue
        if about.server is None or drop(about):
            shutil.rmtree(home / about.name, ignore_errors=True)
        else:
            stay.append(about)
    for part in home.glob(f"{PART}*"):
        if time.time() - part.stat().st_mtime > STALE_S:
            shutil.rmtree(part, ignore_errors=True)
    return stay
