"""What was published is kept in order, once, for as long as promised, and nothing else is."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    Latency,
    Link,
    PrivateRedis,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    within,
)
from netra_sessions import EventRefused, HistoryPolicy, Publisher, StoreUnavailable
from netra_sessions.events import GATEWAY_FRAME

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="no step of a user's run is lost or shown twice"
)

OpenPublisher = Callable[..., Publisher]
STARTED: dict[str, Any] = {"agent": "triage"}


@pytest.fixture
async def open_publisher(redis_client: Redis, namespace: str) -> AsyncIterator[OpenPublisher]:
    """Open publishers as producers do, each with a connection of its own."""
    async with AsyncExitStack() as opened:

        def open_one(*, redis: Redis = redis_client, **policy: Any) -> Publisher:
            policy.setdefault("deadline", timedelta(seconds=30))
            publisher = Publisher(redis=redis, namespace=namespace, policy=HistoryPolicy(**policy))
            opened.push_async_callback(publisher.close)
            return publisher

        yield open_one


async def kept(redis: Redis, namespace: str, user: str) -> list[dict[bytes, bytes]]:
    """Read a user's history as an operator would."""
    return [fields for _, fields in await redis.xrange(f"{namespace}:events:{user}")]


async def test_an_event_sent_again_is_kept_once(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str
) -> None:
    """A producer that died before it heard of its success may say it all again."""
    first, second = open_publisher(), open_publisher()
    told = [
        await publisher.publish("agent_started", user="alice", run="r", event_id="1", data=STARTED)
        for publisher in (first, second)
    ]

    assert [one.repeated for one in told] == [False, True]
    assert told[0].id == told[1].id
    assert len(await kept(redis_client, namespace, "alice")) == 1


async def test_events_published_at_once_stand_in_one_chain(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str
) -> None:
    """Each event names the one before it, so that nobody misses one without noticing."""
    publishers = [open_publisher() for _ in range(3)]

    await asyncio.gather(
        *(
            publishers[number % 3].emit(
                "agent_started", user="alice", run="r", event_id=f"{number}", data=STARTED
            )
            for number in range(60)
        )
    )

    found = await redis_client.xrange(f"{namespace}:events:alice")
    ids = [id.decode() for id, _ in found]
    assert [fields[b"previous"].decode() for _, fields in found][1:] == ids[:-1]
    assert found[0][1][b"previous"].startswith(b"0-")
    assert [int(fields[b"sequence"]) for _, fields in found] == list(range(1, 61))


async def test_a_history_is_bounded_and_forgets_what_it_dropped(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str
) -> None:
    """A user who runs agents all year costs no more memory than one who ran ten."""
    publisher = open_publisher(events_kept=10, kept=timedelta(minutes=1))

    for number in range(25):
        await publisher.emit("agent_started", user="alice", run="r", event_id=f"{number}", data=STARTED)

    history = await kept(redis_client, namespace, "alice")
    assert [fields[b"event_id"] for fields in history] == [b"%d" % number for number in range(15, 25)]
    assert await redis_client.hlen(f"{namespace}:event-ids:alice") == 10
    keys = await redis_client.keys(f"{namespace}:*:alice")
    assert all([0 < await redis_client.pttl(key) <= 60_000 for key in keys])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("kind", {"kind": "agent_rested"}),
        ("user", {"user": ""}),
        ("user", {"user": "a\x00b"}),
        ("run", {"run": "\ud800"}),
        ("event_id", {"event_id": "x" * 257}),
        ("data", {"data": {}}),
        ("data", {"data": {"agent": "triage", "x": float("nan")}}),
        ("data", {"data": {"agent": "triage", "x": "\udfff"}}),
        ("data", {"data": {"agent": "triage", "x": "y" * 1_000_000}}),
        ("size", {"data": {"agent": "triage", "x": "y" * 32_600}, "user": "u" * 256}),
    ],
)
async def test_what_is_no_event_is_refused_before_redis_sees_it(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str, part: str, change: dict[str, Any]
) -> None:
    """A screen is never sent what it can't read, and the error doesn't repeat the input."""
    event = {"kind": "agent_started", "user": "alice", "run": "r", "event_id": "1", "data": STARTED, **change}

    with pytest.raises(EventRefused) as refused:
        await open_publisher().publish(event.pop("kind"), **event)

    assert refused.value.part == part
    assert await redis_client.keys(f"{namespace}:*") == []


