"""Real servers are found or started, shared by the run, and gone after it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis
from redis.asyncio import Redis

from netra_fixtures import Goal, PrivateRedis, Tier, business_value, lease
from netra_fixtures.waiting import eventually

from .held import left_on, standing
from .runs import Run

USE_BOTH = """
from sqlalchemy import text

async def test_both(engine, redis_client, namespace):
    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.orders (what) values ('a')"))
    assert await redis_client.incr(f"{namespace}:visits") == 1
"""


def test_the_servers_that_ran_are_named(run: Run) -> None:
    """A reader of the report sees which real servers proved it, and why these."""
    outcome = run(USE_BOTH, "--services=embedded")

    outcome.result.assert_outcomes(passed=1)
    by_name = {one["name"]: one for one in outcome.report["run"]["services"]}
    assert by_name["postgres"]["server"] == "PostgreSQL"
    assert by_name["postgres"]["version"].startswith("18.")
    assert by_name["redis"]["server"] in {"Valkey", "Redis"}
    assert {one["backend"] for one in by_name.values()} == {"embedded"}
    assert {one["reason"] for one in by_name.values()} == {"asked for by name"}


@pytest.mark.parametrize(("engine", "server"), [("valkey", "Valkey"), ("redis", "Redis")])
def test_both_engines_of_redis_run(run: Run, engine: str, server: str) -> None:
    """What holds on one holds on the other, and the report says which it was."""
    outcome = run(USE_BOTH, f"--redis={engine}")

    outcome.result.assert_outcomes(passed=1)
    assert [one["server"] for one in outcome.report["run"]["services"] if one["name"] == "redis"] == [server]


def test_servers_started_by_hand_are_used_and_left_as_they_were(
    run: Run, held: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team with servers of its own points at them, and finds no database or key of ours on them after."""
    for variable, url in held.items():
        monkeypatch.setenv(variable, url)

    outcome = run(USE_BOTH, "--services=external", "-n", "2")

    outcome.result.assert_outcomes(passed=1)
    assert {one["backend"] for one in outcome.report["run"]["services"]} == {"external"}
    assert left_on(held) == ([], [])


