"""The database that workers clone: migrated, and with a function that empties it."""

import contextlib

from netra_fixtures.isolation.connection import Database
from netra_fixtures.isolation.migrations import Migrations
from netra_fixtures.lease import Lease
from netra_fixtures.services.endpoint import PostgresEndpoint

TEMPLATE = "netra_template"
RENEW_BYTES = 8 << 20  # a table larger than this costs more to empty than the database to clone


def build_template(database: Database, name: str, migrations: Migrations) -> None:
    """Create the database that workers clone: migrated, with the function that empties it, closed to connections.

    Raises:
        MigrationFailed: a schema can't be built.
    """
    database.drop(name)
    database.execute(f'create database "{name}" template template0 strategy file_copy')
    endpoint = database.admin.named(name)
    database.wait(migrations.run(endpoint))
    database.wait(_install_emptying(database, endpoint))
    database.execute(f'alter database "{name}" with allow_connections false is_template true')


TABLES = """
select c.oid, format('%I.%I', n.nspname, c.relname) as name,
       (select string_agg(format('%I', a.attname), ', ' order by a.attnum) from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') as columns
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema', 'netra_fixtures')
   and n.nspname not like 'pg\\_%' order by 2
"""
SEQUENCES = """
select format('%I.%I', n.nspname, c.relname) as name, c.oid
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'S' and n.nspname not in ('pg_catalog', 'information_schema', 'netra_fixtures')
   and n.nspname not like 'pg\\_%' order by 1
"""
VIEWS = """
select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relispopulated
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'm' order by 2
"""
LARGE_OBJECTS = "select coalesce(array_agg(oid), '{}')::text from pg_largeobject_metadata"
SETTINGS = (
    "select from pg_db_role_setting"
    " where setdatabase = (select oid from pg_database where datname = current_database())"
)
NOTES = """
create function netra_fixtures.note_made() returns event_trigger language plpgsql security definer as $$
begin
  if exists (select from pg_event_trigger_ddl_commands()
              where schema_name is distinct from 'pg_temp' and command_tag <> 'REFRESH MATERIALIZED VIEW') then
    insert into netra_fixtures.changed default values;
  end if;
end $$;
create function netra_fixtures.note_dropped() returns event_trigger language plpgsql security definer as $$
begin
  if exists (select from pg_event_trigger_dropped_objects() where original and not is_temporary) then
    insert into netra_fixtures.changed default values;
  end if;
end $$;
create event trigger netra_fixtures_made on ddl_command_end execute function netra_fixtures.note_made();
create event trigger netra_fixtures_dropped on sql_drop execute function netra_fixtures.note_dropped();
"""
RENEW = "renew := true; return;"


async def _install_emptying(database: Database, endpoint: PostgresEndpoint) -> None:
    """Write the function `netra_fixtures.empty()` for the tables, sequences and seed rows that the database holds.

    The condition in `netra_fixtures.look` says in one look whether there is anything to do; as a view it would keep a
    test from dropping its tables. The function returns how many rows of the tests it deleted and how many it put back,
    whether the caller should clone anew, and whether that is because a test changed tables: event triggers note it in
    `netra_fixtures.changed`, whichever way it is done, but not for temporary ones.
    """
    import asyncpg

    connection = await database.connect(endpoint)
    try:
        await connection.execute("create schema netra_fixtures create table changed ()")
        await connection.execute("create table netra_fixtures.watch as select true as here")
        filled, seeds, moved, steps = ["select from netra_fixtures.changed", SETTINGS], [], [], []
        for table in await connection.fetch(TABLES):
            name, restore = f"only {table['name']}", ""  # its children are tables of their own
            if not await connection.fetchval(f"select exists (select from {name})"):
                probe = f"exists (select from {name})"
                filled.append(f"select from {name}")
            else:
                copy, newest = f"netra_fixtures.seed_{table['oid']}", f"array(select xmin from {name})"
                await connection.execute(f"create table {copy} as select * from {name}")
                await connection.execute(f"alter table netra_fixtures.watch add t{table['oid']} xid[]")
                await connection.execute(f"update netra_fixtures.watch set t{table['oid']} = {newest}")
                seeds.append(f"t{table['oid']} is distinct from {newest}")
                probe = f"exists (select from netra_fixtures.watch where {seeds[-1]})"
                restore = (
                    f"insert into {table['name']} ({table['columns']}) overriding system value"
                    f" select {table['columns']} from {copy};"
                    f" get diagnostics step = row_count; restored := restored + step;"
                    f" update netra_fixtures.watch set t{table['oid']} = {newest};"
                )
            steps.append(
                f"if {probe} then"
                f" if pg_table_size({table['oid']}) > {RENEW_BYTES} then {RENEW} end if;"
                f" delete from {name}; get diagnostics step = row_count; deleted := deleted + step; {restore} end if;"
            )
        for view in await connection.fetch(VIEWS):
            if view["relispopulated"]:
                newest = f"array(select xmin from {view['name']})"
                was = await connection.fetchval(f"select {newest}::text")
                filled.append(f"select where {newest} <> '{was}'::xid[]")
            else:
                filled.append(f"select from pg_class where oid = {view['oid']} and relispopulated")
            steps.append(f"if exists ({filled[-1]}) then {RENEW} end if;")
        filled.append(
            "select from pg_largeobject_metadata where oid <>"
            f" all('{await connection.fetchval(LARGE_OBJECTS)}'::oid[])"
        )
        steps.append(f"perform lo_unlink(oid) {filled[-1].removeprefix('select ')};")
        for sequence in await connection.fetch(SEQUENCES):
            last, called = await connection.fetchrow(f"select last_value, is_called from {sequence['name']}")
            moved.append(
                f"select from {sequence['name']} where last_value <> {last} or is_called <> {called}"
            )
            steps.append(
                f"if exists ({moved[-1]}) then perform setval({sequence['oid']}, {last}, {called}); end if;"
            )
        await connection.execute(
            "create function netra_fixtures.empty("
            "out deleted bigint, out restored bigint, out renew bool, out changed bool)"
            " language plpgsql as $empty$ declare step bigint; begin deleted := 0; restored := 0; renew := false;"
            " changed := exists (select from netra_fixtures.changed);"
            f" if changed or exists ({SETTINGS}) then {RENEW} end if; {' '.join(steps)} end $empty$"
        )
        probes = [f"exists (select from netra_fixtures.watch where {' or '.join(seeds)})"] if seeds else []
        probes += [f"exists ({' union all '.join(part)})" for part in (filled, moved) if part]
        await connection.execute(
            f"create table netra_fixtures.look as select $look${' or '.join(probes)}$look$ as condition"
        )
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # event triggers are a superuser's
            async with connection.transaction():
                await connection.execute(NOTES)
    finally:
        await connection.close()


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
                build_template(self._database, self._name, migrations)
                self._built.touch()
        return self._name

    def let_go(self) -> None:
        """Drop the template if no other worker of the run is here."""
        self._database.execute("select pg_advisory_unlock_all()")
        with self._lease.exclusive():
            if self._built.exists() and self._database.wait(self._is_free(self._prefix)):
                self._database.execute(f'alter database "{self._name}" with is_template false')
                self._database.drop(self._name)
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
