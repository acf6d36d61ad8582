"""Every test finds PostgreSQL and Redis as the migrations left them, and what it commits is real."""

import pytest
import redis

from netra_fixtures import Goal, PrivateRedis, Tier, business_value
from netra_fixtures.isolation.redis import WorkerRedis

from .runs import Run


def test_rows_committed_in_one_test_are_gone_in_the_next_and_visible_to_another_process_meanwhile(
    run: Run,
) -> None:
    """Tests can commit as production does, and still never see each other's rows."""
    outcome = run(
        """
        import subprocess, sys
        import pytest
        from sqlalchemy import text

        COUNT = "import asyncio, asyncpg, sys\\n" \\
            "async def count():\\n" \\
            "    connection = await asyncpg.connect(sys.argv[1])\\n" \\
            "    print(await connection.fetchval('select count(*) from shop.orders'))\\n" \\
            "asyncio.run(count())"

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_order(engine, postgres_endpoint, turn):
            async with engine.begin() as connection:
                assert await connection.scalar(text("select count(*) from shop.orders")) == 0
                await connection.execute(text("insert into shop.orders (kind) values ('book'), ('pen')"))
            seen = subprocess.run(
                [sys.executable, "-c", COUNT, postgres_endpoint.dsn], capture_output=True, text=True, timeout=30
            )
            assert seen.stdout.strip() == "2", seen.stderr
        """
    )

    outcome.result.assert_outcomes(passed=2)


def test_sequences_and_seed_rows_are_restored(run: Run) -> None:
    """A test may count on the first id and on the rows that the migrations wrote."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        CHANGES = ["delete from shop.kinds", "update shop.kinds set name = 'x' where name = 'pen'",
                   "insert into shop.kinds values ('cup')", "truncate shop.kinds cascade", "select 1"]

        @pytest.mark.parametrize("change", CHANGES)
        async def test_change(engine, change):
            async with engine.begin() as connection:
                kinds = await connection.scalars(text("select name from shop.kinds order by 1"))
                assert list(kinds) == ["book", "pen"]
                order = await connection.scalar(text("insert into shop.orders (what) values ('a') returning id"))
                assert order == 1
                await connection.execute(text(change))
        """,
        "--random-order",
    )

    outcome.result.assert_outcomes(passed=5)


def test_a_rolled_back_number_of_a_sequence_is_given_back(run: Run) -> None:
    """A sequence moves even in a transaction that is undone, when no row tells of it."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_number(engine, turn):
            async with engine.connect() as connection:
                assert await connection.scalar(text("insert into shop.orders (what) values ('a') returning id")) == 1
                await connection.rollback()
        """
    )

    outcome.result.assert_outcomes(passed=2)


def test_keys_written_in_one_test_are_gone_in_the_next(run: Run) -> None:
    """A key that stays would make the next test's first read lie."""
    outcome = run(
        """
        import pytest

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_key(redis_client, namespace, turn):
            assert await redis_client.get(f"{namespace}:a") is None
            await redis_client.set(f"{namespace}:a", "1")
        """
    )

    outcome.result.assert_outcomes(passed=2)


def test_keys_are_gone_in_the_next_test_too_where_postgresql_was_asked_for_after_redis(run: Run) -> None:
    """Which service a worker asks for first is chance, and must not decide which Redis is emptied."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_key(redis_client, engine, turn):
            assert await redis_client.get("a") is None
            await redis_client.set("a", "1")
            async with engine.connect() as connection:
                await connection.execute(text("select 1"))
        """
    )

    outcome.result.assert_outcomes(passed=2)
    (redis,) = (one for one in outcome.report["run"]["counters"] if one["link"] == "redis")
    assert redis["server"]["bytes_received"] == redis["counted"]["bytes_received"]


@pytest.mark.parametrize(
    "change",
    [
        "create table shop.extra (id int)",
        "select 1 as id into shop.extra",
        "do $$ begin create table shop.extra (id int); end $$",
        "drop table shop.orders",
        "grant select on shop.orders to public",
    ],
)
def test_tables_change_only_in_a_fresh_database(run: Run, change: str) -> None:
    """What one test adds or drops would be so for all later ones; the test that does it unasked is told."""
    outcome = run(
        f"""
        import pytest
        from sqlalchemy import text

        CHANGE = {change!r}
        STATE = "select to_regclass('shop.extra'), relacl from pg_class where oid = 'shop.orders'::regclass"

        async def test_unasked(engine):
            async with engine.begin() as connection:
                await connection.execute(text(CHANGE))

        async def test_next(engine):
            async with engine.begin() as connection:
                assert (await connection.execute(text(STATE))).one() == (None, None)

        @pytest.mark.fresh_database
        @pytest.mark.parametrize("turn", [1, 2])
        async def test_asked(engine, turn):
            async with engine.begin() as connection:
                await connection.execute(text(CHANGE))
        """
    )

    outcome.result.assert_outcomes(passed=4, errors=1)
    assert "mark it @pytest.mark.fresh_database" in outcome.text


