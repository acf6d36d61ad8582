"""What a killed process had elsewhere, on servers that go on and on disk, is removed by those who live on."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netra_fixtures import hold, lease
from netra_fixtures.errors import ServerDied, ServicesUnavailable
from netra_fixtures.evidence import Tap
from netra_fixtures.services.embedded import KEPT_CLUSTERS
from netra_fixtures.services.process import ServerProcess
from netra_fixtures.supervisor import Supervisor
from netra_fixtures.waiting import eventually

from .crashing import processes, segments
from .held import left_on
from .runs import Run

OTHERS = """
import os
import pathlib
import signal
import time

import pytest
from sqlalchemy import text


async def work(engine, redis_client, namespace):
    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.orders (what) values ('a')"))
    await redis_client.incr(f"{namespace}:orders")


async def until(file):
    import asyncio

    async with asyncio.timeout(30):
        while not pathlib.Path(file).exists():
            await asyncio.sleep(0.01)
"""


@pytest.mark.parametrize("victim", ["pytest", "supervisor", "tap"])
def test_whoever_is_killed_somebody_elses_servers_are_left_as_they_were(
    run: Run, held: dict[str, str], monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    """A shared server fills up with the databases and keys of killed runs, if only the next run removes them."""
    find = {
        "pytest": "os.getpid()",
        "supervisor": "next(pid for pid, said in commands() if 'netra_fixtures.supervisor' in said and name in said)",
        "tap": "next(pid for pid, said in commands() if 'tap.relay' in said and name in said)",
    }[victim]
    run("def test_unit():\n    pass\n")  # lays out the folder
    for variable, url in held.items():
        monkeypatch.setenv(variable, url)

    outcome = run(
        OTHERS
        + f"""
def commands():
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            yield int(entry.name), (entry / "cmdline").read_text()
        except OSError:
            pass


async def test_dies(engine, redis_client, namespace, netra_worker):
    await work(engine, redis_client, namespace)
    name = netra_worker.directory.name
    os.kill({find}, signal.SIGKILL)
    await work(engine, redis_client, namespace)


async def test_after(engine, redis_client, namespace):
    await work(engine, redis_client, namespace)
""",
        "--services=external",
    )

    assert outcome.result.ret != 0

    async def gone() -> None:
        assert await asyncio.to_thread(left_on, held) == ([], [])

    asyncio.run(eventually(gone, seconds=5))


def test_what_a_crashed_worker_had_is_gone_while_the_others_go_on(run: Run) -> None:
    """In a long run with many crashes the machine would fill up."""
    outcome = run(
        OTHERS
        + """
@pytest.mark.parametrize("turn", range(2))
async def test_visit(engine, redis_client, namespace, netra_worker, netra_database, turn):
    await work(engine, redis_client, namespace)
    pathlib.Path(f"ready-{turn}").write_text(netra_worker.name)
    if turn == 0:
        await until("ready-1")
        os.kill(os.getpid(), signal.SIGKILL)
    await until("ready-0")
    crashed = pathlib.Path("ready-0").read_text()
    database = f"{netra_worker.prefix}_{crashed}"
    limit = time.monotonic() + 5
    while True:
        async with engine.connect() as connection:
            names = (await connection.scalars(text("select datname from pg_database"))).all()
        left = [database] if database in names else []
        left += [str(path) for path in netra_worker.directory.glob(f"{crashed}-redis")]
        if not left or time.monotonic() > limit:
            break
        time.sleep(0.01)
    assert left == []
