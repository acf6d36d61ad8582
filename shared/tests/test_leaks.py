"""What a test leaves open fails that test, by name and place, and no other."""

import re

from .runs import Outcome, Run

BEGINNING = """
import asyncio
import subprocess
import threading

import asyncpg
import pytest
import redis
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

KEPT = []  # so that nothing is closed by being collected

OTHERS = (
    "select count(*) from pg_stat_activity where datname = current_database()"
    " and pid <> pg_backend_pid() and application_name <> 'netra-fixtures'"
)


@pytest.fixture(autouse=True)
async def finds_everything_clean(engine, redis_client):
    assert len(asyncio.all_tasks()) <= 2
    assert len(await redis_client.client_list()) <= 2  # its own, and the kit's
    assert not await redis_client.pubsub_channels()
    async with engine.begin() as connection:
        assert (await connection.execute(text(OTHERS))).scalar() == 0
        assert (await connection.execute(text("select count(*) from shop.kinds"))).scalar() == 2
        assert (await connection.execute(text("select count(*) from pg_database where datname ~ 'shop'"))).scalar() == 0
        await connection.execute(text("delete from shop.kinds"))
"""
POSTGRES = """
async def test_connection(postgres_endpoint):
    KEPT.append(await asyncpg.connect(postgres_endpoint.dsn))  # a connection to postgres

async def test_collected(postgres_endpoint):
    connection = await asyncpg.connect(postgres_endpoint.dsn)  # a connection
    await connection.execute("select 1")

async def test_transaction(postgres_endpoint):
    connection = await asyncpg.connect(postgres_endpoint.dsn)  # an open transaction to postgres
    KEPT.append(connection)
    await connection.execute("begin; lock table shop.kinds; insert into shop.kinds values ('locked')")

async def test_engine_transaction(engine):
    connection = await engine.connect()  # an open transaction of `engine`
    await connection.execute(text("insert into shop.kinds values ('locked')"))

async def test_engine_connection(engine):
    options = engine.execution_options(isolation_level="AUTOCOMMIT")
    connection = await options.connect()  # a connection of `engine`
    await connection.execute(text("select 1"))
    await connection.rollback()

async def test_pool(postgres_endpoint):
    own = create_async_engine(postgres_endpoint.url())
    async with own.connect() as connection:  # a connection to postgres
        await connection.execute(text("select 1"))

async def test_database(postgres_endpoint):  # the database My "shop"
    connection = await asyncpg.connect(postgres_endpoint.dsn)
    await connection.execute('create database "My ""shop\"""')
    await connection.execute("CREATE DATABASE gone_shop")
    await connection.execute("drop database if exists Gone_Shop")
    await connection.close()

async def test_two(postgres_endpoint):
    KEPT.append(await asyncpg.connect(postgres_endpoint.dsn))  # a connection to postgres
    KEPT.append(await asyncpg.connect(postgres_endpoint.dsn))  # an open transaction to postgres
    await KEPT[-1].execute("begin")
"""
REDIS = """
async def test_subscription(redis_client):
    subscription = redis_client.pubsub()
    await subscription.subscribe("news")  # a subscription of `redis_client`

async def test_own_subscription(redis_endpoint):
    KEPT.append(redis.asyncio.Redis.from_url(redis_endpoint.url))
    KEPT.append(KEPT[-1].pubsub())
    await KEPT[-1].psubscribe("news*")  # a subscription to redis

async def test_collected(redis_endpoint):
    client = redis.asyncio.Redis.from_url(redis_endpoint.url)
    await client.set("a", 1)  # a connection

async def test_blocked(redis_client):
    KEPT.append(asyncio.create_task(redis_client.blpop("none", 0)))  # a client blocked in BLPOP, of `redis_client`
    while "blpop" not in str(await redis_client.client_list()):
        pass

async def test_blocked_thread(redis_client, redis_endpoint):
    client = redis.Redis.from_url(redis_endpoint.url)
    client.set("a", 1)  # a client blocked in BRPOP to redis
    def block():
        with pytest.raises(redis.ConnectionError):
            client.brpop("none")
    threading.Thread(target=block, daemon=True).start()
    while "brpop" not in str(await redis_client.client_list()):
        pass
"""
PROCESS = """
async def test_task():
    async def forever():
        await asyncio.Event().wait()
    asyncio.create_task(forever())  # the task test_task.<locals>.forever

async def test_child():
    KEPT.append(subprocess.Popen(["sleep", "1000"]))  # the child process PID (sleep 1000)
"""
CLEAN = """
async def test_closed(engine, redis_client, postgres_endpoint, redis_endpoint):
    async with engine.begin() as connection:
        await connection.execute(text("select 1"))
    own = await asyncpg.connect(postgres_endpoint.dsn)
    await own.close()
    async with redis_client.pubsub() as subscription:
        await subscription.subscribe("news")
    async with redis.asyncio.Redis.from_url(redis_endpoint.url) as client:
        await client.set("a", 1)

async def test_ending(redis_client):
    task = asyncio.create_task(redis_client.blpop("none", 0))
    await asyncio.sleep(0)
    task.cancel()  # and is given the time to end
    event = asyncio.Event()
    asyncio.create_task(event.wait())
    event.set()
    subprocess.run(["true"])

@pytest.fixture
async def background():
    task = asyncio.create_task(asyncio.Event().wait())
    yield
    task.cancel()

async def test_fixtures_tasks_last_as_long_as_the_fixture(background):
    pass
"""


