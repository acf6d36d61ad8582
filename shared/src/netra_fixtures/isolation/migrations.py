"""The schemas that a test database holds, and the key under which a cluster that holds them is kept."""

import hashlib
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

from netra_fixtures.errors import MigrationFailed
from netra_fixtures.services.endpoint import PostgresEndpoint

ENTRY_POINTS = "netra.migrations"
RUNNERS = ("alembic", "sqlalchemy", "asyncpg")
OURS = ("migrations.py", "template.py", "connection.py", "../services/postgres.py")


class Migrations:
    """The schemas of the installed domains, or those that the ini value names."""

    def __init__(self, named: tuple[str, ...]) -> None:
        if named:
            self.targets = {target: target for target in named}
        else:
            self.targets = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}

    def key(self) -> str:
        """Digest the migrations, what runs them and this module, without importing any of them."""
        digest = hashlib.sha256(sys.version.encode())
        for name in RUNNERS:
            try:
                digest.update(f"{name}={version(name)}".encode())
            except ModuleNotFoundError:
                digest.update(f"{name} is missing".encode())
        for path in (*(Path(__file__).parent / name for name in OURS), *self._files()):
            digest.update(str(path.name).encode() + path.read_bytes())
        digest.update(repr(sorted(self.targets.items())).encode())
        return digest.hexdigest()[:16]

    def _files(self) -> Iterator[Path]:
        for name, target in sorted(self.targets.items()):
            top, *inner = target.partition(":")[0].split(".")
            spec = find_spec(top)
            if spec is None or spec.origin is None:
                raise MigrationFailed(name, f"there is no module {top}")
            root = Path(spec.origin)
            if not inner:
                yield root
                continue
            place = root.parent.joinpath(*inner)
            if place.is_dir():
                yield from sorted(
                    path for path in place.rglob("*") if path.is_file() and path.suffix != ".pyc"
                )
            else:
                yield place.with_suffix(".py")

    async def run(self, endpoint: PostgresEndpoint) -> None:
        """Build every schema in the database.

        Raises:
            MigrationFailed: one of them failed; its name and reason.
        """
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        engine = create_async_engine(endpoint.url(), poolclass=NullPool)
        try:
            for name, target in self.targets.items():
                module, _, function = target.partition(":")
                try:
                    await getattr(import_module(module), function)(engine)
                except Exception as error:
                    raise MigrationFailed(name, f"{type(error).__name__}: {error}") from error
        finally:
            await engine.dispose()