async def test_naughty_strings_arrive_as_they_were_or_are_refused(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str, naughty: list[str]
) -> None:
    """Whatever a user types into a prompt, the event about it is exact."""
    publisher = open_publisher(events_kept=10_000)
    expected = []
    for number, text in enumerate(naughty):
        data = {"agent": "triage", "thought": text}
        try:
            await publisher.emit("agent_thinking", user="alice", run="r", event_id=f"{number}", data=data)
        except EventRefused:
            assert "\x00" in text or text.encode("utf-8", "replace").decode() != text
        else:
            expected.append(text)

    bodies = [fields[b"body"] for fields in await kept(redis_client, namespace, "alice")]
    assert [json.loads(b"{" + body)["data"]["thought"] for body in bodies] == expected


async def test_what_is_announced_is_what_is_kept(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str
) -> None:
    """Who hears an event and who reads it later see the same one, valid by the contract."""
    async with redis_client.pubsub() as channel, within(seconds=10):
        await channel.subscribe(f"{namespace}:events:alice")
        await channel.get_message(timeout=None)
        told = await open_publisher().publish(
            "agent_failed", user="alice", run="r", event_id="1", data={"agent": "triage", "error": "no bills"}
        )
        message = await channel.get_message(timeout=None)

    assert message is not None
    event = GATEWAY_FRAME.validate_json(message["data"])
    assert (event.id, event.sequence, event.kind, event.data.error) == (
        told.id,
        1,
        "agent_failed",
        "no bills",
    )


@pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])
async def test_a_producer_is_told_in_time_that_redis_is_away(
    open_publisher: OpenPublisher,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    fault: Cut | HalfOpen,
) -> None:
    """A run does not stand still because its events can't be told."""
    publisher = open_publisher(redis=linked_redis, deadline=timedelta(seconds=2))
    await publisher.emit("agent_started", user="alice", run="r", event_id="1", data=STARTED)

    async with redis_link.fault(fault), within(seconds=20):
        with pytest.raises(StoreUnavailable):
            await publisher.emit("agent_started", user="alice", run="r", event_id="2", data=STARTED)

    assert not (
        await publisher.publish("agent_completed", user="alice", run="r", event_id="3", data=STARTED)
    ).repeated


async def test_all_that_publishing_asks_of_redis_ends_by_one_deadline(
    open_publisher: OpenPublisher, private_redis: PrivateRedis, own_redis: Redis, rng: random.Random
) -> None:
    """Where Redis is far away and has forgotten the script, a run waits no longer than it was told it might."""
    async with (
        Link(private_redis.endpoint.target, seed=rng.getrandbits(32)) as link,
        private_redis.endpoint.at(*link.endpoint).client() as far,
    ):
        publisher = open_publisher(redis=far, deadline=timedelta(seconds=2))
        await publisher.emit("agent_started", user="alice", run="r", event_id="1", data=STARTED)
        await own_redis.script_flush()  # of a server that nobody else can tell the script again

        async with link.fault(Latency(timedelta(milliseconds=400))), within(seconds=30):
            told = await asyncio.gather(
                *(
                    publisher.emit("agent_started", user="alice", run="r", event_id=event_id, data=STARTED)
                    for event_id in ("2", "3")
                ),
                return_exceptions=True,
            )

    assert StoreUnavailable in map(type, told)  # one waits for the other, and would take three times 800 ms


async def test_a_restart_of_redis_costs_a_producer_nothing_but_time(
    open_publisher: OpenPublisher, private_redis: PrivateRedis, own_redis: Redis, namespace: str
) -> None:
    """An operator restarts Redis in office hours and no run notices; the chain goes on where it was."""
    publisher = open_publisher(redis=own_redis)
    first = await publisher.publish("agent_started", user="alice", run="r", event_id="1", data=STARTED)

    await private_redis.restart(keep=True)
    await publisher.publish("agent_completed", user="alice", run="r", event_id="2", data=STARTED)

    history = await kept(own_redis, namespace, "alice")
    assert history[1][b"previous"].decode() == first.id
    assert [fields[b"event_id"] for fields in history] == [b"1", b"2"]


async def test_no_position_comes_twice_though_redis_forgot_the_first(
    open_publisher: OpenPublisher, redis_client: Redis, namespace: str
) -> None:
    """An event that takes the place of a forgotten one would be taken for it, and never be shown."""
    publisher = open_publisher()
    numbers = []
    for number in range(20):
        told = await publisher.publish(
            "agent_started", user="alice", run="r", event_id=f"{number}", data=STARTED
        )
        numbers.append(told.id.split("-")[1])
        await redis_client.delete(*await redis_client.keys(f"{namespace}:event*"))

    assert len(set(numbers)) == 20