""",
        "-n",
        "2",
    )

    outcome.result.assert_outcomes(passed=1, failed=1)
    (crashed,) = (test for test in outcome.report["tests"] if test["outcome"] == "failed")
    assert f"crashed while running '{crashed['nodeid']}'" in outcome.text


def test_a_worker_that_crashes_after_its_last_test_fails_the_run(run: Run) -> None:
    """What it had to say at its end is lost, so a green run would claim more than is known."""
    Path("conftest.py").write_text(
        "import os, pathlib, signal\n\n\ndef pytest_sessionfinish(session):\n"
        "    if hasattr(session.config, 'workerinput') and not pathlib.Path('crashed').exists():\n"
        "        pathlib.Path('crashed').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    outcome = run("async def test_visit(redis_client):\n    await redis_client.ping()\n", "-n", "1")

    outcome.result.assert_outcomes(passed=1)
    assert outcome.result.ret == pytest.ExitCode.TESTS_FAILED
    assert outcome.report["run"]["verdict"] == "failed"
    assert "the run ends as failed: gw0 crashed" in outcome.text


def test_a_server_that_dies_while_its_worker_ends_is_named_too(run: Run) -> None:
    """Whoever reads that a connection is closed looks for the fault in the last test."""
    outcome = run(
        """
        import os, pathlib, signal
        import pytest
        from sqlalchemy import text

        @pytest.fixture(scope="session")
        def closing(netra_database):
            yield
            data = netra_database.database.admin.socket.parent / "data"
            os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)

        async def test_visit(closing, engine):
            async with engine.connect() as connection:
                await connection.execute(text("select 1"))
        """
    )

    outcome.result.assert_outcomes(passed=1)
    assert outcome.result.ret == pytest.ExitCode.INTERRUPTED
    assert outcome.text.count("PostgreSQL ended with -9 during the run") == 1


@pytest.mark.parametrize("victim", ["supervisor", "tap"])
def test_the_run_ends_once_when_what_its_tests_stand_on_dies(run: Run, victim: str) -> None:
    """A hundred tests that each say "connection refused" hide the one thing that happened."""
    mark = "netra_fixtures.supervisor" if victim == "supervisor" else "tap.relay"
    outcome = run(
        f"""
        import os, pathlib, signal
        import pytest

        @pytest.mark.parametrize("turn", range(20))
        async def test_visit(redis_client, netra_worker, turn):
            await redis_client.ping()
            if turn == 3:
                for entry in pathlib.Path("/proc").glob("[0-9]*"):
                    said = (entry / "cmdline").read_text() if (entry / "cmdline").exists() else ""
                    if {mark!r} in said and netra_worker.directory.name in said:
                        os.kill(int(entry.name), signal.SIGKILL)
                while await redis_client.ping():
                    pass
        """
    )

    said = {"supervisor": "the supervisor ended", "tap": "the tap that counts evidence ended with -9"}[victim]
    outcome.result.assert_outcomes(passed=3, failed=1)
    assert outcome.result.ret == pytest.ExitCode.INTERRUPTED
    assert outcome.text.count(said) == 1
    assert said in outcome.report["run"]["cut_short"]


def test_a_run_that_asks_for_no_service_makes_no_directory(run: Run) -> None:
    """Killed at any moment it leaves nothing, for there is nothing."""
    outcome = run(
        """
        def test_unit(netra_worker):
            assert not netra_worker.directory.exists()
            assert not list(netra_worker.directory.parent.glob(netra_worker.directory.name + "*"))
        """
    )

    outcome.result.assert_outcomes(passed=1)
    assert "junit" not in outcome.text


def test_what_a_killed_run_noted_elsewhere_goes_with_its_directory(tmp_path: Path) -> None:
    """Half a report and half a kept cluster lie on disk, where no later run would look for them."""
    directory = tmp_path / "netra-abcdefgh"
    hold.claim(directory).close()
    half, others = tmp_path / ".latest.netra-abcdefgh.1.new", tmp_path / ".latest.netra-ijklmnop.1.new"
    for folder in (half, others):
        folder.mkdir()
    hold.note_elsewhere(directory, tmp_path / ".latest.netra-abcdefgh")
    hold.note_elsewhere(directory, tmp_path / ".latest")

    hold.remove(directory)

    assert [path.name for path in tmp_path.iterdir()] == [others.name]


def test_the_oldest_kept_clusters_make_room(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who switches branches often would otherwise fill a disk with 40 MB a branch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "netra-fixtures"
    for age in range(KEPT_CLUSTERS + 1):
        old = kept / f"pg-18.0-{age}"
        old.mkdir(parents=True)
        os.utime(old, (1_000_000 - age, 1_000_000 - age))

    run("async def test_visit(engine):\n    async with engine.connect():\n        pass\n")

    names = {path.name for path in kept.iterdir()}
    assert len(names) == KEPT_CLUSTERS
    assert {"pg-18.0-0", "pg-18.0-1", "pg-18.0-2"} < names


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Servers without an owner would go on until the machine restarts."""
    start = (
        "import sys, time, pathlib; from netra_fixtures.services.process import ServerProcess;"
        "server = ServerProcess('cat', ['sleep', '60'], log=pathlib.Path(sys.argv[1]));"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())

    parent.kill()
    parent.communicate()

    async def ended() -> None:
        assert not any(one.pid == child for one in processes())

    asyncio.run(eventually(ended, seconds=5))


