"""Whatever fails in the middle of a run, the screen shows every step once and in order, or says what is missing."""

import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    PrivateRedis,
    RedisEndpoint,
    Reset,
    ServiceLink,
    Tier,
    business_value,
    within,
)
from netra_fixtures.faults import Fault
from netra_sessions import HistoryPolicy, Publisher, RealtimeClient, StoreUnavailable
from netra_sessions.events import START, Gap, order

pytestmark = [
    business_value(
        tier=Tier.FREE,
        goals={Goal.STABILITY, Goal.RETENTION},
        impact="a deployment or a crash is no lost result",
    ),
    pytest.mark.timeout(1_800),
]

Open = Callable[..., Awaitable[Any]]
Disturbance = Callable[[], Awaitable[None]]
EVENTS, SCREENS = 40, 3
POINTS = pytest.mark.parametrize("points", [1, pytest.param(60, marks=pytest.mark.soak)])


async def publish(publisher: Publisher, user: str, number: int) -> None:
    """Publish an event as a producer that keeps its events until they are taken does."""
    while True:
        try:
            data = {"agent": "triage", "thought": f"{number}"}
            await publisher.emit("agent_thinking", user=user, run="r", event_id=f"{number}", data=data)
            return
        except StoreUnavailable:
            continue


async def watched(client: RealtimeClient) -> list[int | Gap]:
    """Look on until the last event."""
    seen: list[int | Gap] = []
    while not seen or seen[-1] != EVENTS - 1:
        event = await client.next()
        seen.append(event if isinstance(event, Gap) else int(event.event_id))
    return seen


async def disturbed(
    publisher: Publisher, user: str, clients: list[RealtimeClient], at: int, disturb: Disturbance
) -> list[list[int | Gap]]:
    """Publish a run's events, let *disturb* happen amid all but the last, and return what each screen showed."""

    async def run() -> None:
        async with asyncio.TaskGroup() as meanwhile:
            for number in range(EVENTS - 1):
                if number == at:
                    meanwhile.create_task(disturb())
                await publish(publisher, user, number)
        await publish(publisher, user, EVENTS - 1)

    async with within(seconds=40), asyncio.TaskGroup() as tasks:
        screens = [tasks.create_task(watched(client)) for client in clients]
        tasks.create_task(run())
    return [screen.result() for screen in screens]


def silent_holes(seen: list[int | Gap]) -> list[tuple[int, int]]:
    """Find the places where something is missing, repeated or out of order and no gap was told."""
    holes, last, told = [], -1, False
    for one in seen:
        if isinstance(one, Gap):
            told = True
            continue
        if one <= last or (one != last + 1 and not told):
            holes.append((last, one))
        last, told = one, False
    return holes


@POINTS
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
async def test_a_gateway_that_ends_costs_no_event(
    start_gateway: Open, sign_in: Open, watch: Open, publisher: Publisher, rng: random.Random,
    how: signal.Signals, points: int,
) -> None:  # fmt: skip
    """Servers are replaced and crash in the middle of runs; the screens move to another one and go on."""
    for point in range(points):
        user = f"user{point}"
        first, second = await asyncio.gather(start_gateway(), start_gateway())
        signed_in = await sign_in(user)
        clients = [await watch([first.uri, second.uri], signed_in) for _ in range(SCREENS)]
        log: list[dict[str, Any]] = []

        async def end(gateway: Any = first, log: list[dict[str, Any]] = log) -> None:
            log.extend(await gateway.end(how))

        seen = await disturbed(publisher, user, clients, rng.randrange(1, EVENTS - 1), end)

        assert seen == [list(range(EVENTS))] * SCREENS
        if how is signal.SIGTERM:
            assert [line["event"] for line in log] == ["draining", "stopped"]
            assert first.process.returncode == 0
        await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))
        await second.end(signal.SIGKILL)


