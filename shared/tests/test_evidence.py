"""What a test proved is counted on the wire, and the servers agree."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.evidence import Tap
from netra_fixtures.tap.counting import COLUMNS, ROWS
from netra_fixtures.tap.postgres import TRANSACTIONS, PostgresConversation
from netra_fixtures.tap.redis import ADMINISTRATION, COMMANDS, RedisConversation

from .runs import Run

WORK = """
import subprocess, sys
from sqlalchemy import text

CHILD = "import redis, sys\\n" \\
    "client = redis.Redis.from_url(sys.argv[1])\\n" \\
    "[client.incr('n') for _ in range(10)]"

async def test_rows(engine):
    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.orders (what) values ('a'), ('b')"))
        await connection.execute(text("update shop.orders set what = 'c'"))
        await connection.execute(text("delete from shop.orders where id = 1"))

async def test_commands(redis_client):
    async with redis_client.pipeline() as pipeline:
        pipeline.set("a", 1).set("b", 2)
        await pipeline.execute()

def test_child(redis_endpoint):
    subprocess.run([sys.executable, "-c", CHILD, redis_endpoint.url], check=True, timeout=30)

def test_unit():
    pass
"""


def test_each_test_is_given_what_it_sent_and_no_more(run: Run) -> None:
    """The report's figures are those of the test they stand beside, its child processes included."""
    outcome = run(WORK, started=True)

    outcome.result.assert_outcomes(passed=4)
    assert outcome.test("test_rows")["evidence"]["postgres"]["rows_written"] == 5
    assert outcome.test("test_rows")["evidence"]["postgres"]["transactions"] >= 1
    assert outcome.test("test_rows")["evidence"]["redis"]["commands"] == 0
    commands = outcome.test("test_commands")["evidence"]["redis"]["commands"]
    assert commands >= 4  # MULTI, two SET, EXEC
    assert outcome.test("test_child")["evidence"]["redis"]["commands"] >= 10
    assert not any(outcome.test("test_unit")["evidence"]["redis"].values())


def test_the_servers_own_counters_agree(run: Run) -> None:
    """A count that the server doesn't share would prove nothing."""
    outcome = run(WORK, "-n", "2")

    counters = outcome.report["run"]["counters"]
    assert {one["link"] for one in counters} == {"postgres", "redis"}
    assert all(one["server"] and not any(one["difference"].values()) for one in counters)


