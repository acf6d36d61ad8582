"""What a person mistypes is said once, by its name, with what to write instead."""

import sys
from pathlib import Path

import pytest

from .held import standing
from .runs import THREE_LOOKS, Run

UNIT = "def test_unit():\n    pass\n"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "NETRA_SERVICES",
            "nonsense",
            "'nonsense' is not known; use one of auto, external, compose, embedded",
        ),
        ("NETRA_TIME_FACTOR", "abc", "'abc' is no number; give one such as 2"),
        ("NETRA_TIME_FACTOR", "-1", "-1 is out of range; give a number above 0 and below 1000"),
        ("NETRA_TEST_DATA", "/nowhere", "there is no folder /nowhere; correct it, or unset it"),
        ("NETRA_POSTGRES_URL", "garbage", "it doesn't begin with postgresql://; write postgresql://user:"),
        ("NETRA_POSTGRES_URL", "postgresql:///shop", "it names no host; write postgresql://user:"),
        (
            "NETRA_POSTGRES_URL",
            "postgresql://u:hunter2@h/d?sslmode=require",
            "it has options after a question",
        ),
        (
            "NETRA_POSTGRES_URL",
            "postgresql://u:hunter2/x@h/d",
            "its host or port can't be read; in a password write",
        ),
        ("NETRA_REDIS_URL", "http://localhost", "it doesn't begin with redis://; write redis://user:"),
        ("NETRA_REDIS_URL", "rediss://:hunter2@h/0", "the kit speaks no TLS; write redis://user:"),
        ("NETRA_REDIS_URL", "redis://:hunter2@h/zero", "what follows the port is no database's number"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_before_any_test(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """It may have been set weeks ago, in a file that nobody remembers; and it may hold a password."""
    monkeypatch.setenv(variable, value)

    outcome = run(THREE_LOOKS)

    outcome.assert_said_once(f"{variable}: {said}")
    assert outcome.result.ret == pytest.ExitCode.USAGE_ERROR
    assert "hunter2" not in outcome.text


def test_a_variable_that_is_almost_one_of_ours_is_named_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests that silently run on other servers than somebody named are believed to have run on those."""
    monkeypatch.setenv("NETRA_POSTGRE_URL", "postgresql://localhost")
    monkeypatch.setenv("NETRA_SHOP_CURRENCY", "EUR")

    outcome = run(UNIT, "-n", "2")

    meant = "NETRA_POSTGRE_URL is set and nothing reads it; NETRA_POSTGRES_URL may be meant"
    assert outcome.text.count(meant) == 1
    assert "NETRA_SHOP_CURRENCY" not in outcome.text


@pytest.mark.parametrize("named", ["/", sys.executable])
def test_a_redis_server_that_is_none_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """A folder and a program that is something else are found on PATHs as easily as nothing."""
    monkeypatch.setenv("NETRA_REDIS_SERVER", named)

    outcome = run(
        "async def test_visit(redis_client):\n    await redis_client.ping()\n",
        "--redis=redis",
        "--services=embedded",
        "-rN",
    )

    outcome.assert_said_once(
        f"NETRA_REDIS_SERVER is {named}, which is no redis-server; point it at a redis-server"
    )


def test_a_port_for_a_persons_own_servers_that_is_none_is_named(tmp_path: Path) -> None:
    """The command that starts them says which variable to correct."""
    done = standing("up", cache=tmp_path, NETRA_REDIS_PORT="sixthousand")

    assert done.returncode == 1
    assert done.stderr.count("NETRA_REDIS_PORT: 'sixthousand' is no port; give a number from 1 to 65535") == 1
    assert "Traceback" not in done.stderr


MARKED = {
    "test": "{mark}\nasync def test_visit(redis_client):\n    await redis_client.ping()\n",
    "class": (
        "{mark}\nclass TestVisits:\n    async def test_one(self, redis_client):\n        await redis_client.ping()\n"
        "    async def test_two(self, redis_client):\n        await redis_client.ping()\n"
    ),
    "module": (
        "pytestmark = {bare}\n\nasync def test_one(redis_client):\n    await redis_client.ping()\n\n"
        "async def test_two(redis_client):\n    await redis_client.ping()\n"
    ),
}


@pytest.mark.parametrize("where", MARKED)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "tier='gold', goals={'user retention'}, impact='nobody waits twice'",
            "names the tier 'gold', which does not exist; take one of Tier.FREE",
        ),
        (
            "tier='free', goals={'fame'}, impact='nobody waits twice'",
            "names the goal 'fame', which does not exist; give a set of Goal.RETENTION",
        ),
        ("tier='free', goals={'user retention'}", "states no impact; write in 10 characters or more"),
        ("'free'", "takes no positional arguments; write tier=…, goals=… and impact=…"),
    ],
    ids=["tier", "goal", "impact", "positional"],
)
def test_a_value_marker_that_cannot_be_read_is_said_once_for_all_it_covers(
    run: Run, where: str, arguments: str, said: str
) -> None:
    """One marker on a module is one mistake, however many tests it speaks for."""
    bare = f"pytest.mark.business_value({arguments})"

    outcome = run("import pytest\n\n" + MARKED[where].format(mark=f"@{bare}", bare=bare), "-rN")

    outcome.assert_said_once(said)
    outcome.result.assert_outcomes(errors=1)


MIGRATIONS = """
import asyncio
from sqlalchemy import text

async def breaks(engine):
    async with engine.begin() as connection:
        await connection.execute(text("create schema broken"))
        await connection.execute(text("create table broken.orders (id wrongtype)"))

async def hangs(engine):
    await asyncio.Event().wait()

def plain(engine):
    return None
"""


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "bad:breaks",
            "the migrations 'bad:breaks' failed: PostgreSQL says 'type \"wrongtype\" does not exist' to "
            "'create table broken.orders (id wrongtype)'; run them by hand against an empty database",
        ),
        ("bad:plain", "the migrations 'bad:plain' failed: bad:plain is no async function; write async def"),
        (
            "bad:missing",
            "the migrations 'bad:missing' failed: bad has no function missing; install the package",
        ),
        ("nowhere:migrate", "the migrations 'nowhere:migrate' failed: there is no module nowhere; install"),
        (
            "bad.inner:migrate",
            "the migrations 'bad.inner:migrate' failed: there is no module bad.inner; install",
        ),
        ("bad", "the migrations 'bad' failed: it names no function; write module:function"),
        (
            "torn:migrate",
            "failed: ModuleNotFoundError: No module named 'absent', at torn.py:1; run them by hand",
        ),
    ],
)
def test_migrations_that_cannot_be_had_or_fail_are_named_with_what_failed(
    run: Run, target: str, said: str
) -> None:
    """Without tables every test fails, each in its own way; what a team needs is the statement that broke."""
    Path("bad.py").write_text(MIGRATIONS)
    Path("torn.py").write_text("import absent\n")

    outcome = run(THREE_LOOKS, "-o", f"netra_migrations={target}", "-rN")

    outcome.assert_said_once(said)
    outcome.result.assert_outcomes(errors=1)


def test_migrations_that_wait_for_ever_are_given_up(run: Run) -> None:
    """A lock that nobody lets go would hold CI until somebody looks."""
    Path("bad.py").write_text(MIGRATIONS)

    outcome = run(THREE_LOOKS, "-o", "netra_migrations=bad:hangs", "-rN", "--time-factor=0.25")

    outcome.assert_said_once(
        "the migrations 'bad:hangs' failed: they didn't end within 7.5 s; raise --time-factor"
    )


def test_two_packages_that_bring_one_schema_are_both_named(run: Run) -> None:
    """One of them would silently have no tables."""
    for package, module in (("shop", "shop"), ("store", "bad")):
        folder = Path(f"{package}-1.0.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[netra.migrations]\nshop = {module}:migrate\n")

    outcome = run(THREE_LOOKS, "-o", "netra_migrations=", "-rN")

    outcome.assert_said_once("the migrations 'shop' failed: two packages bring it, ")
    assert "shop:migrate" in outcome.text
    assert "bad:migrate" in outcome.text


def test_a_run_ends_at_its_first_test_where_migrations_fail(run: Run) -> None:
    """A hundred tests of tables that aren't there would each say so."""
    Path("bad.py").write_text(MIGRATIONS)

    outcome = run(THREE_LOOKS, "-o", "netra_migrations=bad:breaks", "-rN")

    assert "the tests end here: what they share can't be had, as said above" in outcome.text
    assert outcome.report["totals"]["not_run"] == 2