def test_a_server_killed_as_it_starts_is_no_server_that_cannot_start(tmp_path: Path) -> None:
    """Tests may be skipped on a machine that our servers don't run on, never because something went wrong."""
    server = ServerProcess("Redis", ["sleep", "60"], log=tmp_path / "log")
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(5) == -signal.SIGKILL

    with pytest.raises(ServerDied, match="Redis ended with -9"):
        server.until(lambda: False, deadline_s=5)


def test_the_supervisor_waits_as_long_as_the_time_factor_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow machine one knob must reach every deadline, those in other processes too."""
    silent = tmp_path / "redis-server"
    silent.write_text('#!/bin/sh\n[ "$1" = --version ] && echo v=8 || exec sleep 60\n')
    silent.chmod(0o755)
    monkeypatch.setenv("NETRA_REDIS_SERVER", str(silent))
    supervisor = Supervisor(tmp_path, cache=None, redis="redis", time_factor=0.0001, root=tmp_path)

    with pytest.raises(ServicesUnavailable, match=r"it took no connection within 0\.001 s"):
        supervisor.op_redis(set(), "gw0")


def test_a_tap_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """A stopped process would hold up the whole run, without a word."""
    tap = Tap(tmp_path / "tap", deadline_s=0.05)
    os.kill(tap._process.pid, signal.SIGSTOP)

    with pytest.raises(ServerDied, match=r"it didn't answer within 0\.05 s"):
        tap.link("redis", "redis", tmp_path / "nowhere")

    tap.close()


def test_a_killed_cluster_leaves_no_shared_memory(run: Run) -> None:
    """A machine has few segments, and those that nobody frees are lost until it restarts."""
    before = segments()

    run(
        """
        import os, signal
        from sqlalchemy import text

        async def test_dies(engine, netra_database):
            socket = netra_database.database.admin.socket
            os.kill(int((socket.parent / "data" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
            async with engine.begin() as connection:
                await connection.execute(text("select 1"))
        """
    )

    assert not set(segments_of_nobody()) - before


def segments_of_nobody() -> list[int]:
    """List the segments whose maker is dead."""
    found = []
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        fields = line.split()
        if not Path(f"/proc/{fields[4]}").exists():
            found.append(int(fields[1]))
    return found


def test_a_run_whose_integration_tests_all_skip_proves_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units alone say nothing about services, however green they are."""
    monkeypatch.setenv("NETRA_REDIS_SERVER", "/nowhere")

    outcome = run(
        "async def test_visit(redis_client):\n    await redis_client.ping()\n\ndef test_unit():\n    pass\n",
        "--redis=redis",
    )

    outcome.result.assert_outcomes(passed=1, skipped=1)
    assert "Nothing was proved: 1 passed, 1 skipped" in outcome.text


def test_a_run_lets_go_even_where_its_supervisor_never_came() -> None:
    """A run of unit tests, and one that failed before its first test, end without waiting for anybody."""
    run = lease.Run()
    assert not run.directory.exists()

    run.end()

    assert not run.place.lease.exists()
