"""An operator sees and changes settings from a terminal, and no secret appears there."""

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from functools import partial
from io import StringIO
from pathlib import Path

import pytest

from netra_config import ConfigService
from netra_config.cli import main
from netra_fixtures import (
    Goal,
    IsolatedEnvironment,
    PostgresEndpoint,
    RedisEndpoint,
    StartProgram,
    Tier,
    business_value,
    eventually,
    within,
)

from .shop import Shop

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.EFFICIENCY, Goal.SECURITY},
    impact="an operator needs no SQL, and shows no password",
)

Run = Callable[..., Awaitable[tuple[int, str]]]
KEY = "test/1=" + base64.b64encode(hashlib.sha256(b"test/1").digest()).decode()
SIGNED = ("--author", "Ada", "--reason", "it was asked for")

NAMELESS = ("unshare", "--user", "--map-user=54321")  # an id that no password file knows


@pytest.fixture
def variables(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, environment: IsolatedEnvironment
) -> IsolatedEnvironment:
    """Say where the servers are, and which key seals."""
    environment.set("NETRA_CONFIG_DATABASE_URL", postgres_endpoint.url())
    environment.set("NETRA_CONFIG_REDIS_URL", redis_endpoint.url)
    environment.set("NETRA_CONFIG_KEYS", KEY)
    return environment


@pytest.fixture
def run(
    variables: IsolatedEnvironment, namespace: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:  # fmt: skip
    """Run the command, on an event loop of its own, and return its status and what it printed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    always = ("--schema", "shop:Shop", "--environment", "test", "--namespace", namespace)

    async def start(*arguments: str, stdin: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", StringIO(stdin))
        async with within(seconds=40):
            command = partial(main, (*always, *arguments), variables=variables.as_mapping())
            status = await asyncio.to_thread(command)
        out, err = capsys.readouterr()
        return status, out + err

    return start


@pytest.fixture
def as_user(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Run a program as somebody, where the machine lets its user be somebody else."""
    prefix: tuple[str, ...] = request.param
    if prefix and subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this user may make no user namespace, so nobody can be a mere number: run it as root")
    return prefix


async def test_the_command_that_is_installed_runs(
    config: ConfigService[Shop], variables: IsolatedEnvironment, namespace: str, start_program: StartProgram
) -> None:
    """What is typed into a terminal does what the tests below call."""
    command = await start_program(
        "netra-config", "--schema", "shop:Shop", "--environment", "test", "--namespace", namespace, "drift",
        folder=Path(__file__).parent,
    )  # fmt: skip
    async with within(seconds=60):
        out = await command.communicate()

    assert (command.returncode, out) == (0, b"no drift\n")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("as_user", [NAMELESS], ids=["a number without a name"], indirect=True)
async def test_the_command_runs_in_a_container(
    config: ConfigService[Shop], variables: IsolatedEnvironment, namespace: str, as_user: tuple[str, ...]
) -> None:
    """What runs in a container, a fresh process of a user without a name, does the same."""
    program = str(Path(sys.executable).with_name("netra-config"))
    arguments = ("--schema", "shop:Shop", "--environment", "test", "--namespace", namespace, "drift")

    process = await asyncio.create_subprocess_exec(
        *as_user, program, *arguments, stdout=PIPE, cwd=Path(__file__).parent, env=variables.for_process()
    )
    try:
        async with within(seconds=120):  # ten workers on two cores start a process in tens of seconds
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (process.returncode, out) == (0, b"no drift\n")


async def test_a_setting_is_changed_shown_and_returned_to(config: ConfigService[Shop], run: Run) -> None:
    """What an operator types is what runs, and what it was before is one command away."""
    words = ("title=Corner", "retries=5", "database.password=-", "--base", "0", *SIGNED)
    made = await run("set", *words, stdin="open sesame\n")
    await run("set", "--unset", "title", "--base", "1", *SIGNED)
    back = await run("rollback", "1", "--base", "2", *SIGNED)
    shown, history, diff = await run("--json", "show"), await run("history"), await run("diff", "1", "2")

    async def arrived() -> None:
        assert (config.version, config.current.title, config.current.retries) == (3, "Corner", 5)

    await eventually(arrived, seconds=20)
    assert config.current.database.password.get_secret_value() == "open sesame"
    assert [status for status, _ in (made, back, shown, history, diff)] == [0] * 5
    said = {one["path"]: (one["value"], one["layer"]) for one in json.loads(shown[1])["values"]}
    assert said["/title"] == ('"Corner"', "dynamic")
    assert said["/timeout"][1] == "default"
    assert said["/database/password"] == ("‹secret›", "dynamic")
    assert "restores version 1" in history[1]
    assert "Corner" in diff[1]
    assert "sesame" not in f"{made} {back} {shown} {history} {diff}"


async def test_what_would_not_load_is_listed_and_not_made(config: ConfigService[Shop], run: Run) -> None:
    """A status tells a script what a table tells a person."""
    dry = await run("set", "retries=5", "--dry-run")
    wrong = await run("set", "retries=50", "colour=red", "--base", "0", *SIGNED)
    conflict = await run("set", "retries=5", "--base", "7", *SIGNED)
    clean = await run("drift")

    assert (dry[0], wrong[0], conflict[0]) == (0, 1, 2)
    assert "/values/retries" in wrong[1]
    assert "/values/colour" in wrong[1]
    assert "base it on version 0" in conflict[1]
    assert clean == (0, "no drift\n")
    assert await config.history() == ()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("NETRA_CONFIG_DATABASE_URL", "sesame"),
        ("NETRA_CONFIG_DATABASE_URL", "nosuch+driver://u:sesame@h/d"),
        ("NETRA_CONFIG_DATABASE_URL", "postgresql://u:sesame@h:port/d"),
        ("NETRA_CONFIG_DATABASE_URL", "sqlite+aiosqlite:///sesame"),
        ("NETRA_CONFIG_REDIS_URL", "sesame"),
        ("NETRA_CONFIG_REDIS_URL", "redis://:sesame@h:port"),
        ("NETRA_CONFIG_DATABASE_URL", ""),
    ],
)
async def test_an_address_that_is_none_is_named_and_not_shown(
    config: ConfigService[Shop], run: Run, variables: IsolatedEnvironment, name: str, address: str
) -> None:
    """Addresses hold passwords, and a slip in one is told without them."""
    variables.set(name, address)

    status, said = await run("show")

    assert status == 2
    assert name in said
    assert "sesame" not in said


async def test_one_secret_is_read_at_a_time(config: ConfigService[Shop], run: Run) -> None:
    """A second one would be empty, and nobody would notice."""
    status, said = await run(
        "set", "title=-", "database.password=-", "--base", "0", *SIGNED, stdin="open sesame\n"
    )

    assert status == 2
    assert "one value" in said
    assert await config.history() == ()