@POINTS
@pytest.mark.parametrize("fault", [Reset(), Cut(), HalfOpen()], ids=lambda fault: type(fault).__name__)
async def test_a_screen_that_is_cut_off_misses_nothing(
    open_gateway: Open, sign_in: Open, watch: Open, publisher: Publisher, rng: random.Random, fault: Fault,
    points: int,
) -> None:  # fmt: skip
    """A train in a tunnel is not the end of a run."""
    beat = timedelta(milliseconds=200)
    gateway = await open_gateway(heartbeat=beat)
    for point in range(points):
        user = f"user{point}"
        signed_in = await sign_in(user)
        clients = [await watch(gateway.uri, signed_in, heartbeat=beat) for _ in range(SCREENS)]

        async def cut() -> None:
            async with gateway.link.fault(fault):
                await asyncio.sleep(rng.uniform(0, 0.3))

        seen = await disturbed(publisher, user, clients, rng.randrange(1, EVENTS - 1), cut)

        assert seen == [list(range(EVENTS))] * SCREENS


@POINTS
@pytest.mark.parametrize("fault", [Reset(), Cut(), HalfOpen()], ids=lambda fault: type(fault).__name__)
async def test_a_gateway_that_loses_redis_makes_up_for_it(
    linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint], open_gateway: Open, sign_in: Open, watch: Open,
    publisher: Publisher, rng: random.Random, fault: Fault, points: int,
) -> None:  # fmt: skip
    """An announcement that got lost is found in the history, and the screens stay connected meanwhile."""
    gateway = await open_gateway(
        redis=linked_redis,
        deadline=timedelta(milliseconds=300),
        history=HistoryPolicy(deadline=timedelta(seconds=2)),  # a busy machine is no outage
    )
    for point in range(points):
        user = f"user{point}"
        signed_in = await sign_in(user)
        clients = [await watch(gateway.uri, signed_in) for _ in range(SCREENS)]

        async def cut() -> None:
            async with redis_link.fault(fault):
                await asyncio.sleep(rng.uniform(0, 0.3))

        seen = await disturbed(publisher, user, clients, rng.randrange(1, EVENTS - 1), cut)

        assert seen == [list(range(EVENTS))] * SCREENS


@POINTS
@pytest.mark.parametrize("how", ["restarted", "killed", "flushed", "back with an old snapshot"])
async def test_redis_is_lost_in_the_middle_of_a_run(
    private_redis: PrivateRedis, own_redis: Redis, namespace: str, open_gateway: Open, sign_in: Open,
    watch: Open, rng: random.Random, how: str, points: int,
) -> None:  # fmt: skip
    """Where Redis kept its memory nothing is missing; where it lost it, the screen is told so, and only then."""
    gateway = await open_gateway(redis=own_redis)
    policy = HistoryPolicy(deadline=timedelta(seconds=10))
    async with Publisher(redis=own_redis, namespace=namespace, policy=policy) as publisher:
        for point in range(points):
            user = f"user{point}"
            signed_in = await sign_in(user)
            clients = [await watch(gateway.uri, signed_in) for _ in range(SCREENS)]

            async def lose() -> None:
                if how == "restarted":
                    await own_redis.config_set("save", "3600 1")  # so that it saves when told to end
                    await private_redis.restart(keep=True)
                elif how == "flushed":
                    await private_redis.flush()
                else:
                    if how.endswith("snapshot"):
                        await own_redis.save()
                        await asyncio.sleep(rng.uniform(0, 0.02))
                    await private_redis.kill()
                    await private_redis.start()
                    loaded = (await own_redis.info("persistence"))["rdb_last_load_keys_loaded"]
                    assert bool(loaded) is how.endswith("snapshot")

            seen = await disturbed(publisher, user, clients, rng.randrange(1, EVENTS - 1), lose)

            for screen in seen:
                assert silent_holes(screen) == []
                if how == "restarted":
                    assert screen == list(range(EVENTS))


async def test_a_gap_that_is_told_is_real(
    gateway: Any, sign_in: Open, watch: Open, redis_client: Redis, namespace: str
) -> None:
    """Who was away too long is told from where to where, and gets all that is left; others are told of no gap."""
    signed_in = await sign_in("alice")
    short = HistoryPolicy(events_kept=10, deadline=timedelta(seconds=10))
    async with (
        Publisher(redis=redis_client, namespace=namespace, policy=short) as publisher,
        within(seconds=30),
    ):
        told = []
        for number in range(25):
            data = {"agent": "triage"}
            event = await publisher.publish(
                "agent_started", user="alice", run="r", event_id=f"{number}", data=data
            )
            told.append(event.id)

        away = await watch(gateway.uri, signed_in, after=told[3])
        just_in_time = await watch(gateway.uri, signed_in, after=told[14])
        from_the_start = await watch(gateway.uri, signed_in, after=START)
        first = [await client.next() for client in (away, just_in_time, from_the_start)]
        rest = [[(await client.next()) for _ in range(9)] for client in (away, just_in_time, from_the_start)]

    assert first[0] == Gap(after=told[3], before=told[15], at=told[14])
    assert not isinstance(first[1], Gap)
    assert (first[1].id, [event.id for event in rest[1]]) == (told[15], told[16:])
    assert first[2] == Gap(after=START, before=told[15], at=told[14])
    assert [event.id for event in rest[0]] == told[15:24]


