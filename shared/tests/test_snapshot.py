"""A failed test shows the rows it wrote and the keys it left, without their secrets, and keeps them where asked to."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from netra_fixtures.snapshot.keeping import About, folder, kept, name_of, prune

from .held import standing
from .runs import Outcome, Run

ORDERS = """
import pytest
from sqlalchemy import text

async def order(engine, *kinds):
    async with engine.begin() as connection:
        for kind in kinds:
            await connection.execute(text("insert into shop.orders (kind, what) values (:kind, 'a')"), {"kind": kind})
"""


def table(left: dict[str, Any], name: str) -> dict[str, Any]:
    """Give what is told of one table."""
    (found,) = (one for one in left["postgres"]["tables"] if one["name"] == name)
    return found


def agrees(outcome: Outcome) -> bool:
    """Tell whether the servers counted just what the tests sent."""
    return all(not any(counter["difference"].values()) for counter in outcome.report["run"]["counters"])


def test_a_failed_test_shows_the_rows_it_wrote_and_the_keys_it_left(run: Run) -> None:
    """Whoever reads the report sees what was in the database when it went wrong."""
    outcome = run(
        ORDERS
        + """
async def test_order(engine, redis_client, namespace):
    await order(engine, "book", None)
    await redis_client.hset(f"{namespace}:cart", mapping={"book": 2, "token": "hunter2"})
    await redis_client.set(f"{namespace}:visits", 3, ex=600)
    await redis_client.rpush(f"{namespace}:seen", "a", "b")
    await redis_client.zadd(f"{namespace}:best", {"a": 1.5})
    await redis_client.sadd(f"{namespace}:who", "ann")
    await redis_client.xadd(f"{namespace}:log", {"api_key": "hunter2", "n": 1}, id="1-1")
    await redis_client.set(f"{namespace}:password", "hunter2")
    raise ValueError("no more books")
"""
    )

    outcome.result.assert_outcomes(failed=1)
    left = outcome.test("test_order")["snapshot"]
    orders = table(left, "shop.orders")
    assert (orders["written"], orders["columns"]) == (2, ["id", "kind", "what"])
    assert orders["rows"] == [["1", "book", "a"], ["2", None, "a"]]
    assert len(left["postgres"]["tables"]) == 1
    keys = {
        key["name"].rpartition(":")[2]: (key["type"], key["size"], key["value"])
        for key in left["redis"]["keys"]
    }
    assert keys == {
        "best": ("zset", 1, "a = 1.5"), "cart": ("hash", 2, "book: 2, token: ‹masked 7 characters›"),
        "log": ("stream", 1, "1-1 (api_key: ‹masked 7 characters›, n: 1)"), "seen": ("list", 2, "a, b"),
        "visits": ("string", 1, "3"), "password": ("string", 7, "‹masked 7 characters›"), "who": ("set", 1, "ann"),
    }  # fmt: skip
    (visits,) = (key for key in left["redis"]["keys"] if key["name"].endswith("visits"))
    assert 0 < visits["ttl_s"] <= 600
    assert left["notes"] == left["postgres"]["notes"] == left["redis"]["notes"] == []


def test_the_look_at_the_state_is_nobody_s_evidence(run: Run) -> None:
    """The kit's own work shows neither in what a test sent nor as a difference to the servers' counts."""
    outcome = run(
        ORDERS
        + """
@pytest.mark.parametrize("ends", ["well", "badly", pytest.param("badly, fresh", marks=pytest.mark.fresh_database)])
async def test_order(engine, redis_client, namespace, ends):
    await order(engine, "book")
    await redis_client.set(f"{namespace}:a", 1)
    assert ends == "well"

async def test_next(engine, redis_client, namespace):
    await order(engine, "book")
    await redis_client.set(f"{namespace}:a", 1)
"""
    )

    outcome.result.assert_outcomes(failed=2, passed=2)
    well, badly, fresh, then = (
        outcome.test(name)["evidence"] for name in ("-well]", "-badly]", "fresh]", "next")
    )
    assert well["redis"]["commands"] > 0
    assert well["postgres"] == badly["postgres"] == fresh["postgres"] == then["postgres"]
    assert well["redis"] == badly["redis"] == fresh["redis"] == then["redis"]
    assert agrees(outcome)


def test_only_tests_that_fail_are_looked_at(run: Run) -> None:
    """A gap that is known, a test that is skipped and one that passes are nothing to look into."""
    outcome = run(
        ORDERS
        + """
