"""The kit's services for one subject, had the way a pytest worker has them, and gone afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from netra_fixtures.evidence import Tap
from netra_fixtures.isolation import postgres, redis
from netra_fixtures.isolation.postgres import WorkerDatabase
from netra_fixtures.isolation.redis import WorkerRedis
from netra_fixtures.lease import Lease, Run
from netra_fixtures.settings import Settings
from netra_fixtures.worker import Worker

STANDARD = ("twenty_tables:migrate",)


@dataclass(frozen=True)
class Kit:
    """A worker's services; `endpoint` of the database and of Redis is the direct way, past the tap."""

    worker: Worker
    tap: Tap
    database: WorkerDatabase
    redis: WorkerRedis


def chosen(migrations: tuple[str, ...], cache: Path | None) -> Settings:
    """Choose the servers from the wheels, whatever the environment says."""
    return Settings(
        backend="embedded", redis="valkey", postgres_url=None, redis_url=None, migrations=migrations,
        cache=cache, time_factor=1.0, strict=True, root=Path(),
    )  # fmt: skip


@contextmanager
def standing(*, migrations: tuple[str, ...] = STANDARD, cache: Path | None = None) -> Iterator[Kit]:
    """Start both services with a database that *migrations* (``module:function``) built, end them after.

    Args:
        migrations: those of the installed domains where empty.
        cache: where migrated clusters are kept; None for this run's own directory.
    """
    with ExitStack() as opened:
        run = Run()
        opened.callback(run.end)
        worker = Worker(name="main", place=run.place, seed=0, settings=chosen(migrations, cache))
        lease = opened.enter_context(closing(Lease(run.place, worker.name, worker.settings)))
        tap = opened.enter_context(closing(Tap(lease.directory / "main-tap")))
        database = opened.enter_context(postgres.acquired(worker, lease, tap, redis_next=True))
        own = opened.enter_context(redis.acquired(worker, lease, tap))
        yield Kit(worker, tap, database, own)


def plainly(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Give the environment of a program that is measured: without what would choose other services for it.

    It may write bytecode: what is measured is the second run of a program, not compiling it.
    """
    ours = ("NETRA_", "PYTEST_")
    dropped = ("CI", "PYTHONDONTWRITEBYTECODE")
    kept = {
        name: value for name, value in environ.items() if not name.startswith(ours) and name not in dropped
    }
    return kept | more
