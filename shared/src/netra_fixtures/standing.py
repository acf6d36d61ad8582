"""Servers for a person's own session: ``python -m netra_fixtures.standing up|down|status|urls|open|prune``.

They are empty, live in memory, and stay until ``down``: nothing of value belongs there. With ``--services=compose``
they stand in containers.
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netra_fixtures.errors import NetraFixturesError, ServicesUnavailable, SettingInvalid
from netra_fixtures.isolation.connection import Database
from netra_fixtures.lease import Run
from netra_fixtures.services import engine, external
from netra_fixtures.services.compose import PORTS
from netra_fixtures.services.embedded import Embedded
from netra_fixtures.services.endpoint import PostgresEndpoint
from netra_fixtures.services.postgres import SUPERUSER
from netra_fixtures.services.redis import ask
from netra_fixtures.settings import BACKENDS, REDIS_ENGINES, cache_folder
from netra_fixtures.standing_containers import StandingContainers

START_DEADLINE_S = 60
POLL_S = 0.01


class Standing:
    """What stands for this user: a file that its holder keeps locked while the servers run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "services.json"

    def read(self) -> dict[str, Any] | None:
        """Give what the holder wrote; None where no holder lives."""
        with contextlib.suppress(OSError, ValueError), self.path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                answer: dict[str, Any] = json.loads(self.path.read_text())
                return answer
        return None

    @contextlib.contextmanager
    def held(self, about: dict[str, Any]) -> Iterator[None]:
        """Hold it, until the block is left.

        Raises:
            ServicesUnavailable: another process holds it.
        """
        self.path.touch(mode=0o600)
        with self.path.open("a+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServicesUnavailable(
                    "the session", "another one stands already", "end it with down"
                ) from None
            file.truncate(0)
            file.write(json.dumps(about))
            file.flush()
            yield
            file.truncate(0)