async def test_fails(engine):
    await order(engine, "book")
    assert False

async def test_passes(engine):
    await order(engine, "book")

@pytest.mark.xfail(reason="not yet")
async def test_gap(engine):
    await order(engine, "book")
    assert False

async def test_skips(engine):
    await order(engine, "book")
    pytest.skip("no data")

def test_unit():
    assert False
""",
        "--keep-failed",
    )

    outcome.result.assert_outcomes(passed=1, xfailed=1, skipped=1, failed=2)
    ids = [test["nodeid"] for test in outcome.report["tests"]]
    assert [nodeid for nodeid in ids if (folder() / name_of(nodeid, outcome.folder)).exists()] == ids[:1]
    assert [bool(test["snapshot"]) for test in outcome.report["tests"]] == [True, False, False, False, False]


def test_a_fixture_that_fails_leaves_its_state_too(run: Run) -> None:
    """Half of a shop that couldn't be opened, or closed, says why."""
    outcome = run(
        ORDERS
        + """
@pytest.fixture
async def opens(engine):
    await order(engine, "book")
    assert False

@pytest.fixture
async def closes(engine, redis_client, namespace):
    yield
    await order(engine, "pen")
    await redis_client.set(f"{namespace}:pen", 1)
    assert False

async def test_opens(opens):
    pass

async def test_closes(closes, engine):
    await order(engine, "book")

async def test_next(engine):
    await order(engine, "book")
"""
    )

    outcome.result.assert_outcomes(passed=2, errors=2)
    opened, closed = (outcome.test(name)["snapshot"] for name in ("test_opens", "test_closes"))
    assert [row[1] for row in table(opened, "shop.orders")["rows"]] == ["book"]
    assert [row[1] for row in table(closed, "shop.orders")["rows"]] == ["book", "pen"]
    assert [key["name"].rpartition(":")[2] for key in closed["redis"]["keys"]] == ["pen"]
    assert outcome.test("test_next")["snapshot"] is None


def test_rows_that_were_never_committed_are_said_to_be_missing(run: Run) -> None:
    """Nobody should look for the bug in a table that is empty only because the transaction was undone."""
    outcome = run(
        ORDERS
        + """
kept = []

async def test_rolls_back(engine):
    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.orders (what) values ('a'), ('b')"))
        assert False

def test_stays_open(postgres_endpoint):
    import asyncio, threading, asyncpg

    async def begin():
        kept.append(await asyncpg.connect(postgres_endpoint.dsn))
        await kept[0].execute("begin; insert into shop.orders (what) values ('a')")

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(begin(), loop).result(30)
    assert False
""",
        "-W",
        "ignore",
    )

    outcome.result.assert_outcomes(failed=2, errors=1)
    rolled_back, still_open = (
        outcome.test(name)["snapshot"]["postgres"] for name in ("rolls_back", "stays_open")
    )
    assert rolled_back["tables"] == still_open["tables"] == []
    assert rolled_back["notes"] == [
        "Of 2 rows that the test was seen to write 0 are here;"
        " what was rolled back, never committed, deleted or written again is not."
    ]
    assert "an open transaction to postgres" in outcome.text
    assert still_open["notes"] == [
        "Of 1 rows that the test was seen to write 0 are here;"
        " what was rolled back, never committed, deleted or written again is not."
    ]


