"""An operator starts a gateway, looks at it and ends it, with settings, lines of JSON and signals."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from netra_fixtures import Goal, IsolatedEnvironment, StartProgram, Tier, business_value, within
from netra_sessions import Publisher
from netra_sessions.events import START

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="running the gateway takes no reading of its source"
)

Open = Callable[..., Awaitable[Any]]
SECRET = "s3cr3t-in-an-address"


async def outcome(environment: IsolatedEnvironment, *program: str) -> tuple[int | None, str]:
    """Run a program to its end, and return how it ended and what it said."""
    process = await asyncio.create_subprocess_exec(
        *program, stdout=PIPE, stderr=PIPE, env=environment.for_process()
    )
    async with within(seconds=30):
        said = await process.communicate()
    return process.returncode, b"".join(said).decode()


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({}, ["REDIS_URL", "DATABASE_URL", "AUTHENTICATION"]),
        ({"PORT": "x", "POLICY__HEARTBEAT": "soon"}, ["PORT", "POLICY__HEARTBEAT"]),
        ({"AUTHENTICATION": "nowhere:nothing"}, ["AUTHENTICATION"]),
    ],
    ids=["nothing", "unreadable", "no such module"],
)
async def test_a_setting_that_is_wrong_is_named(
    environment: IsolatedEnvironment, start_program: StartProgram, told: dict[str, str], named: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The one line in the log says what to set, and no value that may be secret."""
    if told:
        sound = {"REDIS_URL": f"redis://:{SECRET}@x", "DATABASE_URL": f"postgresql+asyncpg://{SECRET}@x/y"}
        told = {**sound, "AUTHENTICATION": "contextlib:nullcontext", **told}
    for name, value in told.items():
        environment.set(f"NETRA_GATEWAY_{name}", value)

    gateway = await start_program("netra-gateway")
    async with within(seconds=30):
        said = (await gateway.communicate()).decode()

    line = json.loads(said)
    assert (gateway.returncode, line["level"]) == (2, "error")
    assert line["variables"] == [f"NETRA_GATEWAY_{name}" for name in named]
    assert (SECRET in said, capfd.readouterr().err) == (False, "")


async def test_a_gateway_whose_redis_is_not_there_says_so_and_ends(
    environment: IsolatedEnvironment, start_gateway: Open
) -> None:
    """A process that can't serve ends, so that its supervisor notices, and shows no password."""
    served = await start_gateway()
    await served.end(signal.SIGKILL)
    environment.set("NETRA_GATEWAY_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    environment.set("NETRA_GATEWAY_POLICY__DEADLINE", "PT0.2S")

    code, said = await outcome(environment, str(Path(sys.executable).with_name("netra-gateway")))

    assert code == 2
    assert json.loads(said)["reason"].startswith("what verifies tokens could not be opened: StoreUnavailable")
    assert SECRET not in said


async def test_a_gateway_that_drains_says_goodbye_and_takes_nobody_new(
    start_gateway: Open, sign_in: Open, publisher: Publisher
) -> None:
    """A deployment ends each connection after all that was written for it, with the code that means: elsewhere."""
    served = await start_gateway()
    bearer = {"Authorization": f"Bearer {(await sign_in('alice')).token}"}
    async with connect(served.uri, additional_headers=bearer) as socket, within(seconds=20):
        await socket.recv()
        await publisher.emit("agent_started", user="alice", run="r", event_id="1", data={"agent": "triage"})
        event = json.loads(await socket.recv())

        log = await served.end(signal.SIGTERM)
        await socket.wait_closed()

    assert event["event_id"] == "1"
    assert (socket.close_code, socket.close_reason) == (1001, "going away")
    assert [line["event"] for line in log] == ["draining", "stopped"]
    assert log[0]["connections"] == 1
    with pytest.raises(OSError, match="Connect call failed"):
        await connect(served.address, additional_headers=bearer)


async def test_the_watcher_prints_events_as_they_come(
    gateway: Any, sign_in: Open, publisher: Publisher, environment: IsolatedEnvironment
) -> None:
    """A developer sees in a terminal what users see on their screens, and no event can garble it."""
    environment.set("NETRA_TOKEN", (await sign_in("alice")).token)
    environment.set("COLUMNS", "200")
    program = (sys.executable, "-m", "netra_sessions.watch", gateway.uri, "--after", START)
    await publisher.emit(
        "agent_started", user="alice", run="r\x1b[2J", event_id="1", data={"agent": "triage"}
    )
    watcher = await asyncio.create_subprocess_exec(*program, stdout=PIPE, env=environment.for_process())
    assert watcher.stdout is not None

    try:
        async with within(seconds=30):
            lines = [(await watcher.stdout.readline()).decode() for _ in range(2)]
            data = {"agent": "triage", "error": "no bills"}
            await publisher.emit("agent_failed", user="alice", run="r", event_id="2", data=data)
            lines.append((await watcher.stdout.readline()).decode())
    finally:
        watcher.terminate()
        await watcher.communicate()

    assert lines[0] == "watching\n"
    assert "agent_started" in lines[1]
    assert "\x1b" not in lines[1]
    assert "agent_failed" in lines[2]
    assert "no bills" in lines[2]


@pytest.fixture
def watched(
    environment: IsolatedEnvironment, start_program: StartProgram, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Awaitable[tuple[int | None, str]]]:
    """Run a watcher whose token nobody signed to its end, and return how it ended and what it said."""
    environment.set("NETRA_TOKEN", SECRET)

    async def run(*told: str) -> tuple[int | None, str]:
        watcher = await start_program("netra_sessions.watch", *told)
        async with within(seconds=30):
            said = (await watcher.communicate()).decode()
        return watcher.returncode, said + capfd.readouterr().err

    return run


async def test_the_watcher_says_why_it_can_not_watch(gateway: Any, watched: Open) -> None:
    """A refused token is a sentence, not a traceback."""
    code, said = await watched(gateway.uri)

    assert code == 1
    assert said == "the gateway refused the token (401); ask the user to sign in again\n"


@pytest.mark.parametrize(
    "told",
    [("http://127.0.0.1:1",), ("ws://127.0.0.1:1/events", "--after", "yesterday")],
    ids=["where", "when"],
)
async def test_the_watcher_says_what_it_was_told_wrong(watched: Open, told: tuple[str, ...]) -> None:
    """A misspelt address or place is a line of help, not a traceback."""
    code, said = await watched(*told)

    assert code == 2
    assert said.startswith("usage:")
    assert SECRET not in said
