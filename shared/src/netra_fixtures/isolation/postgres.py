"""The worker's PostgreSQL database, emptied after each test; a clone for a test that asks."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netra_fixtures.errors import DatabaseDefinitionChanged, ServicesUnavailable
from netra_fixtures.evidence import Tap
from netra_fixtures.isolation import emptying
from netra_fixtures.isolation.connection import Database
from netra_fixtures.isolation.migrations import Migrations
from netra_fixtures.isolation.template import TEMPLATE, SharedTemplate, build_template
from netra_fixtures.leaks import Leak, LeakWatch
from netra_fixtures.lease import Lease
from netra_fixtures.services import external
from netra_fixtures.services.backend import choose
from netra_fixtures.services.endpoint import PostgresEndpoint
from netra_fixtures.services.postgres import SUPERUSER
from netra_fixtures.snapshot import LEFT_ALONE, Taken
from netra_fixtures.worker import Worker

if TYPE_CHECKING:
    import asyncpg


LOOK = 2  # transactions of `read_counters`
LOOKS = 20
LOOK_AGAIN_S = 0.1


class WorkerDatabase:
    """The worker's own database: a clone of the template that every test finds as the migrations left it.

    Raises:
        ServicesUnavailable: the server's user may not set ``session_replication_role``.
    """

    def __init__(self, database: Database, template: str, name: str, tap: Tap) -> None:
        self.database = database
        self._tap = tap
        self.template = template
        self.name = name
        self.endpoint = database.admin.named(name)
        self.own_transactions = 0
        self.own_rows = 0
        self._server = {"transactions": 0, "rows_written": 0}
        self._expected = 0
        self._numbers = iter(range(1_000_000))
        self._open()

    def _open(self) -> None:
        self.database.clone(self.template, self.name)
        self.database.wait(self._prepare())

    async def _prepare(self) -> None:
        import asyncpg

        try:
            self._connection = await self.database.connect(
                self.endpoint,
                session_replication_role="replica",
                lock_timeout="2s",
                synchronous_commit="off",
                jit="off",
                application_name="netra-fixtures",
            )
        except ServicesUnavailable as error:
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
                raise ServicesUnavailable(
                    "PostgreSQL",
                    "its user may not empty tables whatever their foreign keys",
                    "grant set on parameter session_replication_role to it",
                ) from error
            raise
        self.version = self._connection.get_settings().server_version.split()[0]
        self._empty = await emptying.prepare(self._connection)
        self._baseline = await read_counters(self._connection)
        self.own_transactions = self.own_rows = 0

    def empty(self) -> bool:
        """Leave the database as the migrations left it; return whether a test changed its tables."""
        import asyncpg

        failures = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            TimeoutError,
        )
        changed = False
        self.own_transactions += 1
        try:
            deleted, restored, renew, changed = self.database.wait(self._empty.fetchval()) or emptying.CLEAN
            self.own_rows += deleted + restored
        except failures:  # a table is gone, someone still holds a lock, or has ended our session
            renew = True
            with contextlib.suppress(*failures):
                changed = self.database.wait(self._connection.fetchval(emptying.CHANGED))
                self.own_transactions += 1
        if renew:
            self.renew()
        return changed

    def renew(self, keep: Callable[[PostgresEndpoint], None] | None = None) -> None:
        """Drop the database, whoever is connected to it, and clone it anew; *keep* has it for itself before."""
        if self._connection.is_closed():  # the start of a session is counted as the emptying that failed
            self._connection = self.database.wait(self.database.connect(self.endpoint))
        self._settle()
        self.database.wait(self._connection.close())
        if keep:
            keep(self.endpoint)
        self.database.drop(self.name)
        self._open()

    def _renew_keeping(self, keep: Callable[[PostgresEndpoint], None]) -> bool:
        """Do as `empty` does, and let *keep* have what a failed test left."""
        changed = False
        self.own_transactions += 1
        with contextlib.suppress(
            Exception
        ):  # asyncpg's and the network's; the session may be gone with the tables
            changed = self.database.wait(self._connection.fetchval(emptying.CHANGED))
        self.renew(keep)
        return changed

    @contextlib.contextmanager
    def lent(
        self,
        watch: LeakWatch,
        *,
        fresh: bool,
        left: Callable[[Database, PostgresEndpoint], Taken] = lambda *_: LEFT_ALONE,
    ) -> Iterator[PostgresEndpoint]:
        """Give a test its database, and leave nothing of the test behind.

        Args:
            watch: told of databases that the test made and left.
            fresh: a clone of the test's own, whose tables it may change.
            left: looks at what the test left, before that is gone.

        Raises:
            DatabaseDefinitionChanged: the test changed tables, and the database wasn't fresh.
        """
        if fresh:
            clone = self.database.clone(self.template, f"{self.name}_f{next(self._numbers)}")
            yield clone
            self._drop_made(watch)
            taken = left(self.database, clone)
            self._settle_clone(clone, taken.transactions)
            if taken.keep:
                taken.keep(clone)
            self.database.drop(clone.database)
            return
        before = self._tap.link_counts("postgres")
        yield self.endpoint
        self._drop_made(watch)
        self._expected += _ended(self._tap.link_counts("postgres")) - _ended(before)
        taken = left(self.database, self.endpoint)
        self.own_transactions += taken.transactions
        if self._renew_keeping(taken.keep) if taken.keep else self.empty():
            raise DatabaseDefinitionChanged()

    def _drop_made(self, watch: LeakWatch) -> None:
        if self._tap.link_counts("postgres")["databases"]:
            for name in self._tap.made("postgres"):
                watch.found(Leak(f"the database {name}", watch.test))
                self.database.drop(name)

    def _settle(self) -> None:
        """Add what the server counted for the tests since the last time, without the kit's own work.

        A count may come late, so where one is missing the look is repeated for a while.
        """
        self.database.until_left(self.name, but=1)
        for looks in range(1, LOOKS + 1):
            now = self.database.wait(read_counters(self._connection))
            own = self.own_transactions + looks * LOOK
            transactions = now["transactions"] - self._baseline["transactions"] - own
            if transactions >= self._expected:
                break
            self.database.wait(asyncio.sleep(LOOK_AGAIN_S))
        self._server["transactions"] += transactions
        self._server["rows_written"] += now["rows_written"] - self._baseline["rows_written"] - self.own_rows
        self._expected = 0

    def _settle_clone(self, clone: PostgresEndpoint, own: int) -> None:
        """Add what the server counted in a test's own database, without the kit's *own* looks and this one."""
        self.database.until_left(clone.database)
        now = self.database.wait(self._read_once(clone))
        self._server["transactions"] += now["transactions"] - LOOK - own
        self._server["rows_written"] += now["rows_written"]

    async def _read_once(self, endpoint: PostgresEndpoint) -> dict[str, int]:
        connection = await self.database.connect(endpoint)
        try:
            return await read_counters(connection)
        finally:
            await connection.close()

    def server_counters(self) -> dict[str, int]:
        """Give what the server itself counted of the tests' work; call it once, when no test runs any more."""
        self._settle()
        return dict(self._server)

    def close(self) -> None:
        """Drop the database."""
        self.database.wait(self._connection.close())
        self.database.drop(self.name)

    def abandon(self) -> None:
        """Let go of a server that is dead."""
        self.database.abandon(self._connection)