def test_a_temporary_table_is_no_change(run: Run) -> None:
    """Bulk loads go through temporary tables; nobody else ever sees these."""
    outcome = run(
        """
        from sqlalchemy import text

        async def test_load(engine):
            async with engine.begin() as connection:
                await connection.execute(text("create temp table load (id serial primary key, what text)"))
                await connection.execute(text("insert into shop.orders (what) select what from load"))
                await connection.execute(text("drop table load"))
        """
    )

    outcome.result.assert_outcomes(passed=1)


LEFTOVERS = '''
import pytest

import shop

TABLES = """
create table shop."Odd ""Name" ("Id" int generated always as identity primary key, n int,
                                twice int generated always as (n * 2) stored);
insert into shop."Odd ""Name" (n) values (1);
create materialized view shop.taken as select count(*) from shop.orders;
create table shop.parent (a int);
create table shop.child () inherits (shop.parent);
insert into shop.child values (1);
create table shop.parts (a int) partition by range (a);
create table shop.low partition of shop.parts for values from (0) to (10);
create table shop.high partition of shop.parts for values from (10) to (20);
insert into shop.parts values (1), (11);
"""
STATE = """
select current_setting('work_mem'), (select count from shop.taken), (select count(*) from pg_largeobject_metadata),
       (select array_agg(("Id", n, twice)::text) from shop."Odd ""Name"),
       (select array_agg((tableoid::regclass, a)::text) from shop.parent),
       (select array_agg((tableoid::regclass, a)::text order by a) from shop.parts)
"""
CHANGES = [
    'update shop."Odd ""Name" set n = 2',
    "refresh materialized view shop.taken",
    "update shop.parent set a = 2",
    "update shop.parts set a = 12 where a = 1",
    "select lo_from_bytea(0, 'x')",
    "do $$ begin execute format('alter database %I set work_mem = 999', current_database()); end $$",
    "select 1",
]
seen = []

async def migrate(engine):
    await shop.migrate(engine)
    async with engine.begin() as connection:
        for statement in filter(str.strip, TABLES.split(";")):
            await connection.exec_driver_sql(statement)

@pytest.mark.parametrize("change", CHANGES)
async def test_change(engine, change):
    async with engine.begin() as connection:
        seen.append((await connection.exec_driver_sql(STATE)).one())
        assert seen[-1] == seen[0]
        await connection.exec_driver_sql("insert into shop.orders (what) values ('a')")
        await connection.exec_driver_sql(change)
'''


def test_whatever_a_schema_holds_is_as_the_migrations_left_it(run: Run) -> None:
    """Views that keep rows, inheritance, partitions, large objects and settings leak as rows do."""
    outcome = run(LEFTOVERS, "-o", "netra_migrations=test_shop:migrate")

    outcome.result.assert_outcomes(passed=7)


def test_settings_users_and_functions_of_redis_are_undone(run: Run) -> None:
    """FLUSHALL takes the keys only; a memory limit that stays fails a test that never heard of it."""
    outcome = run(
        r"""
        import pytest

        LIBRARY = "#!lua name=mine\nredis.register_function('one', function() return 1 end)"

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_settings(redis_client, turn):
            assert list((await redis_client.config_get("maxmemory")).values()) in (["0"], [b"0"])
            assert await redis_client.acl_users() in (["default"], [b"default"])
            await redis_client.function_load(LIBRARY)
            await redis_client.config_set("maxmemory", "3mb")
            await redis_client.acl_setuser("ann", enabled=True)
        """
    )

    outcome.result.assert_outcomes(passed=2)


@pytest.mark.parametrize("flush", ["flushall", "flushdb"])
def test_no_test_empties_a_redis_that_may_be_others_too(run: Run, flush: str) -> None:
    """A test that is right alone would take their keys from tests beside it, or from the team whose server it is."""
    outcome = run(
        f"""
        async def test_flushes(redis_client, namespace):
            await redis_client.set(f"{{namespace}}:basket", "3 books")
            await redis_client.{flush}()
        """
    )

    outcome.result.assert_outcomes(failed=1)
    told = (
        f"{flush.upper()} would also empty what others keep where the server is shared; delete the keys below"
    )
    assert told in outcome.text


