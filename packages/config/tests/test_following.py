"""A change reaches every process at once, and no outage leaves one with half of it or with nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_config import (
    ConfigPolicy,
    ConfigService,
    DriftKind,
    Edit,
    Environment,
    StoreUnavailable,
    TenantId,
)
from netra_config.connections import Kept
from netra_config.follow import Follower
from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    ManualClock,
    PostgresEndpoint,
    PrivateRedis,
    Program,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)

from .shop import LaterShop, Shop

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY},
    impact="operators see their change work at once, and an outage changes nothing",
)

Open = Callable[..., Awaitable[ConfigService[Any]]]
SIGNED = {"author": "Ada", "reason": "it was asked for"}
DEADLINE = timedelta(seconds=2)
POLLING = ConfigPolicy(deadline=DEADLINE, poll_every=timedelta(milliseconds=100))
ACME = TenantId("acme")


async def reaches(config: ConfigService[Any], version: int) -> None:
    """Wait until a process has a version."""

    async def arrived() -> None:
        assert config.version == version

    await eventually(arrived, seconds=20)


async def listens(config: ConfigService[Any]) -> None:
    """Wait until a process hears announcements."""

    async def hears() -> None:
        assert config.health().listening

    await eventually(hears, seconds=20)


@pytest.mark.timeout(180)  # ten workers on two cores start a process in tens of seconds
async def test_another_process_hears_of_a_change(
    config: ConfigService[Shop], another_process: Callable[..., Awaitable[Program]]
) -> None:
    """Its next poll is ten minutes away, so what told it was the announcement."""
    listener = await another_process()

    async with within(seconds=120):
        assert await listener.stdout.readline() == b"3\n"
        await config.commit(Edit(set={"retries": 8}), base=0, **SIGNED)
        first = await listener.stdout.readline()  # it may have read this as it began to listen
        await config.commit(Edit(set={"retries": 9}), base=1, **SIGNED)
        heard = await listener.stdout.readline()

    assert (first, heard) == (b"8\n", b"9\n")


@pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])
async def test_with_redis_out_of_reach_the_poll_carries_a_change(
    open_config: Open, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint], fault: Cut | HalfOpen
) -> None:
    """Losing the announcement costs at most the poll interval, for who changes and for who reads."""
    writing, reading = [await open_config(redis=linked_redis, policy=POLLING) for _ in range(2)]

    async with redis_link.fault(fault):
        await writing.commit(Edit(set={"retries": 8}), base=0, **SIGNED)
        await reaches(reading, 1)

    assert reading.current.retries == 8


async def test_a_listener_that_was_cut_off_listens_again(
    open_config: Open, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """What came meanwhile is made up for once the announcements are back, long before the next poll."""
    writing, reading = await open_config(), await open_config(redis=linked_redis)

    async with redis_link.fault(Cut()):
        await writing.commit(Edit(set={"retries": 8}), base=0, **SIGNED)
    await reaches(reading, 1)
    await writing.commit(Edit(set={"retries": 9}), base=1, **SIGNED)
    await reaches(reading, 2)

    assert reading.health().listening


@pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])
async def test_with_postgresql_out_of_reach_the_last_good_settings_serve_and_say_their_age(
    open_config: Open, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint], clock: ManualClock,
    fault: Cut | HalfOpen,
) -> None:  # fmt: skip
    """Users go on working while operators can see for how long nothing was confirmed."""
    writing = await open_config()
    await writing.commit(Edit(set={"retries": 8}), base=0, **SIGNED)
    reading = await open_config(engine=linked_engine, policy=POLLING, clock=clock)
    await reading.refresh()

    async with postgres_link.fault(fault), within(seconds=30):
        changing = reading.commit(Edit(set={"retries": 1}), base=1, **SIGNED)
        failed = await asyncio.gather(reading.refresh(), changing, return_exceptions=True)
        clock.advance(timedelta(minutes=5))
        await writing.commit(Edit(set={"retries": 9}), base=1, **SIGNED)
        health = reading.health()

        assert [type(error) for error in failed] == [StoreUnavailable, StoreUnavailable]
        assert (reading.current.retries, health.version, health.age) == (8, 1, timedelta(minutes=5))

    await reaches(reading, 2)
    assert reading.health().age == timedelta()


async def test_a_server_that_hangs_up_on_who_greets_it_is_out_of_reach() -> None:
    """A server that restarts just then is an outage like any other, and no error of a driver's."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    engine = create_async_engine(f"postgresql+asyncpg://who@127.0.0.1:{port}/what?ssl=disable")
    async with server, within(seconds=20):
        with pytest.raises(StoreUnavailable, match="PostgreSQL"):
            await Kept(engine, "select 1", timedelta(seconds=10)).ask()
    await engine.dispose()


