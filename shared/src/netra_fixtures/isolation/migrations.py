"""The schemas that a test database holds, and the key under which a cluster that holds them is kept."""

import asyncio
import hashlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from netra_fixtures.errors import MigrationFailed
from netra_fixtures.services.endpoint import PostgresEndpoint

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

ENTRY_POINTS = "netra.migrations"
RUNNERS = ("alembic", "sqlalchemy", "asyncpg", "dbos")  # dbos brings the tables of its engine
STATEMENT_SHOWN = 300
INSTALL = "install the package that holds it, or correct the entry point netra.migrations or netra_migrations"
OURS = ("migrations.py", "template.py", "connection.py", "../services/postgres.py")


class Migrations:
    """The schemas of the installed domains, or those that the ini value names."""

    def __init__(self, named: tuple[str, ...]) -> None:
        if named:
            self.targets = {target: target for target in named}
        else:
            self.targets = {}
            for point in entry_points(group=ENTRY_POINTS):
                if self.targets.setdefault(point.name, point.value) != point.value:
                    both = f"{self.targets[point.name]} and {point.value}"
                    raise MigrationFailed(
                        point.name, f"two packages bring it, {both}", "rename one, or uninstall one of them"
                    )
        self._check_form()

    def _check_form(self) -> None:
        for name, target in self.targets.items():
            module, _, function = target.partition(":")
            if not module or not function:
                raise MigrationFailed(name, "it names no function", "write module:function")

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
                raise MigrationFailed(name, f"there is no module {top}", INSTALL)
            root = Path(spec.origin)
            if not inner:
                yield root
                continue
            place = root.parent.joinpath(*inner)
            if place.is_dir():
                yield from sorted(
                    path for path in place.rglob("*") if path.is_file() and path.suffix != ".pyc"
                )
            elif place.with_suffix(".py").is_file():
                yield place.with_suffix(".py")
            else:
                raise MigrationFailed(name, f"there is no module {target.partition(':')[0]}", INSTALL)

    async def run(self, endpoint: PostgresEndpoint, *, deadline_s: float) -> None:
        """Build every schema in the database, each within the deadline.

        Raises:
            MigrationFailed: one of them failed; its name and reason.
        """
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        engine = create_async_engine(endpoint.url(), poolclass=NullPool)
        try:
            for name, target in self.targets.items():
                try:
                    async with asyncio.timeout(deadline_s) as limit:
                        await _migrate(name, target, engine)
                except MigrationFailed:
                    raise
                except Exception as error:
                    if limit.expired():
                        waited = f"they didn't end within {deadline_s:g} s"
                        remedy = "raise --time-factor, or see what they wait for"
                        raise MigrationFailed(name, waited, remedy) from error
                    raise MigrationFailed(name, _reason(error)) from error
        finally:
            await engine.dispose()


async def _migrate(name: str, target: str, engine: "AsyncEngine") -> None:
    module, _, function = target.partition(":")
    migrate = getattr(import_module(module), function, None)
    if not callable(migrate):
        raise MigrationFailed(name, f"{module} has no function {function}", INSTALL)
    work = migrate(engine)
    if not inspect.isawaitable(work):
        raise MigrationFailed(name, f"{target} is no async function", "write async def")
    await work


def _reason(error: Exception) -> str:
    """Give what went wrong in one line; of a failed statement what the server said, and the statement."""
    statement = getattr(error, "statement", None)
    original = getattr(error, "orig", None)
    if statement is None or original is None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return f"{type(error).__name__}: {' '.join(str(error).split())}, at {where}"
    said = str(original.__cause__ or original).partition("\n")[0]
    return f"PostgreSQL says {said!r} to {' '.join(statement.split())[:STATEMENT_SHOWN]!r}"