async def test_a_lost_announcement_is_made_up_for_by_the_next(
    gateway: Any, sign_in: Open, publisher: Publisher, redis_client: Redis, namespace: str
) -> None:
    """Each event names the one before it, so one that nobody announced is noticed by the gateway itself."""
    bearer = {"Authorization": f"Bearer {(await sign_in('alice')).token}"}
    async with within(seconds=20), connect(gateway.uri, additional_headers=bearer) as socket:
        await socket.recv()
        await publish(publisher, "alice", 0)
        first = json.loads(await socket.recv())
        [(_, fields)] = await redis_client.xrange(f"{namespace}:events:alice")
        unheard = await redis_client.xadd(
            f"{namespace}:events:alice",
            {
                "previous": first["id"],
                "sequence": 2,
                "event_id": "unheard",
                "body": fields[b"body"].replace(b'"event_id":"0"', b'"event_id":"unheard"'),
            },
        )
        await publish(publisher, "alice", 1)
        seen = [json.loads(await socket.recv()) for _ in range(2)]

    assert [event["event_id"] for event in seen] == ["unheard", "1"]
    assert seen[0]["id"] == unheard.decode()


async def test_a_clock_that_was_set_back_over_a_loss_hides_nothing(
    gateway: Any, sign_in: Open, watch: Open, publisher: Publisher, redis_client: Redis, namespace: str
) -> None:
    """A server that takes over with a slower clock writes positions of the past, and the screen goes on from there."""
    screen = await watch(gateway.uri, await sign_in("alice"))
    key = f"{namespace}:events:alice"
    body = (
        b'"kind":"agent_started","event_id":"ahead","user":"alice","run":"r","time":0,"data":{"agent":"a"}}'
    )
    fields = {"previous": screen.position, "sequence": 1, "event_id": "ahead", "body": body}
    await redis_client.xadd(key, fields, id="9999999999999-7")  # type: ignore[arg-type]
    async with within(seconds=20):
        await publish(publisher, "alice", 0)
        seen = [await screen.next() for _ in range(2)]
        await redis_client.delete(key, f"{namespace}:event-ids:alice")
        async with Publisher(redis=redis_client, namespace=namespace) as newcomer:  # knows of no position
            await publish(newcomer, "alice", 1)
            seen.append(await screen.next())
            await publish(newcomer, "alice", 2)
        while getattr(seen[-1], "event_id", None) != "2":
            seen.append(await screen.next())

    assert [event.event_id for event in seen if not isinstance(event, Gap)] == ["ahead", "0", "2"]
    assert isinstance(seen[2], Gap)


async def test_what_an_old_snapshot_does_not_know_is_told_to_those_who_never_saw_it(
    gateway: Any, sign_in: Open, watch: Open, publisher: Publisher, redis_client: Redis, namespace: str
) -> None:
    """An event that Redis took, and lost before it was seen, is no silent hole: its producer remembers it."""
    key = f"{namespace}:events:alice"
    await publish(publisher, "alice", 0)
    snapshot = await redis_client.dump(key)
    assert snapshot is not None
    [(seen_last, _)] = await redis_client.xrange(key)
    await publish(publisher, "alice", 1)
    await redis_client.restore(key, 0, snapshot, replace=True)  # type: ignore[arg-type]
    await publish(publisher, "alice", 2)

    screen = await watch(gateway.uri, await sign_in("alice"), after=seen_last.decode())
    async with within(seconds=10):
        seen = [await screen.next() for _ in range(2)]

    assert isinstance(seen[0], Gap)
    assert (seen[0].after, seen[1].event_id) == (seen_last.decode(), "2")