def up(standing: Standing, redis: str) -> int:
    """Start the servers in a process of their own, unless they stand, and say what to export."""
    if standing.read() is None:
        holder = subprocess.Popen(
            [
                *(sys.executable, "-m", "netra_fixtures.standing", "hold"),
                *(f"--redis={redis}", "--services=embedded"),
            ],
            start_new_session=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        limit = time.monotonic() + START_DEADLINE_S
        while standing.read() is None:
            if holder.poll() is not None or time.monotonic() > limit:
                holder.kill()
                said = (holder.communicate()[1].strip().splitlines() or ["it said nothing"])[-1]
                print(f"the servers didn't start: {said}", file=sys.stderr)
                return 1
            time.sleep(POLL_S)
    return urls(standing)


def hold(standing: Standing, redis: str) -> int:
    """Start the servers, and end them when this process is told to end."""
    run = Run(alone=True)
    try:
        backend = Embedded(run.directory, cache=None, redis=redis)
        postgres = backend.postgres("pg", "", port=_port("NETRA_POSTGRES_PORT"))
        keys = backend.redis("redis", port=_port("NETRA_REDIS_PORT"))
        postgres.create()
        postgres.start()
        keys.start()
        password = secrets.token_urlsafe(16)  # every user of the machine reaches a port
        admin = PostgresEndpoint(
            user=SUPERUSER, database="postgres", socket=postgres.socket_path, port=postgres.port or 5432
        )
        database = Database(admin, time_factor=1)
        database.execute(f"alter role {SUPERUSER} password '{password}'")
        database.close()
        ask(keys.socket_path, f"CONFIG SET requirepass {password}".encode())
        about = {
            "pid": os.getpid(),
            "postgres": f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{postgres.port}/postgres",
            "redis": f"redis://:{password}@127.0.0.1:{keys.port}/0",
            "servers": [
                f"PostgreSQL {backend.postgres_version}",
                f"{backend.redis_name} {backend.redis_version}",
            ],
        }
        with standing.held(about):
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
        postgres.abandon()
        keys.abandon()
    finally:
        run.end()
    return 0


def _port(variable: str) -> int:
    """Take the port that the variable names, else a free one."""
    named = os.environ.get(variable)
    if named:
        if not (named.isdecimal() and 0 < int(named) < 65536):
            raise SettingInvalid(
                variable, f"{named!r} is no port", "give a number from 1 to 65535, or unset it"
            )
        return int(named)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def down(standing: Standing) -> int:
    """End the servers and wait until they are gone."""
    about = standing.read()
    if about is None:
        print("no servers stand")
        return 0
    os.kill(about["pid"], signal.SIGTERM)
    limit = time.monotonic() + START_DEADLINE_S
    while standing.read() is not None:
        if time.monotonic() > limit:
            print(f"the servers' process {about['pid']} doesn't end", file=sys.stderr)
            return 1
        time.sleep(POLL_S)
    print("the servers are down")
    return 0


def status(standing: Standing) -> int:
    """Say what stands; 1 where nothing does."""
    about = standing.read()
    print(" and ".join(about["servers"]) + " stand" if about else "no servers stand; start them with up")
    return 0 if about else 1


def urls(standing: Standing) -> int:
    """Print what to export so that tests and tools use the servers."""
    about = standing.read()
    if about is None:
        print("no servers stand; start them with up", file=sys.stderr)
        return 1
    return _export(about["postgres"], about["redis"])


def _export(postgres: str, redis: str) -> int:
    print(f"export NETRA_POSTGRES_URL={postgres}\nexport NETRA_REDIS_URL={redis}")
    return 0


def _somebody_elses(command: str) -> int:
    """Answer for the servers at NETRA_POSTGRES_URL and NETRA_REDIS_URL, which are not ours to start or end.

    Raises:
        ServicesUnavailable: an address isn't given.
        SettingInvalid: one can't be read.
    """
    postgres, redis = (os.environ.get(f"NETRA_{service.upper()}_URL", "") for service in PORTS)
    if not (postgres and redis):
        raise ServicesUnavailable(
            "the session",
            "NETRA_POSTGRES_URL and NETRA_REDIS_URL aren't both set",
            "set them, or use --services=embedded",
        )
    if command == "down":
        print("the servers are somebody else's and stay")
    elif command == "status":
        one, other = external.postgres(postgres), external.redis_address(redis)
        print(
            f"PostgreSQL at {one.host}:{one.port} and Redis at {other.host}:{other.port} are somebody else's"
        )
    else:
        _export(postgres, redis)
    return 0


def _containers(standing: Standing, chosen: argparse.Namespace) -> StandingContainers | None:
    """Give the containers where they are meant: asked for, or alone standing already."""
    if chosen.services == "compose":
        return StandingContainers(chosen.redis)
    looks = chosen.services == "auto" and chosen.command in {"down", "status", "urls"}
    if looks and standing.read() is None and engine.in_sight(os.environ):
        containers = StandingContainers(chosen.redis)
        return containers if containers.stands() else None
    return None


def _carry_out(standing: Standing, chosen: argparse.Namespace) -> int:
    if chosen.services not in BACKENDS:  # argparse doesn't look at a default
        raise SettingInvalid(
            "NETRA_SERVICES", f"{chosen.services!r} is not known", f"use one of {', '.join(BACKENDS)}"
        )
    if chosen.command in {"open", "prune"}:
        return _kept(standing, chosen)
    if chosen.command == "hold":
        return hold(standing, chosen.redis)
    if chosen.services == "external":
        return _somebody_elses(chosen.command)
    containers = _containers(standing, chosen)
    if containers is not None:
        return {
            "up": containers.up,
            "down": containers.down,
            "status": containers.status,
            "urls": containers.urls,
        }[chosen.command]()
    if chosen.command == "up":
        return up(standing, chosen.redis)
    return {"down": down, "status": status, "urls": urls}[chosen.command](standing)


def _kept(standing: Standing, chosen: argparse.Namespace) -> int:
    """Open, list or remove what failed tests left."""
    from netra_fixtures.snapshot import opening

    def stood() -> dict[str, Any] | None:
        with contextlib.redirect_stdout(None):  # what to export is of no use here
            up(standing, chosen.redis)
        return standing.read()

    if chosen.command == "prune":
        return opening.removed()
    return opening.opened(chosen.name, stood) if chosen.name else opening.listed()


def main() -> int:
    """Carry out one command."""
    parser = argparse.ArgumentParser(
        prog="python -m netra_fixtures.standing", description=(__doc__ or "").strip()
    )
    parser.add_argument("command", choices=["up", "down", "status", "urls", "open", "prune", "hold"])
    parser.add_argument("name", nargs="?", help="of the kept state to open; without it open lists them")
    parser.add_argument("--redis", choices=REDIS_ENGINES, default="valkey")
    parser.add_argument("--services", choices=BACKENDS, default=os.environ.get("NETRA_SERVICES") or "auto")
    chosen = parser.parse_args()
    nowhere = Path(tempfile.gettempdir(), f"netra-fixtures-{os.geteuid()}")
    standing = Standing(cache_folder(os.environ) or nowhere)
    try:
        return _carry_out(standing, chosen)
    except NetraFixturesError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    # before any thread: what waits for these signals is `hold`
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if "hold" in sys.argv else set())
    sys.exit(main())
