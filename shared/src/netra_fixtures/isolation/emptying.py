"""What the template holds so that one call undoes a test: the function `netra_fixtures.empty()` and its questions."""

import contextlib
from typing import TYPE_CHECKING

from netra_fixtures.isolation.connection import Database
from netra_fixtures.services.endpoint import PostgresEndpoint

if TYPE_CHECKING:
    import asyncpg

RENEW_BYTES = 8 << 20  # a table larger than this costs more to empty than the database to clone

TABLES = """
select c.oid, c.reltoastrelid as toast, format('%I.%I', n.nspname, c.relname) as name,
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
CHANGED = "select exists (select from netra_fixtures.changed)"
CLEAN = (0, 0, False, False)  # what `netra_fixtures.empty()` would give where there is nothing to do


class _Undoing:
    """For each thing that a test may change, the question whether it did and the steps that undo it."""

    def __init__(self) -> None:
        self._questions: list[str] = []
        self._steps: list[str] = []

    def add(self, question: str, steps: str) -> None:
        self._questions.append(question)
        self._steps.append(f"if dirty[{len(self._questions)}] then {steps} end if;")

    @property
    def questions(self) -> str:
        return f"array[{', '.join(self._questions)}]"

    @property
    def function(self) -> str:
        return (
            "create function netra_fixtures.empty(dirty bool[],"
            " out deleted bigint, out restored bigint, out renew bool, out changed bool)"
            " language plpgsql as $empty$ declare step bigint;"
            " begin deleted := 0; restored := 0; renew := false; changed := dirty[1];"
            f" {' '.join(self._steps)} end $empty$"
        )


async def install(database: Database, endpoint: PostgresEndpoint) -> None:
    """Write the function `netra_fixtures.empty()` for the tables, sequences and seed rows that the database holds.

    It is called with the answers to the questions in `netra_fixtures.look`, and only where one is yes; they are kept
    as text, for a view would keep a test from dropping its tables. It returns how many rows of the tests it deleted
    and how many it put back, whether the caller should clone anew, and whether that is because a test changed tables:
    event triggers note it in `netra_fixtures.changed`, whichever way it is done, but not for temporary ones.
    """
    import asyncpg

    connection = await database.connect(endpoint)
    try:
        await connection.execute("create schema netra_fixtures create table changed ()")
        await connection.execute("create table netra_fixtures.watch as select true as here")
        undoing = _Undoing()
        undoing.add("exists (select from netra_fixtures.changed)", RENEW)
        undoing.add(f"exists ({SETTINGS})", RENEW)
        for table in await connection.fetch(TABLES):
            await _add_table(undoing, connection, table)
        for view in await connection.fetch(VIEWS):
            if view["relispopulated"]:
                newest = f"array(select xmin from {view['name']})"
                was = await connection.fetchval(f"select {newest}::text")
                undoing.add(f"{newest} <> '{was}'::xid[]", RENEW)
            else:
                undoing.add(
                    f"exists (select from pg_class where oid = {view['oid']} and relispopulated)", RENEW
                )
        kept = f"from pg_largeobject_metadata where oid <> all('{await connection.fetchval(LARGE_OBJECTS)}'::oid[])"
        undoing.add(f"exists (select {kept})", f"perform lo_unlink(oid) {kept};")
        for sequence in await connection.fetch(SEQUENCES):
            last, called = await connection.fetchrow(f"select last_value, is_called from {sequence['name']}")
            moved = f"select from {sequence['name']} where last_value <> {last} or is_called <> {called}"
            undoing.add(f"exists ({moved})", f"perform setval({sequence['oid']}, {last}, {called});")
        await connection.execute(undoing.function)
        await connection.execute(
            f"create table netra_fixtures.look as select $look${undoing.questions}$look$ as questions"
        )
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # event triggers are a superuser's
            async with connection.transaction():
                await connection.execute(NOTES)
    finally:
        await connection.close()


async def _add_table(undoing: _Undoing, connection: "asyncpg.Connection", table: "asyncpg.Record") -> None:
    """Undo what a test does to a table: rows where there were none are deleted, seed rows are put back."""
    name = f"only {table['name']}"  # its children are tables of their own
    size = " + ".join(f"pg_relation_size({oid})" for oid in (table["oid"], table["toast"]) if oid)
    delete = (
        f"if {size} > {RENEW_BYTES} then {RENEW} end if;"
        f" delete from {name}; get diagnostics step = row_count; deleted := deleted + step;"
    )
    if not await connection.fetchval(f"select exists (select from {name})"):
        undoing.add(f"exists (select from {name})", delete)
        return
    copy, column = f"netra_fixtures.seed_{table['oid']}", f"t{table['oid']}"
    newest = f"array(select xmin from {name})"
    await connection.execute(f"create table {copy} as select * from {name}")
    await connection.execute(f"alter table netra_fixtures.watch add {column} xid[]")
    await connection.execute(f"update netra_fixtures.watch set {column} = {newest}")
    undoing.add(
        f"(select {column} from netra_fixtures.watch) is distinct from {newest}",
        f"{delete} insert into {table['name']} ({table['columns']}) overriding system value"
        f" select {table['columns']} from {copy}; get diagnostics step = row_count; restored := restored + step;"
        f" update netra_fixtures.watch set {column} = {newest};",
    )


async def prepare(connection: "asyncpg.Connection") -> "asyncpg.prepared_stmt.PreparedStatement":
    """Prepare the one statement that empties the database; it gives nothing where there was nothing to do."""
    questions = await connection.fetchval("select questions from netra_fixtures.look")
    # offset 0: else the planner asks each question twice, for the condition and for the call
    return await connection.prepare(
        f"select netra_fixtures.empty(dirty) from (select {questions} as dirty offset 0) where true = any (dirty)"
    )
