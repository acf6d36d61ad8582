"""The database that workers clone: migrated, and with what empties it."""

import contextlib

from netra_fixtures.isolation.connection import Database
from netra_fixtures.isolation.emptying import install
from netra_fixtures.isolation.migrations import Migrations
from netra_fixtures.lease import Lease

TEMPLATE = "netra_template"


def build_template(database: Database, name: str, migrations: Migrations) -> None:
    """Create the database that workers clone: migrated, with the function that empties it, closed to connections.

    Raises:
        MigrationFailed: a schema can't be built.
    """
    database.drop_matching(f"^{name}$")  # begun by a worker that was killed
    database.execute(f'create database "{name}" template template0 strategy file_copy')
    endpoint = database.admin.named(name)
    database.wait(migrations.run(endpoint, deadline_s=database.deadline_s), limited=False)
    database.wait(install(database, endpoint))
    database.execute(f'alter database "{name}" with allow_connections false is_template true')


class SharedTemplate:
    """The template of one run on a server that other runs use too.

    Each worker holds an advisory lock named after its run; databases of a run whose lock nobody holds were left by one
    that was killed, and are dropped. Such a lock is of the database that the address names, and another run may name
    another: so whoever holds one is looked up among the locks of all databases.
    """

    def __init__(self, database: Database, prefix: str, lease: Lease) -> None:
        self._database = database
        self._prefix = prefix
        self._name = f"{prefix}_template"
        self._lease = lease
        self._built = lease.directory / "template"

    def built(self, migrations: Migrations) -> str:
        """Give the template's name; the first worker builds it."""
        self._database.execute(f"select pg_advisory_lock_shared(hashtext('{self._prefix}'))")
        with self._lease.exclusive():
            if not self._built.exists():
                self._database.wait(self._sweep())
                try:
                    build_template(self._database, self._name, migrations)
                except BaseException:
                    self._database.drop(self._name)
                    raise
                self._built.touch()
        return self._name

    def let_go(self) -> None:
        """Drop the template if no other worker of the run is here."""
        self._database.execute("select pg_advisory_unlock_all()")
        with self._lease.exclusive():
            if self._built.exists() and self._database.wait(self._is_free(self._prefix)):
                self._database.drop_matching(f"^{self._name}$")
                self._built.unlink(missing_ok=True)

    async def _is_free(self, prefix: str) -> bool:
        connection = await self._database.admin_connection()
        return not await connection.fetchval(
            "select exists (select from pg_locks where locktype = 'advisory'"
            " and objid = (hashtext($1)::bigint & 4294967295)::oid and pid <> pg_backend_pid())",
            prefix,
        )

    async def _sweep(self) -> None:
        import asyncpg

        connection = await self._database.admin_connection()
        for row in await connection.fetch("select datname from pg_database where datname ~ '^netra_.{8}_'"):
            name, prefix = row["datname"], row["datname"][: len(self._prefix)]
            if prefix != self._prefix and await self._is_free(prefix):
                with contextlib.suppress(asyncpg.InvalidCatalogNameError):  # another run was faster
                    await connection.execute(f'alter database "{name}" with is_template false')
                    await connection.execute(f'drop database "{name}" with (force)')