@pytest.mark.parametrize("published", [0, 1], ids=["where nothing was yet", "where something was"])
async def test_who_wants_all_is_told_when_the_beginning_is_another_one(
    gateway: Any, sign_in: Open, watch: Open, publisher: Publisher, redis_client: Redis, namespace: str,
    published: int,
) -> None:  # fmt: skip
    """A screen that waits for a user's first step, or shows it, notices when Redis forgot what came before another."""
    signed_in = await sign_in("alice")
    for number in range(published):
        await publish(publisher, "alice", number)
    first = await watch(gateway.uri, signed_in, after=START)
    await first.__aexit__(None, None, None)
    await publish(publisher, "alice", 1)
    await redis_client.delete(*await redis_client.keys(f"{namespace}:event*"))
    await publish(publisher, "alice", 2)

    again = await watch(gateway.uri, signed_in, after=first.position)
    async with within(seconds=10):
        seen = [await again.next() for _ in range(2)]

    assert isinstance(seen[0], Gap)
    assert seen[1].event_id == "2"


async def test_a_beginning_is_known_by_the_redis_that_held_it(
    gateway: Any, sign_in: Open, watch: Open, publisher: Publisher, redis_client: Redis, namespace: str
) -> None:
    """A user's first event, lost with Redis before it was seen, is told as well."""
    screen = await watch(gateway.uri, await sign_in("alice"))
    await redis_client.delete(*await redis_client.keys(f"{namespace}:events*"))
    await publish(publisher, "alice", 1)

    async with within(seconds=10):
        seen = [await screen.next() for _ in range(2)]

    assert isinstance(seen[0], Gap)
    assert seen[1].event_id == "1"


async def test_who_asks_for_all_that_is_kept_gets_it(
    gateway: Any, sign_in: Open, watch: Open, publisher: Publisher
) -> None:
    """A screen that is opened late shows the run from its first step."""
    signed_in = await sign_in("alice")
    early = await watch(gateway.uri, signed_in, after=START)
    await publish(publisher, "alice", 0)
    await publish(publisher, "alice", 1)

    async with within(seconds=10):
        late = await watch(gateway.uri, signed_in, after=START)
        seen = [[(await screen.next()).event_id for _ in range(2)] for screen in (early, late)]

    assert seen == [["0", "1"], ["0", "1"]]


async def test_redis_forgets_and_another_producer_writes_behind_what_was_seen(
    gateway: Any, sign_in: Open, watch: Open, publisher: Publisher, redis_client: Redis, namespace: str
) -> None:
    """Redis lost its memory and, within the millisecond or with its clock set back, gave a lower position."""
    screen = await watch(gateway.uri, await sign_in("alice"))
    await publish(publisher, "alice", 0)
    history = f"{namespace}:events:alice"
    async with within(seconds=20):
        seen = await screen.next()
        assert not isinstance(seen, Gap)
        [(_, fields)] = await redis_client.xrange(history)
        await redis_client.delete(history, f"{namespace}:events-begin", f"{namespace}:event-ids:alice")
        unheard = {"previous": "0-7", "sequence": 1, "event_id": "1", "body": fields[b"body"]}
        await redis_client.xadd(history, unheard, id=f"{int(seen.id.split('-')[0]) - 1}-9")
        await publish(publisher, "alice", 2)
        told, after = await screen.next(), await screen.next()

    assert isinstance(told, Gap)
    assert not isinstance(after, Gap)
    assert (told.after, told.at, after.event_id) == (seen.id, after.previous, "2")


async def test_a_producers_positions_rise_though_redis_forgets_and_its_clock_is_set_back(
    publisher: Publisher, redis_client: Redis, namespace: str
) -> None:
    """A later event of a producer never stands before an earlier one, where a screen would pass over it."""
    history, data = f"{namespace}:events:alice", {"agent": "triage"}
    seconds, _ = await redis_client.time()
    ahead = {"previous": "0-7", "sequence": 1, "event_id": "ahead", "body": "{}"}
    await redis_client.xadd(history, ahead, id=f"{(seconds + 3_600) * 1_000}-5")
    first = await publisher.publish("agent_started", user="alice", run="r", event_id="0", data=data)
    await redis_client.delete(history, f"{namespace}:events-begin", f"{namespace}:event-ids:alice")

    second = await publisher.publish("agent_started", user="alice", run="r", event_id="1", data=data)
    third = await publisher.publish("agent_started", user="alice", run="r", event_id="2", data=data)

    assert order(first.id) < order(second.id) < order(third.id)