def _ended(counted: dict[str, int]) -> int:
    """Give what the server counts as transactions: the start of a session is one."""
    return counted["transactions"] + counted["connections"]


async def read_counters(connection: "asyncpg.Connection") -> dict[str, int]:
    """Read what the server itself counted in this database; the look is two transactions, the first counted."""
    await connection.execute("select pg_stat_force_next_flush()")
    row = await connection.fetchrow(
        "select (select xact_commit + xact_rollback from pg_stat_database where datname = current_database())"
        " as transactions, (select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint"
        " from pg_stat_user_tables where schemaname <> 'netra_fixtures') as rows_written"
    )
    assert row is not None
    return dict(row)


@contextlib.contextmanager
def acquired(worker: Worker, lease: Lease, tap: Tap, *, redis_next: bool) -> Iterator[WorkerDatabase]:
    """Give the worker its database, on a server that the first worker to come starts and migrates.

    Args:
        redis_next: the worker will ask for its Redis next, which may start meanwhile.

    Raises:
        ServicesUnavailable: there is no server to be had.
        MigrationFailed: a schema can't be built.
    """
    settings = worker.settings
    migrations = Migrations(settings.migrations)
    choice = choose(settings, "postgres", lease.ask, both=redis_next)
    server: dict[str, Any] = {"start_s": choice.start_s}
    if choice.shared:
        database = Database(external.postgres(choice.url), time_factor=settings.time_factor)
        with database.closed_on_failure():
            database.wait(_check(database))
            shared = SharedTemplate(database, worker.prefix, lease)
            template = shared.built(migrations)
    else:
        template, key = TEMPLATE, migrations.key()
        with lease.exclusive():
            server = lease.ask(
                "postgres",
                key=key,
                redis_next=worker.name if redis_next else None,
                meanwhile=lambda: _import_ahead(migrations, settings.cache, key),
            )
            database = Database(cluster(server["socket"]), time_factor=settings.time_factor)
            if not server["sealed"]:
                with database.closed_on_failure():
                    build_template(database, template, migrations)
                database.release()
                lease.ask("seal", key=key)
    tap.link("postgres", "postgres", database.admin.target)
    lease.ask(
        "lend",
        name=f"{worker.name}-database",
        worker=worker.name,
        postgres=database.admin.told(),
        stays=choice.stays,
    )
    own = WorkerDatabase(database, template, f"{worker.prefix}_{worker.name}", tap)
    worker.serves(
        "postgres", {**server, "server": "PostgreSQL", "version": own.version}, choice.backend, choice.reason
    )
    yield own
    dead = worker.deaths.seen()
    try:
        with worker.deaths.ending():
            if not dead:
                _compare(worker, tap, own)
            if not dead or choice.stays:
                own.close()
                if choice.shared:
                    shared.let_go()
            if not dead:
                database.close()
                lease.ask("returned", name=f"{worker.name}-database")
    finally:
        own.abandon()


def _compare(worker: Worker, tap: Tap, own: WorkerDatabase) -> None:
    counted = tap.link_counts("postgres")
    server_counted = own.server_counters()
    server_counted["transactions"] -= counted[
        "connections"
    ]  # PostgreSQL counts the start of a session as one
    worker.compare("postgres", counted, server_counted)


async def _check(database: Database) -> None:
    await external.check_postgres(await database.admin_connection())


def cluster(socket: str) -> PostgresEndpoint:
    """Address a cluster that the kit started."""
    return PostgresEndpoint(user=SUPERUSER, database="postgres", socket=Path(socket))


def _import_ahead(migrations: Migrations, cache: Path | None, key: str) -> None:
    """Import while the server starts on another core; migrations only where no cluster is kept that holds them."""
    _import_drivers()
    if cache is None or not any(cache.glob(f"pg-*-{key}")):
        for target in migrations.targets.values():
            with contextlib.suppress(Exception):  # where it is needed it fails again, by its name
                import_module(target.partition(":")[0])


def _import_drivers() -> None:
    """Import while initdb runs on another core."""
    import asyncpg
    import sqlalchemy.ext.asyncio

    del asyncpg, sqlalchemy