async def test_a_listener_that_only_looks_alive_is_found_out(
    open_config: Open, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint]
) -> None:
    """A connection over which nothing can come is asked whether it is there, and told as what it is."""
    config = await open_config(redis=linked_redis, policy=POLLING)

    async with redis_link.fault(HalfOpen()):

        async def deaf() -> None:
            assert not config.health().listening

        await eventually(deaf, seconds=20)

    await listens(config)


async def test_without_postgresql_a_process_does_not_start_blind(
    open_config: Open, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint]
) -> None:
    """A process without settings would run on defaults that nobody chose."""
    assert (await open_config()).version == 0

    async with postgres_link.fault(HalfOpen()), within(seconds=20):
        with pytest.raises(StoreUnavailable):
            await open_config(engine=linked_engine, policy=POLLING)


@pytest.mark.parametrize(
    "changes", [60, pytest.param(3_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
async def test_no_reader_sees_half_a_change(open_config: Open, changes: int) -> None:
    """Values that were changed together are read together, for everybody and for a tenant."""
    writing = await open_config()
    await writing.commit(Edit(set={"words.own": "acme's"}, tenant=ACME), base=0, **SIGNED)
    reading = await open_config()
    torn, seen, done = [], set(), asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            now, snapshot = reading.current, reading.snapshot
            own = snapshot.tenants[ACME]
            title, limits, version = now.title, now.limits, snapshot.version
            seen.add(version)
            if version > 1 and {title, str(limits["a"]), own.words["a"], str(version)} != {title}:
                torn.append((version, title, limits, own.words))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as running:
        running.create_task(read())
        for base in range(1, changes):
            number = base + 1
            change = Edit(set={"title": str(number), "limits.a": number, "words.a": str(number)})
            await writing.commit(change, base=base, **SIGNED)
        await reaches(reading, changes)
        done.set()

    assert torn == []
    assert len(seen) > 1


@pytest.mark.parametrize("tenant", [None, ACME], ids=["everybody's", "one tenant's"])
async def test_a_process_that_can_not_take_up_a_revision_keeps_its_last_and_says_so(
    open_config: Open, tenant: TenantId | None
) -> None:
    """During an upgrade the old release goes on with what it understands."""
    old = await open_config(schema=LaterShop, process="later")
    writing = await open_config(process="writer")
    await writing.commit(Edit(set={"retries": 5}), base=0, **SIGNED)
    await reaches(old, 1)

    await writing.commit(Edit(set={"retries": 9}, tenant=tenant), base=1, **SIGNED)

    async def told() -> None:
        assert (DriftKind.REFUSING, "later") in {(one.kind, one.where) for one in await writing.drift()}

    await eventually(told, seconds=20)
    refused = old.health().refused
    assert refused is not None
    where = "/values" if tenant is None else f"/tenants/{tenant}"
    assert (old.current.retries, refused.version, refused.faults[0].path) == (5, 2, f"{where}/retries")
    await writing.rollback(1, base=2, **SIGNED)
    await reaches(old, 3)
    assert old.health().refused is None


@pytest.mark.timeout(180)
async def test_a_killed_process_is_forgotten_after_its_lease(
    open_config: Open, another_process: Callable[..., Awaitable[Program]], redis_client: Redis, namespace: str
) -> None:
    """The list of who runs what holds the living."""
    config = await open_config(process="ours")
    listener = await another_process()

    async def reported() -> None:
        assert {one.process for one in await config.running()} == {"ours", "another"}

    async with within(seconds=120):
        await listener.stdout.readline()
    await eventually(reported, seconds=20)
    listener.kill()
    await listener.wait()
    left = await redis_client.pttl(f"{namespace}:config:test:process:another")
    await redis_client.pexpire(f"{namespace}:config:test:process:another", 1)

    async def forgotten() -> None:
        assert {one.process for one in await config.running()} == {"ours"}

    assert 0 < left <= 15_000
    await eventually(forgotten, seconds=20)


async def test_the_index_of_processes_keeps_no_name_whose_lease_lapsed(
    open_config: Open, redis_client: Redis, namespace: str
) -> None:
    """Processes come and go for years; what is kept of them does not grow."""
    index = f"{namespace}:config:test:running"
    brief = ConfigPolicy(deadline=timedelta(seconds=30), upkeep_every=timedelta(milliseconds=500))
    config = await open_config(process="ours", policy=brief)
    await redis_client.zadd(index, {"killed": 1})

    async def swept() -> None:
        assert await redis_client.zrange(index, 0, -1) == [b"ours"]
        assert 0 < await redis_client.pttl(index) <= 1_500

    await eventually(swept, seconds=20)
    await config.__aexit__(None, None, None)
    assert await redis_client.keys(f"{namespace}:*") == []


async def test_a_process_that_reports_seldom_is_not_forgotten_with_one_that_reports_often(
    open_config: Open, redis_client: Redis, namespace: str
) -> None:
    """Each lease is its own."""
    often = ConfigPolicy(deadline=DEADLINE, upkeep_every=timedelta(milliseconds=20))
    seldom = await open_config(process="seldom", policy=ConfigPolicy(upkeep_every=timedelta(hours=1)))

    async def reported(names: set[str]) -> None:
        assert {one.process for one in await seldom.running()} == names

    await eventually(lambda: reported({"seldom"}), seconds=20)
    await open_config(process="often", policy=often)
    await eventually(lambda: reported({"seldom", "often"}), seconds=20)

    assert await redis_client.pttl(f"{namespace}:config:test:running") > 60_000


@pytest.fixture
async def private_client(private_redis: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of a Redis that the test may restart."""
    async with private_redis.endpoint.client() as client:
        yield client


async def test_after_redis_was_restarted_a_change_is_announced_again(
    private_client: Redis, private_redis: PrivateRedis, open_config: Open
) -> None:
    """It is heard, and not found by a poll minutes later."""
    writing, reading = [await open_config(redis=private_client) for _ in range(2)]
    await writing.commit(Edit(set={"retries": 8}), base=0, **SIGNED)
    await reaches(reading, 1)

    await private_redis.restart()

    await listens(reading)
    await writing.commit(Edit(set={"retries": 9}), base=1, **SIGNED)
    await reaches(reading, 2)


@pytest.fixture
async def narrow_engine(postgres_endpoint: PostgresEndpoint) -> AsyncIterator[AsyncEngine]:
    """An engine that lends one connection at a time."""
    engine = create_async_engine(postgres_endpoint.url(), pool_size=1, max_overflow=0)
    yield engine
    await engine.dispose()


async def test_a_process_that_follows_keeps_no_connection_of_the_pool(
    narrow_engine: AsyncEngine, open_config: Open
) -> None:
    """A service with one connection for its requests still follows its settings, and changes them."""
    config = await open_config(engine=narrow_engine, policy=ConfigPolicy(deadline=DEADLINE))
    await config.refresh()

    async with narrow_engine.connect():
        await config.refresh()
    await config.commit(Edit(set={"retries": 8}), base=0, **SIGNED)

    assert config.version == 1


async def test_many_may_refresh_at_once(open_config: Open) -> None:
    """Who asks for the newest settings waits for nobody's error."""
    writing, reading = await open_config(), await open_config()
    await writing.commit(Edit(set={"retries": 8}), base=0, **SIGNED)

    await asyncio.gather(*(reading.refresh() for _ in range(20)))

    assert reading.version == 1


async def test_what_is_told_of_a_change_and_fails_hinders_nobody(
    open_config: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip in one part of a program keeps no change from the others, and shows no value in a log."""
    writing, reading = await open_config(), await open_config()
    told: list[int] = []

    def slip() -> None:
        raise ValueError("open sesame")

    for config in (writing, reading):
        config.on_change(slip)
    writing.on_change(lambda: told.append(writing.version))

    await writing.commit(Edit(set={"retries": 8}), base=0, **SIGNED)
    await reaches(reading, 1)

    assert told == [1]
    assert "ValueError" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_block_is_entered_once_at_a_time(config: ConfigService[Shop]) -> None:
    """Two owners of one service would each end it for the other."""
    with pytest.raises(RuntimeError, match="entered already"):
        await config.__aenter__()

    await config.__aexit__(None, None, None)
    async with config:
        assert config.health().listening


@pytest.mark.parametrize(
    "times", [40, pytest.param(2_000, marks=[pytest.mark.soak, pytest.mark.timeout(1_800)])]
)
async def test_a_block_ends_at_whatever_moment(
    engine: AsyncEngine, redis_client: Redis, namespace: str, times: int, rng: Random
) -> None:
    """A deployment ends its processes while they connect, read and report, and waits for none of them."""
    busy = timedelta(milliseconds=1)
    policy = ConfigPolicy(deadline=timedelta(seconds=30), poll_every=busy, upkeep_every=busy)

    for _ in range(times):
        config = ConfigService(
            Shop,
            environment=Environment.TEST,
            engine=engine,
            redis=redis_client,
            namespace=namespace,
            policy=policy,
        )
        async with within(seconds=30), config:
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)

    assert await redis_client.keys(f"{namespace}:*") == []


class Silent:
    """A channel on which nothing is said."""

    async def listen(self, heard: Callable[[int | None], None], *, silence: timedelta) -> None:
        """Confirm, and say nothing."""
        heard(None)
        await asyncio.Event().wait()


async def read_twice(error: BaseException, poll_every: timedelta) -> None:
    """Follow until PostgreSQL was read a second time, where the first time ends in *error*."""
    again, asked = asyncio.Event(), []

    async def refresh() -> None:
        asked.append(len(asked))
        if len(asked) == 1:
            raise error
        again.set()

    async def nothing() -> None:
        pass

    follower = Follower(
        Silent(), version=lambda: 0, refresh=refresh, poll_every=poll_every, upkeep=nothing,
        upkeep_every=timedelta(hours=1),
    )  # fmt: skip
    await follower.start(patience=timedelta(seconds=30))
    async with within(seconds=30):
        await again.wait()
    await follower.stop()


async def test_what_was_announced_during_an_outage_is_read_once_it_is_over() -> None:
    """An announcement that could not be followed at once is not forgotten: the next poll is an hour away."""
    await read_twice(StoreUnavailable("PostgreSQL"), timedelta(hours=1))


async def test_what_a_driver_gives_up_ends_no_following(caplog: pytest.LogCaptureFixture) -> None:
    """A process whose settings stood still without a word would be found by its users."""
    await read_twice(asyncio.CancelledError(), timedelta(milliseconds=1))

    assert "CancelledError" in caplog.text


async def test_another_installation_is_not_heard(open_config: Open, namespace: str) -> None:
    """A change that comes after theirs is the first one we see."""
    ours, reading, theirs = (
        await open_config(),
        await open_config(),
        await open_config(namespace=f"{namespace}:other"),
    )

    await theirs.commit(Edit(set={"retries": 1}), base=0, **SIGNED)
    await ours.commit(Edit(set={"retries": 2}), base=0, **SIGNED)
    await reaches(reading, 1)

    assert (reading.current.retries, theirs.current.retries) == (2, 1)