def test_rows_are_deleted_whatever_refers_to_them_and_the_database_stays(run: Run) -> None:
    """A clone costs fifty times what deleting does; keys and triggers must not make it needed."""
    outcome = run(
        """
        import pytest
        import shop

        async def migrate(engine):
            await shop.migrate(engine)
            async with engine.begin() as connection:
                for statement in (
                    "create table shop.a (id int primary key, b int)",
                    "create table shop.b (id int primary key, a int references shop.a)",
                    "alter table shop.a add foreign key (b) references shop.b deferrable initially deferred",
                    "create function shop.no() returns trigger language plpgsql as"
                    " $$ begin raise 'rows stay'; end $$",
                    "create trigger no before delete on shop.a for each row execute function shop.no()",
                ):
                    await connection.exec_driver_sql(statement)

        seen = set()

        @pytest.mark.parametrize("turn", range(3))
        async def test_cycle(engine, turn):
            async with engine.begin() as connection:
                which = "select oid from pg_database where datname = current_database()"
                seen.add((await connection.exec_driver_sql(which)).scalar())
                assert len(seen) == 1
                for statement in ("insert into shop.a values (1, 2)", "insert into shop.b values (2, 1)",
                                  "delete from shop.kinds", "insert into shop.orders (what) values ('a')"):
                    await connection.exec_driver_sql(statement)
        """,
        "-o",
        "netra_migrations=test_shop:migrate",
    )

    outcome.result.assert_outcomes(passed=3)


def test_a_test_may_end_every_session_of_its_database(run: Run) -> None:
    """What happens when connections are cut is worth a test; the kit's own session is among them."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        CUT = "select pg_terminate_backend(pid) from pg_stat_activity" \\
            " where pid <> pg_backend_pid() and datname = current_database()"

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_cut(engine, turn):
            async with engine.begin() as connection:
                assert await connection.scalar(text("select count(*) from shop.orders")) == 0
                await connection.execute(text("insert into shop.orders (what) values ('a')"))
            async with engine.begin() as connection:
                await connection.execute(text(CUT))
        """
    )

    outcome.result.assert_outcomes(passed=2)


def test_an_open_transaction_does_not_hang_the_next_test(run: Run) -> None:
    """A connection that a test forgets holds its locks; the next test still starts clean."""
    outcome = run(
        """
        import asyncio, threading
        import asyncpg
        from sqlalchemy import text

        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        kept = []

        async def forget(dsn):
            connection = await asyncpg.connect(dsn)
            await connection.execute("begin; lock table shop.orders; insert into shop.orders (what) values ('a')")
            kept.append(connection)

        def test_forgets(postgres_endpoint):
            asyncio.run_coroutine_threadsafe(forget(postgres_endpoint.dsn), loop).result(30)

        async def test_next(engine):
            async with engine.begin() as connection:
                assert await connection.scalar(text("select count(*) from shop.orders")) == 0
        """,
        "-W",
        "ignore",
    )

    outcome.result.assert_outcomes(passed=2, errors=1)


def test_a_test_that_writes_much_leaves_nothing_either(run: Run) -> None:
    """A load test leaves more rows than are worth deleting one by one; the database is cloned anew."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", [1, 2])
        async def test_load(engine, turn):
            async with engine.begin() as connection:
                assert await connection.scalar(text("select count(*) from shop.orders")) == 0
                await connection.execute(
                    text("insert into shop.orders (what) select repeat('x', 500) from generate_series(1, 30000)")
                )
        """
    )

    outcome.result.assert_outcomes(passed=2)
    (counter,) = (one for one in outcome.report["run"]["counters"] if one["link"] == "postgres")
    assert counter["difference"] == {"transactions": 0, "rows_written": 0}


def test_ten_workers_on_one_server_never_meet(run: Run) -> None:
    """However many workers a machine is given, each has rows, sequences and keys of its own."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", range(40))
        async def test_worker(engine, redis_client, turn):
            async with engine.begin() as connection:
                assert await connection.scalar(text("insert into shop.orders (what) values ('a') returning id")) == 1
            assert await redis_client.incr("visits") == 1
            async with engine.connect() as connection:
                assert await connection.scalar(text("select count(*) from shop.orders")) == 1
            assert await redis_client.get("visits") == b"1"
        """,
        "-n",
        "10",
    )

    outcome.result.assert_outcomes(passed=40)
    assert outcome.report["run"]["workers"] == 10


@business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="tests on a shared Redis don't break each other"
)
def test_on_a_shared_redis_a_worker_empties_its_own_keys_only(private_redis: PrivateRedis) -> None:
    """gw1 and gw10 run side by side on one server; the name of one begins with that of the other."""
    with redis.Redis.from_url(private_redis.endpoint.url) as client:
        client.mset({"run:gw1:a": 1, "run:gw10:a": 1, "other": 1})
        endpoint = private_redis.endpoint
        own = WorkerRedis(endpoint, endpoint, namespace="run:gw1", alone=False, administration=lambda: 0)

        own.empty()

        assert sorted(client.keys("*")) == [b"other", b"run:gw10:a"]
        own.close()
