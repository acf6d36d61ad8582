"""The links that tests are given: to their own servers, gone after them, and with draws that a seed gives back."""

import json

import pytest

from .runs import Run

SHOP = """
import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from netra_fixtures import Bandwidth, Cut, HalfOpen, Jitter, Latency, Reset, SlowClose
from netra_fixtures.faults import Fault

SECONDS = timedelta(seconds=1)
SILENT = [Latency(3600 * SECONDS), Bandwidth(1), HalfOpen()]
BROKEN = [Cut(), Reset()]
LATE = [Latency(0.1 * SECONDS), Jitter(0.1 * SECONDS), SlowClose(0.1 * SECONDS)]

class Drawing(Fault):
    def due(self, at, passage):
        draws.append(passage.random.random())
        return at

draws = []

async def met(ask, fault):
    # an answer that never comes, a connection that breaks, or a late answer
    if fault in SILENT:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ask()
    elif fault in BROKEN:
        with pytest.raises((OSError, ConnectionError, DBAPIError)):
            await ask()
    else:
        await ask()
"""


def test_each_fault_spoils_the_way_to_redis_and_is_gone_after_it(run: Run) -> None:
    """Code that keeps its sessions in Redis meets every trouble that a network has."""
    outcome = run(
        SHOP
        + """
@pytest.mark.parametrize("fault", [*SILENT, *BROKEN, *LATE])
async def test_redis(redis_link, fault):
    async with redis_link.endpoint.client(socket_timeout=None) as client:
        await client.ping()
        async with redis_link.fault(fault):
            await met(client.ping, fault)
        await client.ping()
""",
    )

    outcome.result.assert_outcomes(passed=8)


def test_each_fault_spoils_the_way_to_postgres_and_is_gone_after_it(run: Run) -> None:
    """Code that keeps its record in PostgreSQL meets them too."""
    outcome = run(
        SHOP
        + """
async def asks(engine):
    async with engine.connect() as connection:
        assert await connection.scalar(text("select 1")) == 1

@pytest.mark.parametrize("fault", [*SILENT, *BROKEN, *LATE])
async def test_postgres(postgres_link, fault):
    engine = create_async_engine(postgres_link.endpoint.url(), poolclass=NullPool)
    await asks(engine)
    async with postgres_link.fault(fault):
        await met(lambda: asks(engine), fault)
    await asks(engine)
""",
    )

    outcome.result.assert_outcomes(passed=8)


def test_who_gives_up_connecting_at_any_moment_leaves_no_error(run: Run) -> None:
    """Code that gives up on a database that is out of reach has done right, and its test passes."""
    outcome = run(
        SHOP
        + """
async def test_gives_up(engine, postgres_link):
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))
    reaching = postgres_link.endpoint.engine()
    async with postgres_link.fault(HalfOpen()):
        for turns in range(60):
            connecting = asyncio.ensure_future(reaching.connect().start())
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait({connecting})
    await reaching.dispose()
"""
    )

    outcome.result.assert_outcomes(passed=1)


def test_the_clients_of_a_link_and_of_a_private_server_share_its_fate(run: Run) -> None:
    """A test that cuts the way, or kills the server, and then talks past it would prove nothing."""
    outcome = run(
        SHOP
        + """
async def asks(engine):
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))

async def test_links(postgres_link, linked_engine, redis_link, linked_redis):
    await asks(linked_engine)
    await linked_redis.ping()
    async with postgres_link.fault(Cut()), redis_link.fault(Cut()):
        await met(lambda: asks(linked_engine), Cut())
        await met(linked_redis.ping, Cut())

async def test_private(private_postgres, own_engine, private_redis, own_redis):
    await asks(own_engine)
    await own_redis.ping()
    await private_postgres.kill()
    await private_redis.kill()
    await met(lambda: asks(own_engine), Cut())
    await met(own_redis.ping, Cut())
""",
    )

    outcome.result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "ending", ["raise ValueError", "await asyncio.Event().wait()"], ids=["fails", "hangs"]
)
def test_a_test_that_ends_inside_a_fault_leaves_nothing_to_the_next(run: Run, ending: str) -> None:
    """What cleans up after a failed test, and the tests after it, find the link whole."""
    outcome = run(
        SHOP
        + f"""
@pytest.fixture
async def basket(redis_link):
    async with redis_link.endpoint.client() as client:
        yield client
    async with redis_link.endpoint.client() as client:
        await client.delete("basket")
        Path("cleaned").touch()

async def test_ends(redis_link, basket):
    await basket.ping()
    async with redis_link.fault(Latency(3600 * SECONDS)), redis_link.fault(Cut()):
        async with asyncio.timeout(0.5):
            {ending}

async def test_next(redis_link, basket):
    assert await basket.ping()
"""
    )

    outcome.result.assert_outcomes(passed=1, failed=1)
    assert (outcome.folder / "cleaned").exists()


def test_a_failure_that_chance_took_part_in_names_the_seed_that_gives_it_again(run: Run) -> None:
    """Whoever reads the failure, in the terminal or in the report, can have the same delays again."""
    outcome = run(
        SHOP
        + """
async def test_with_chance(redis_link):
    async with redis_link.endpoint.client() as client, redis_link.fault(Jitter(0.01 * SECONDS)):
        await client.ping()
        raise ValueError

async def test_without_chance(redis_link):
    async with redis_link.endpoint.client() as client, redis_link.fault(Latency(0.01 * SECONDS)):
        await client.ping()
        raise ValueError
""",
        "--seed=1234",
        "-n", "1",
    )  # fmt: skip

    told = "faults on redis_link drew from --seed=1234"
    outcome.result.assert_outcomes(failed=2)
    assert outcome.text.count(told) == 1
    assert told in json.dumps(outcome.test("test_with_chance")["output"])
    assert told not in json.dumps(outcome.test("test_without_chance")["output"])


def test_the_same_seed_gives_the_same_draws_and_every_link_its_own(run: Run) -> None:
    """A rerun with the seed meets the same delays; two links, or two tests, don't meet each other's."""

    def drawn(seed: int) -> dict[str, list[float]]:
        outcome = run(
            SHOP
            + """
@pytest.mark.parametrize("number", [0, 1])
async def test_draws(redis_link, postgres_link, rng, number):
    drawn = {"rng": rng.random()}
    for name, link in (("redis", redis_link), ("postgres", postgres_link)):
        draws.clear()
        async with link.fault(Drawing()):
            reader, writer = await asyncio.open_connection(*link.link.endpoint)
            writer.write(b"?")
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
        drawn[name] = draws[0]
    Path(f"drawn{number}").write_text(json.dumps(drawn))
    async with redis_link.endpoint.client() as client:
        await client.ping()
""",
            f"--seed={seed}",
        )
        outcome.result.assert_outcomes(passed=2)
        return {name: json.loads((outcome.folder / name).read_text()) for name in ("drawn0", "drawn1")}

    first, again, other = drawn(7), drawn(7), drawn(8)

    assert first == again
    draws = {draw for run in (first, other) for test in run.values() for draw in test.values()}
    assert len(draws) == 2 * 2 * 3