def test_a_test_that_asks_for_a_service_and_sends_it_nothing_fails(run: Run) -> None:
    """A test that never reaches the server would pass whatever the server does."""
    outcome = run("async def test_idle(redis_client, engine):\n    pass\n")

    outcome.result.assert_outcomes(failed=1)
    assert "asks for postgres and redis and sends it nothing" in outcome.text


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """A server that sends back what it gets."""
    path = str(tmp_path / "echo")
    code = (
        "import socket, sys, threading\n"
        "server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(); print(flush=True)\n"
        "def serve(c):\n"
        "    while data := c.recv(65536): c.sendall(data)\n"
        "    c.close()\n"
        "while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
        process.kill()


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[Tap]:
    """A tap of the test's own."""
    tap = Tap(tmp_path / "tap")
    yield tap
    tap.close()


def talk(path: Path, data: bytes) -> bytes:
    """Send *data*, end the sending side, and read until the other side ends."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        import threading

        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        got = bytearray()
        while piece := sock.recv(1 << 16):
            got += piece
        sender.join()
    return bytes(got)


@pytest.mark.parametrize("protocol", ["redis", "postgres", "websocket"])
def test_the_tap_passes_on_every_byte_unchanged(tap: Tap, echo: str, protocol: str) -> None:
    """What counts must not change what is counted, however large it is and whatever it says."""
    path = tap.link("wire", protocol, echo)
    data = os.urandom(3_000_000)

    assert talk(path, data) == data


def test_what_a_process_closed_is_not_taken_for_left_open(tap: Tap, tmp_path: Path) -> None:
    """A server that is slow to notice an end lays no leak at the door of a test that closed its connection."""
    with socket.socket(socket.AF_UNIX) as slow, socket.socket(socket.AF_UNIX) as left:
        slow.bind(str(tmp_path / "slow"))
        slow.listen()  # and never takes anybody
        path = str(tap.link("slow", "redis", tmp_path / "slow"))
        os.kill(tap._process.pid, signal.SIGSTOP)  # all of it comes to a busy tap at once
        with socket.socket(socket.AF_UNIX) as closed:
            closed.connect(path)
            closed.sendall(b"*1\r\n$4\r\nPING\r\n")
        left.connect(path)

        with ThreadPoolExecutor(1) as asking:
            cutting = asking.submit(tap.cut, "slow", os.getpid())
            while not int.from_bytes(
                fcntl.ioctl(tap._process.stdin, termios.FIONREAD, bytes(4)), sys.byteorder
            ):
                pass
            os.kill(tap._process.pid, signal.SIGCONT)
            states = cutting.result(timeout=20)

    assert states == ["a connection"]


def test_commands_are_counted_however_they_are_cut_into_packets(tap: Tap, echo: str) -> None:
    """A client may send half a command now and the rest later, or many at once."""
    path = tap.link("wire", "redis", echo)
    command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n*1\r\n$4\r\nPING\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        for at in range(len(command)):
            sock.sendall(command[at : at + 1])
            sock.recv(1)
        sock.sendall(command * 100)
        left = len(command) * 100
        while left:
            left -= len(sock.recv(left))

    assert tap.link_counts("wire")["commands"] == 101


def test_the_tap_ends_when_its_worker_does(tmp_path: Path) -> None:
    """A worker that is killed leaves no process behind."""
    code = (
        "import sys, json, os, signal, pathlib\n"
        "from netra_fixtures.evidence import Tap\n"
        "tap = Tap(pathlib.Path(sys.argv[1])); tap.counts()\n"
        "print(json.dumps(tap._process.pid), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "tap")], stdout=subprocess.PIPE, timeout=30, check=False
    )
    pid = json.loads(done.stdout)

    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        os.sched_yield()


def test_an_interrupted_run_counts_and_reports_to_its_end(run: Run) -> None:
    """Ctrl-C reaches the tap too; a person who presses it wants the report, not a traceback of ours."""
    outcome = run(
        """
        import asyncio, os, signal, threading

        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it

        async def test_interrupted(redis_client, netra_tap):
            await redis_client.ping()
            for pid in (netra_tap._process.pid, os.getpid()):
                threading.Timer(0.2, os.kill, (pid, signal.SIGINT)).start()
            await asyncio.sleep(20)
        """
    )

    assert outcome.result.ret == pytest.ExitCode.INTERRUPTED
    assert "Traceback" not in outcome.text


def test_more_connections_than_a_usual_laptop_allows_files_pass_the_tap(tmp_path: Path, echo: str) -> None:
    """Two descriptors a connection: at the usual 1,024 a test of six hundred clients would end the tap."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        tap = Tap(tmp_path / "tap")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    path = tap.link("wire", "redis", echo)
    with contextlib.ExitStack() as stack:
        stack.callback(tap.close)
        for _ in range(100):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(30)
            sock.connect(str(path))
            sock.sendall(b"PING\r\n")
            assert sock.recv(6)

        assert tap.link_counts("wire")["commands"] == 100


def test_more_links_than_can_be_counted_are_refused_and_one_that_is_closed_makes_room(
    tap: Tap, echo: str
) -> None:
    """A test that opens links without end learns that, and not that a list was empty."""
    for number in range(ROWS):
        tap.link(f"l{number}", "redis", echo)

    with pytest.raises(ServicesUnavailable, match="links are open; close some"):
        tap.link("one-more", "redis", echo)
    tap.drop("l0")
    tap.link("another", "redis", echo)


def test_a_tap_that_ends_ends_the_run_and_not_the_report(run: Run) -> None:
    """Without counts nothing more is proved; what was proved before must still be told."""
    outcome = run(
        """
        import os, signal

        async def test_before(redis_client):
            await redis_client.ping()

        async def test_ends(redis_client, netra_tap):
            await redis_client.ping()
            os.kill(netra_tap._process.pid, signal.SIGKILL)
        """
    )

    assert outcome.result.ret == pytest.ExitCode.INTERRUPTED
    assert outcome.report["run"]["verdict"] == "incomplete"
    assert outcome.test("test_before")["evidence"]["redis"]["commands"] > 0
    assert "INTERNALERROR" not in outcome.text


def test_rubbish_in_place_of_a_greeting_does_not_stop_the_tap(tap: Tap, echo: str) -> None:
    """A message that says it is 0 bytes long must not be read for ever."""
    path = tap.link("wire", "postgres", echo)
    data = bytes(4) + (80877103).to_bytes(4, "big") + bytes(8)

    assert talk(path, data) == data
    assert tap.counts()["postgres"]["statements"] == 0


def test_rows_that_are_copied_in_are_rows_written(run: Run) -> None:
    """COPY is how much is loaded; rows read by it are not written."""
    outcome = run(
        """
        import asyncpg

        async def test_copy(postgres_endpoint):
            connection = await asyncpg.connect(postgres_endpoint.dsn)
            await connection.copy_records_to_table(
                "orders", schema_name="shop", columns=["what"], records=[("a",), ("b",), ("c",)]
            )
            await connection.copy_from_query("select * from shop.orders", output=lambda data: _nothing())
            await connection.close()

        async def _nothing():
            pass
        """
    )

    outcome.result.assert_outcomes(passed=1)
    assert outcome.test("test_copy")["evidence"]["postgres"]["rows_written"] == 3


def test_what_a_fresh_database_was_sent_is_held_against_the_server_too(run: Run) -> None:
    """A clone of a test's own is dropped after it; its counts must be read before."""
    outcome = run(
        """
        import pytest
        from sqlalchemy import text

        @pytest.mark.fresh_database
        async def test_rows(engine):
            async with engine.begin() as connection:
                await connection.execute(text("insert into shop.orders (what) values ('a'), ('b'), ('c')"))
        """
    )

    (counter,) = (one for one in outcome.report["run"]["counters"] if one["link"] == "postgres")
    assert counter["server"]["rows_written"] == 3
    assert not any(counter["difference"].values())


def test_what_the_server_does_to_tell_a_listener_is_explained(run: Run) -> None:
    """A reader of the report who sees two figures differ is told why, where it is no fault."""
    outcome = run(
        """
        import asyncio
        import asyncpg
        from netra_fixtures import within

        async def test_notified(postgres_endpoint):
            listener, speaker = [await asyncpg.connect(postgres_endpoint.dsn) for _ in range(2)]
            told = asyncio.Event()
            await listener.add_listener("orders", lambda *said: told.set())
            await speaker.execute("notify orders")
            async with within(seconds=20):
                await told.wait()
            await listener.close()
            await speaker.close()
        """
    )

    outcome.result.assert_outcomes(passed=1)
    (counter,) = (one for one in outcome.report["run"]["counters"] if one["link"] == "postgres")
    assert counter["difference"]["transactions"] < 0
    assert counter["note"] == "who listens is told in a transaction of the server's own"


def test_an_empty_round_trip_is_no_transaction() -> None:
    """A Sync alone begins nothing at the server, as when a pipeline ends or a driver resets its state."""
    counts = memoryview(bytearray(64)).cast("Q")
    talk = PostgresConversation(counts, {})
    ready = b"Z\x00\x00\x00\x05I"
    talk.sent((8).to_bytes(4, "big") + (196608).to_bytes(4, "big"))
    talk.received(ready)

    talk.sent(b"S\x00\x00\x00\x04")
    talk.received(ready)

    assert counts[TRANSACTIONS] == 0


@pytest.mark.parametrize(
    "said",
    [
        b"*4\r\n$6\r\nconfig\r\n$3\r\nSET\r\n$9\r\nmaxmemory\r\n$3\r\n3mb\r\n",
        b"*2\r\n$3\r\nACL\r\n$6\r\nWHOAMI\r\n",
        b"*2\r\n$8\r\nFunction\r\n$4\r\nLIST\r\n",
        b"Acl whoami\r\n",
    ],
)
@pytest.mark.parametrize("packet_bytes", [1, 7, 1000])
def test_what_a_flush_does_not_undo_is_noticed_however_it_is_cut(said: bytes, packet_bytes: int) -> None:
    """A setting that a test changed unnoticed stays for every test after it."""
    counts = memoryview(bytearray(COLUMNS * 8)).cast("Q")
    conversation = RedisConversation(counts, {})
    around = b"*2\r\n$3\r\nGET\r\n$6\r\nCONFIG\r\n"
    data = around + said + around

    for start in range(0, len(data), packet_bytes):
        conversation.sent(data[start : start + packet_bytes])

    assert counts[COMMANDS] == 3
    assert counts[ADMINISTRATION] == 1