def test_a_state_that_is_too_large_is_cut_and_counted(run: Run) -> None:
    """A load test leaves millions of rows; the report says how many, and shows what a person can read."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.fresh_database
        async def test_load(engine, redis_client, namespace):
            async with engine.begin() as connection:
                many = "insert into shop.orders (what) select 'x' || n from generate_series(1, 30000) n"
                await connection.execute(text(many))
                await connection.execute(text("update shop.orders set what = repeat('long ', 100000) where id = 30000"))
                for n in range(30):
                    await connection.execute(text(f"create table shop.t{n} as select {n} as n"))
            async with redis_client.pipeline() as pipe:
                for n in range(500):
                    pipe.set(f"{namespace}:{n:03}", n)
                pipe.rpush(f"{namespace}:list", *range(1000))
                await pipe.execute()
            assert False
        """
    )

    outcome.result.assert_outcomes(failed=1)
    left = outcome.test("test_load")["snapshot"]
    orders = table(left, "shop.orders")
    assert (orders["written"], len(orders["rows"])) == (30000, 10)
    assert [row[2] for row in orders["rows"][:2]] == ["x29991", "x29992"]
    assert orders["rows"][-1][2] == "long " * 24 + "… (500,000 characters)"
    assert (len(left["postgres"]["tables"]), left["postgres"]["more_tables"]) == (20, 11)
    assert (left["redis"]["count"], len(left["redis"]["keys"])) == (501, 40)
    assert left["redis"]["keys"][1]["value"] == "1"


def test_rows_of_the_migrations_are_told_from_those_of_the_test(run: Run) -> None:
    """A price list that a test spoilt explains a failure; the same list untouched would hide it."""
    outcome = run(
        """
        from sqlalchemy import text

        async def test_kinds(engine):
            async with engine.begin() as connection:
                await connection.execute(text("update shop.kinds set name = 'cup' where name = 'pen'"))
            assert False
        """
    )

    kinds = table(outcome.test("test_kinds")["snapshot"], "shop.kinds")
    assert (kinds["written"], kinds["seeds_lost"], kinds["rows"]) == (1, 1, [["cup"]])
    outcome.result.stdout.fnmatch_lines(["*shop.kinds 1 row, 1 row of the migrations changed or gone*"])


def test_what_cannot_be_read_is_said_and_changes_nothing(run: Run) -> None:
    """A server that wants a password now must not turn one failure into another."""
    outcome = run(
        ORDERS
        + """
async def test_spoils(engine, redis_endpoint):
    import redis

    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.kinds values ('cup')"))
    with redis.Redis.from_url(redis_endpoint.url) as client:
        client.config_set("requirepass", "hunter2")
    assert False

async def test_next(engine, redis_client, namespace):
    await order(engine, "book")
    assert await redis_client.incr(f"{namespace}:a") == 1
"""
    )

    outcome.result.assert_outcomes(failed=1, passed=1)
    left = outcome.test("test_spoils")["snapshot"]
    assert table(left, "shop.kinds")["rows"] == [["cup"]]
    assert left["redis"] is None
    (note,) = left["notes"]
    assert note.startswith("The keys could not be read: ")


def test_each_worker_shows_the_state_of_its_own_tests(run: Run) -> None:
    """In a parallel run a failure is not explained by a neighbour's rows; terminal and Markdown name them, too."""
    outcome = run(
        ORDERS
        + """
@pytest.mark.parametrize("kind", ["book", "pen"] * 3)
async def test_order(engine, redis_client, namespace, kind):
    await order(engine, kind)
    await redis_client.hset(f"{namespace}:{kind}", "n", 1)
    assert False
""",
        "-n",
        "2",
    )

    outcome.result.assert_outcomes(failed=6)
    for test in outcome.report["tests"]:
        kind = test["nodeid"].rpartition("-")[2].rstrip("0123456789]")
        assert table(test["snapshot"], "shop.orders")["rows"] == [["1", kind, "a"]]
        (key,) = test["snapshot"]["redis"]["keys"]
        assert key["name"].endswith(f":{test['worker']}:{kind}")
    outcome.result.stdout.fnmatch_lines(
        [
            "state of test_shop.py::test_order*: shop.orders 1 row, keys netra-…:gw?:book (hash, 1 field)",
            f"  keep it: * -m pytest 'test_shop.py::test_order*' --keep-failed --seed={outcome.report['run']['seed']}*",
            "… and the state of 1 more in the report",
        ]
    )
    text = (outcome.folder / "reports" / "latest" / "report.md").read_text()
    assert text.count("The state it left: shop.orders 1 row, keys ") == 6