def leaks(outcome: Outcome) -> dict[str, str]:
    """Give what each test left open, as the terminal says it."""
    said = re.findall(r"ERROR at teardown of (\w+)[^\n]*\nthe test left open: (.*); close it", outcome.text)
    return {name: re.sub(r"process \d+", "process PID", what) for name, what in said}


def announced(source: str) -> dict[str, str]:
    """Give what the comments of *source* say that each test leaves open."""
    found: dict[str, list[str]] = {}
    name = ""
    for number, line in enumerate(source.splitlines(), 1):
        name = next(iter(re.findall(r"def (test_\w+)", line)), name)
        for what in re.findall(r"  # (an? [^#]*[^# ]|the [^#]*[^# ])", line) if name else ():
            found.setdefault(name, []).append(f"{what}, opened at test_shop.py:{number}")
    return {name: "; ".join(leaks) for name, leaks in found.items()}


def judge(run: Run, tests: str) -> None:
    """Run *tests* and a last one that finds everything clean; compare what failed with what the comments announce."""
    source = f"{BEGINNING}{tests}\nasync def test_last():\n    pass\n".strip()
    expected = announced(source)

    outcome = run(source, started=True)  # what is watched is imported late

    assert leaks(outcome) == expected
    outcome.result.assert_outcomes(passed=source.count("def test_"), errors=len(expected))


def test_what_is_left_open_on_postgres_fails_its_own_test(run: Run) -> None:
    """A lock that stays fails a test that never heard of it, ten minutes later."""
    judge(run, POSTGRES)


def test_what_is_left_open_on_redis_fails_its_own_test(run: Run) -> None:
    """A subscription that stays takes the next test's messages."""
    judge(run, REDIS)


def test_tasks_and_processes_that_go_on_fail_their_own_test(run: Run) -> None:
    """Whoever goes on after a test works against the next one."""
    judge(run, PROCESS)


def test_what_was_closed_is_no_leak(run: Run) -> None:
    """A test that tidies up must not be told that it doesn't."""
    judge(run, CLEAN)


def test_a_failure_is_shown_beside_what_it_left_open(run: Run) -> None:
    """Whoever mends the failure must not lose it behind the connection that it kept open."""
    outcome = run(
        "import asyncpg\n"
        "async def test_both(postgres_endpoint):\n"
        "    connection = await asyncpg.connect(postgres_endpoint.dsn)\n"
        "    assert await connection.fetchval('select 1') == 2\n"
    )

    outcome.result.assert_outcomes(failed=1, errors=1)
    assert "assert 1 == 2" in outcome.text
    assert "a connection to postgres, opened at test_shop.py:3" in outcome.text


def test_a_test_that_hangs_is_ended_by_its_timeout_and_the_run_goes_on(run: Run) -> None:
    """One test that waits for ever costs its own timeout, and not the whole run."""
    outcome = run(
        """
        import asyncio
        import pytest

        LEFT = []

        @pytest.fixture
        async def held():
            yield
            await asyncio.sleep(0)
            LEFT.append("left")

        @pytest.mark.timeout(0.5)
        @pytest.mark.parametrize("deaf", [0, 1])
        async def test_hangs(held, deaf):
            for _ in range(deaf):
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass
            await asyncio.sleep(3600)

        async def test_goes_on(held):
            assert LEFT == ["left", "left"]
        """
    )

    outcome.result.assert_outcomes(passed=1, failed=2)
    outcome.result.stdout.fnmatch_lines(["*Failed: Timeout*"])
