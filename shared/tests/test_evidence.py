"""What a test proved is counted on the wire, and the servers agree."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netra_fixtures.evidence import Tap

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
    outcome = run(WORK)

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


@pytest.mark.parametrize("protocol", ["redis", "postgres"])
def test_the_tap_passes_on_every_byte_unchanged(tap: Tap, echo: str, protocol: str) -> None:
    """What counts must not change what is counted, however large it is and whatever it says."""
    path = tap.link("wire", protocol, echo)
    data = os.urandom(3_000_000)

    assert talk(path, data) == data


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