KEPT = (
    ORDERS
    + """
@pytest.mark.parametrize("fresh", ["", pytest.param("fresh", marks=pytest.mark.fresh_database)])
async def test_order(engine, redis_client, namespace, fresh):
    await order(engine, "book", "pen")
    await redis_client.set(f"{namespace}:a", "b")
    assert False

async def test_next(engine, redis_client, namespace):
    async with engine.begin() as connection:
        assert await connection.scalar(text("select count(*) from shop.orders")) == 0
    assert await redis_client.get(f"{namespace}:a") is None
"""
)
SEEN = (
    "select array_agg(kind order by id) as kinds, to_regnamespace('netra_fixtures') as ours,"
    " (select count(*) from pg_event_trigger) as triggers from shop.orders"
)


def looked_at(url: str) -> tuple[list[str], str | None, int]:
    """Give the kinds that were ordered, and what the kit left of its own, in a database."""
    return asyncio.run(_looked_at(url))


async def _looked_at(url: str) -> tuple[list[str], str | None, int]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(SEEN)
        return row["kinds"], row["ours"], row["triggers"]
    finally:
        await connection.close()


def test_a_kept_database_is_opened_and_holds_the_rows(run: Run) -> None:
    """Whoever looks for the cause can ask the very database, after the run and its servers are gone."""
    outcome = run(KEPT, "--keep-failed", "--services=embedded")

    outcome.result.assert_outcomes(failed=2, passed=1)
    assert agrees(outcome)
    try:
        for test in outcome.report["tests"][:2]:
            left = test["snapshot"]
            assert left["command"].endswith(f" -m netra_fixtures.standing open {left['kept']}")
            said = standing("open", left["kept"])
            assert said.returncode == 0, said.stderr
            lines = dict(line.partition(": ")[::2] for line in said.stdout.splitlines())
            assert looked_at(lines["database"].split()[1]) == (["book", "pen"], None, 0)
            assert '"value": "b"' in Path(lines["keys"]).read_text()
            assert Path(lines["keys"]).parent.stat().st_mode & 0o777 == 0o700
    finally:
        standing("down")
    assert left["kept"] in standing("open").stdout


def test_a_database_on_a_server_of_somebody_else_s_stays_there_until_pruned(
    run: Run, held: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left under a name of its own, its address is told without the password, and one command removes it."""
    for name, value in held.items():
        monkeypatch.setenv(name, value)
    url = held["NETRA_POSTGRES_URL"]
    password = url.partition("netra:")[2].partition("@")[0]

    outcome = run(KEPT, "--keep-failed", "--services=external")

    outcome.result.assert_outcomes(failed=2, passed=1)
    left = outcome.test("fresh")["snapshot"]
    assert left["command"].startswith('psql "postgresql://netra:$PGPASSWORD@127.0.0.1:')
    assert password not in outcome.text + (outcome.folder / "reports" / "latest" / "report.json").read_text()
    own = url.rpartition("/")[0] + "/" + left["kept"]
    assert looked_at(own) == (["book", "pen"], None, 0)
    monkeypatch.delenv("NETRA_POSTGRES_URL")
    assert "set NETRA_POSTGRES_URL" in standing("prune").stderr
    assert standing("prune", NETRA_POSTGRES_URL=url).returncode == 0
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        looked_at(own)


def test_the_states_of_the_last_runs_are_kept_and_older_ones_go(tmp_path: Path) -> None:
    """A folder that only grows fills the disk of whoever never looks into it."""
    home = folder({"XDG_CACHE_HOME": str(tmp_path)})
    for n in range(8):
        about = About(
            name=f"netra_failed_{n}", nodeid="a.py::test_a", run=f"r{n // 2}", kept_at=n, server=None
        )
        (home / about.name).mkdir(parents=True)
        (home / about.name / "about.json").write_text(
            f'{{"name": "{about.name}", "nodeid": "a", "run": "{about.run}", "kept_at": {n}, "server": null}}'
        )

    stay = prune(home, runs=3, drop=lambda about: True)

    assert stay == []
    assert [about.name for about in kept(home)] == [f"netra_failed_{n}" for n in (7, 6, 5, 4, 3, 2)]
    assert len(list(home.iterdir())) == 6


def test_opening_what_is_not_kept_says_what_to_do(run: Run) -> None:
    """A name that was mistyped, or pruned, ends in one sentence."""
    said = standing("open", "netra_failed_0")

    assert said.returncode == 1
    assert said.stderr == (
        "no state is kept as 'netra_failed_0'; run the test with --keep-failed, and see the list: open\n"
    )