def test_databases_of_a_killed_run_are_dropped_by_the_next(
    run: Run, held: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody of a run is left to clean up on somebody else's server, the next run does."""
    for variable, url in held.items():
        monkeypatch.setenv(variable, url)
    run(
        """
        import os, pathlib, signal

        def test_dies(postgres_endpoint, netra_worker):
            for entry in pathlib.Path("/proc").glob("[0-9]*"):
                said = (entry / "cmdline").read_text() if (entry / "cmdline").exists() else ""
                if "netra_fixtures.supervisor" in said and netra_worker.directory.name in said:
                    os.kill(int(entry.name), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert left_on(held)[0]

    run(USE_BOTH).result.assert_outcomes(passed=1)

    assert left_on(held)[0] == []


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--services=cloud"], {}, "'cloud' is not known; use one of auto, external, compose, embedded"),
        (["--redis=memcached"], {}, "'memcached' is not known; use one of valkey, redis"),
        (["--services=external"], {}, "NETRA_POSTGRES_URL is not set; set it, or drop --services=external"),
        (
            [],
            {"NETRA_POSTGRES_URL": "mysql://somewhere"},
            "write postgresql://user:password@host:port/database",
        ),
        ([], {"NETRA_TIME_FACTOR": "slow"}, "NETRA_TIME_FACTOR: 'slow' is no number; give one such as 2"),
        (["--time-factor=0"], {}, "give a number above 0 and below 1000"),
    ],
)
def test_what_cannot_be_read_or_had_is_one_sentence_with_a_remedy(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    """Whoever mistypes an option or variable is told what to write, without a traceback of ours."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    outcome = run(USE_BOTH, *arguments)

    assert outcome.result.ret != 0
    assert said in outcome.text
    assert "Traceback" not in outcome.text


def test_where_nothing_can_be_started_integration_tests_skip_and_say_the_remedy(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that our servers don't run on, unit tests are still worth running."""
    monkeypatch.setenv("NETRA_REDIS_SERVER", "/nowhere")

    outcome = run(USE_BOTH + "\ndef test_unit():\n    pass\n", "--redis=redis", "-rs")

    outcome.result.assert_outcomes(passed=1, skipped=1)
    assert outcome.result.ret == 0
    assert "point it at a redis-server" in outcome.text


@pytest.mark.parametrize(("arguments", "variables"), [(["--services=embedded"], {}), ([], {"CI": "1"})])
def test_where_a_service_must_be_there_its_absence_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], variables: dict[str, str]
) -> None:
    """CI that skips everything would be green and prove nothing."""
    for variable, value in {"NETRA_REDIS_SERVER": "/nowhere", **variables}.items():
        monkeypatch.setenv(variable, value)

    outcome = run(USE_BOTH, "--redis=redis", *arguments)

    assert outcome.result.ret == 1
    assert "point it at a redis-server" in outcome.text


def test_a_server_that_dies_ends_the_run_once_with_its_name(run: Run) -> None:
    """A hundred tests that each say "connection refused" hide the one thing that happened."""
    outcome = run(
        """
        import os, signal
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", range(20))
        async def test_work(engine, turn, netra_database):
            socket = netra_database.database.admin.socket
            if turn == 3:
                os.kill(int((socket.parent / "data" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
            async with engine.begin() as connection:
                await connection.execute(text("insert into shop.orders (what) values ('a')"))
        """
    )

    assert outcome.result.ret != 0
    assert outcome.text.count("PostgreSQL ended with -9 during the run") == 1
    assert outcome.result.parseoutcomes().get("passed") == 3


def processes_below(folder: str) -> list[str]:
    """Name the processes that mention *folder* on their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if entry.name.isdigit() and folder in command:
            found.append(command.replace("\0", " "))
    return found


def test_nothing_is_left_when_pytest_is_killed(run: Run) -> None:
    """SIGKILL is how CI ends a job that takes too long; the machine is as before, at the latest 5 s later."""
    outcome = run(
        """
        import json, os, pathlib, signal
        from sqlalchemy import text

        async def test_dies(engine, redis_client, netra_worker):
            async with engine.begin() as connection:
                await connection.execute(text("select 1"))
            await redis_client.ping()
            pathlib.Path("directory.json").write_text(json.dumps(str(netra_worker.directory)))
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    directory = json.loads((outcome.folder / "directory.json").read_text())

    assert outcome.result.ret == -signal.SIGKILL

    def gone() -> None:
        assert not os.path.exists(directory)
        assert processes_below(directory) == []

    asyncio.run(eventually(gone, seconds=5))


def test_a_person_can_hold_servers_for_a_session(tmp_path: Path) -> None:
    """Somebody who tries things by hand needs the same servers, for as long as they like."""
    assert standing("status", cache=tmp_path).returncode == 1
    up = standing("up", cache=tmp_path)
    again = standing("up", cache=tmp_path)
    status = standing("status", cache=tmp_path)
    down = standing("down", cache=tmp_path)

    assert up.returncode == 0, up.stderr
    assert up.stdout == again.stdout
    assert "PostgreSQL 18." in status.stdout
    assert down.stdout == "the servers are down\n"
    assert standing("urls", cache=tmp_path).returncode == 1


def test_a_run_inside_a_run_leaves_the_outer_one_alone(run: Run) -> None:
    """Teams test their own pytest plugins with pytest in the same process, which may lock its own files again."""
    outcome = run(
        """
        import os
        from netra_fixtures.lease import Run

        async def test_outer(redis_client, netra_worker):
            await redis_client.ping()
            os.utime(netra_worker.directory, (0, 0))
            Run().end()
            await redis_client.ping()
            assert netra_worker.directory.exists()
        """
    )

    outcome.result.assert_outcomes(passed=1)


def test_another_run_that_names_another_database_of_the_server_is_no_leftover(
    run: Run, held: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two teams share a server, each with a database of its own; neither sweeps away what the other works in."""
    for variable, url in held.items():
        monkeypatch.setenv(variable, url)
    other = held["NETRA_POSTGRES_URL"].replace("/postgres", "/other")

    async def hold() -> list[str]:
        connection = await asyncpg.connect(held["NETRA_POSTGRES_URL"])
        await connection.execute("create database other")
        await connection.execute("create database netra_neighbor_gw0")
        await connection.execute("select pg_advisory_lock_shared(hashtext('netra_neighbor'))")
        monkeypatch.setenv("NETRA_POSTGRES_URL", other)
        outcome = await asyncio.to_thread(run, USE_BOTH)
        outcome.result.assert_outcomes(passed=1)
        rows = await connection.fetch("select datname from pg_database")
        await connection.close()
        return [row["datname"] for row in rows]

    assert "netra_neighbor_gw0" in asyncio.run(hold())


def test_a_module_of_the_users_does_not_stand_in_for_one_of_pythons(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may well have a socketserver.py or a queue.py at its root."""
    run("def test_unit():\n    pass\n")  # lays out the folder
    Path("test_shop.py").write_text(USE_BOTH)
    Path("socketserver.py").write_text("raise SystemExit('mine')")
    monkeypatch.delenv("PYTHONPATH")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs"], capture_output=True, text=True, timeout=60, check=False
    )

    assert "1 passed" in done.stdout, done.stdout


def test_a_kept_cluster_that_is_spoilt_is_made_anew(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept was written without fsync; a machine that lost power must not need to be told to forget it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(USE_BOTH)
    (kept,) = tmp_path.glob("netra-fixtures/pg-*")
    (kept / "PG_VERSION").write_bytes(b"")

    run(USE_BOTH).result.assert_outcomes(passed=1)
    run(USE_BOTH).result.assert_outcomes(passed=1)

    assert (kept / "PG_VERSION").read_text() == "18\n"


def test_nobody_else_on_the_machine_can_use_servers_held_for_a_person(held: dict[str, str]) -> None:
    """A superuser of PostgreSQL runs programs as the server's user, and ports are open to every local user."""

    async def without_password() -> None:
        url = held["NETRA_POSTGRES_URL"].split("@")[1]
        await asyncpg.connect(f"postgresql://netra:wrong@{url}")

    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(without_password())
    host = held["NETRA_REDIS_URL"].split("@")[1]
    with redis.Redis.from_url(f"redis://{host}") as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_changed_migration_is_run_and_no_kept_cluster_stands_in_for_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests that run against yesterday's tables are worse than slow ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(USE_BOTH)
    shop = Path("shop.py")
    shop.write_text(shop.read_text().replace("what text", "what text, paid bool"))

    run(USE_BOTH.replace("(what) values ('a')", "(paid) values (true)")).result.assert_outcomes(passed=1)


def test_what_a_killed_run_left_is_removed_and_a_living_run_is_not() -> None:
    """Memory that a killed run filled would stay filled until the machine restarts."""
    hold = (
        "import time; from netra_fixtures.lease import Run;"
        "run = Run(alone=True); print(run.directory, flush=True); time.sleep(60)"
    )
    directories = []
    for ends in (True, False):
        process = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        directories.append(Path(process.stdout.readline().strip()))
        if ends:
            process.kill()
            process.communicate()
    dead, living = directories
    try:
        results = dead.with_name(f"{dead.name}.junit.xml")
        results.touch()
        for left in (*directories, results):
            os.utime(left, (0, 0))

        lease.Run().end()

        assert not dead.exists()
        assert not results.exists()
        assert living.exists()
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(living, ignore_errors=True)


def test_no_other_user_can_open_what_a_run_keeps(run: Run) -> None:
    """The folder's name can be listed, and who opens a lock's file can hold it, who opens a socket can command."""
    outcome = run(
        """
        import os

        async def test_modes(engine, redis_client, netra_worker):
            await redis_client.ping()
            for entry in os.scandir(netra_worker.directory):
                assert entry.stat().st_mode & 0o077 == 0, entry.name
        """
    )

    outcome.result.assert_outcomes(passed=1)


@business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="a test of an old snapshot has an old snapshot"
)
async def test_a_redis_of_a_test_comes_back_with_what_it_saved(
    private_redis: PrivateRedis, own_redis: Redis
) -> None:
    """A crash brings back what was saved before it, and a restart what it was told to keep."""
    found = []
    await own_redis.set("order", "old")
    await own_redis.save()
    await own_redis.set("order", "new")

    await private_redis.kill()
    await private_redis.start()
    found.append(await own_redis.get("order"))
    await own_redis.set("order", "newer")
    for keep in (True, False):
        await private_redis.restart(keep=keep)
        found.append(await own_redis.get("order"))

    assert found == [b"old", b"newer", None]


def test_a_request_that_nobody_can_carry_out_costs_only_whoever_made_it(run: Run) -> None:
    """A test that misuses its servers is told so, and the servers of all others stand."""
    outcome = run(
        """
        import pytest
        from netra_fixtures.errors import ServicesUnavailable

        KEPT = []

        async def test_keeps_its_server(private_redis):
            KEPT.append(private_redis)
            await private_redis.restart()
            client = private_redis.endpoint.client()
            assert await client.ping()
            await client.aclose()

        async def test_uses_what_ended_with_another(private_redis):
            with pytest.raises(ServicesUnavailable, match="it ended with its test; ask for one"):
                await KEPT[0].kill()
            for request in ({"op": "nonsense"}, {"op": "act"}, {"op": "redis", "worker": None, "more": 1}):
                with pytest.raises(ServicesUnavailable, match="it can't do what it was asked .* ask only for"):
                    private_redis._lease.ask(**request)
            await private_redis.restart()
            client = private_redis.endpoint.client()
            assert await client.ping()
            await client.aclose()
        """
    )

    outcome.result.assert_outcomes(passed=2)
