"""Over a slow link everything arrives, in order, and later than it could over a good one."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random

import pytest

from netra_fixtures.faults import Bandwidth, Fault, Jitter, Latency, Link, Passage, SlowClose
from netra_fixtures.waiting import eventually, within

from .lines import FOREVER, Client, Connect, Server, serving

BLINK = timedelta(milliseconds=50)


@pytest.mark.parametrize("when", ["before", "during"])
async def test_latency_holds_back_what_is_said_to_the_server(
    when: str, server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """What is said later over a link without it arrives first, on connections old and new."""
    far = await connect(link.endpoint)
    assert await far.is_answered()
    assert await server.heard.get() == "hello"

    async with within(seconds=10):
        async with link.fault(FOREVER):
            if when == "during":
                far = await connect(link.endpoint)
            await far.say("first")
            for line in ("second", "third"):
                await near.say(line)
                assert await near.hears() == line
        heard = [await server.heard.get() for _ in range(3)]

    assert heard == ["second", "third", "first"]


async def test_latency_holds_back_what_the_server_says(
    server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """A late answer is as common as a late question."""
    assert await near.is_answered()
    far = await connect(link.endpoint)
    assert await far.is_answered()

    async with within(seconds=10), asyncio.TaskGroup() as listeners:
        listening = listeners.create_task(far.hears())
        async with link.fault(FOREVER):
            server.writers[-1].write(b"first\n")
            for _ in range(2):
                assert await near.is_answered()
            came_early = listening.done()
        heard = await listening

    assert not came_early
    assert heard == "first"


@pytest.mark.parametrize(
    "faults",
    [
        [Latency(BLINK)],
        [Jitter(BLINK)],
        [Latency(BLINK), Jitter(BLINK), Bandwidth(1_000_000)],
        [Bandwidth(1_000_000), SlowClose(BLINK), Latency(BLINK)],
    ],
    ids=lambda faults: "+".join(type(fault).__name__ for fault in faults),
)
async def test_delays_end_by_themselves_and_do_not_add_up(
    faults: list[Fault], link: Link, connect: Connect
) -> None:
    """A thousand lines under way at once are late once, in order, and not a thousand times."""
    client = await connect(link.endpoint)
    assert await client.is_answered()
    lines = [str(number) for number in range(1000)]

    async with within(seconds=10), AsyncExitStack() as stack:
        for fault in faults:
            await stack.enter_async_context(link.fault(fault))
        for line in lines:
            await client.say(line)
            await asyncio.sleep(0)  # so that the link meets many pieces: 50 ms each would take the deadline
        heard = [await client.hears() for _ in lines]

    assert heard == lines


async def test_latency_is_for_each_direction(link: Link, connect: Connect) -> None:
    """An answer can't be back before both ways were gone."""
    client = await connect(link.endpoint)
    assert await client.is_answered()

    async with link.fault(Latency(timedelta(milliseconds=100))):
        asked = _now()
        assert await client.is_answered()

        assert _now() - asked >= 0.2


async def test_jitter_delays_each_piece_by_a_time_of_its_own(link: Link, connect: Connect) -> None:
    """A client that copes with a steady delay may still fail where each answer takes another time."""
    told: list[tuple[float, float]] = []
    heard: list[float] = []

    class Watching(Fault):
        def due(self, at: float, passage: Passage) -> float:
            told.append((at, _now()))
            return at

    client = await connect(link.endpoint)
    async with link.fault(Jitter(BLINK)), link.fault(Watching()):
        for _ in range(10):
            assert await client.is_answered()
            heard.append(_now())

    answers = told[1::2]
    assert len(told) == 20
    assert all(heard >= due for heard, (due, _) in zip(heard, answers, strict=True))
    assert len({round(due - looked_at, 3) for due, looked_at in told}) > 5


def test_jitter_is_spread_evenly_up_to_its_limit() -> None:
    """Who reads the documentation knows what to expect."""
    jitter = Jitter(timedelta(seconds=2))
    passages = [Passage(1, ends=False, previous=0, chance=_chance(number)) for number in range(2000)]

    delays = sorted(jitter.due(10, passage) - 10 for passage in passages)

    assert delays[0] >= 0
    assert delays[-1] <= 2
    assert all(abs(delays[place] - place / 1000) < 0.1 for place in range(0, 2000, 100))


@pytest.mark.parametrize("direction", ["to server", "to client"])
async def test_bandwidth_limits_each_direction(direction: str, connect: Connect) -> None:
    """Bytes can't arrive sooner than their number allows."""
    arrived: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
    data = bytes(30_000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if direction == "to client":
            writer.write(data)
        else:
            arrived.put_nowait((len(await reader.readexactly(30_000)), _now()))

    async with (
        serving(talk) as address,
        Link(address, seed=1) as link,
        within(seconds=20),
        link.fault(Bandwidth(100_000)),
    ):
        began = _now()
        client = await connect(link.endpoint)
        if direction == "to server":
            client.writer.write(data)
            size, at = await arrived.get()
        else:
            size, at = len(await client.reader.readexactly(30_000)), _now()

    assert size == 30_000
    assert at - began >= 0.3


@pytest.mark.parametrize(
    "limits", [(10,), (10, 10**9), (10**9, 10)], ids=["one", "lower first", "lower last"]
)
async def test_bytes_trickle_over_a_thin_line(limits: tuple[int, ...], connect: Connect) -> None:
    """The first byte is there minutes before the last; of two limits the lower holds."""
    first: asyncio.Queue[bytes] = asyncio.Queue()
    rest: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready\n")
        first.put_nowait(await reader.readexactly(1))
        rest.put_nowait(await reader.readexactly(3599))

    async with serving(talk) as address, Link(address, seed=1) as link, within(seconds=20):
        client = await connect(link.endpoint)
        assert await client.hears() == "ready"
        async with AsyncExitStack() as stack:
            for limit in limits:
                await stack.enter_async_context(link.fault(Bandwidth(limit)))
            client.writer.write(bytes(3600))
            await first.get()
            came_with_the_first = rest.qsize()
        await rest.get()

    assert not came_with_the_first


async def test_a_limit_holds_for_what_is_under_way_when_it_is_set(connect: Connect) -> None:
    """A line that turns thin is thin for all that has not arrived yet."""
    arrived: asyncio.Queue[float] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready\n")
        await reader.readexactly(30_000)
        arrived.put_nowait(_now())

    async with serving(talk) as address, Link(address, seed=1) as link, AsyncExitStack() as stack:
        client = await connect(link.endpoint)
        assert await client.hears() == "ready"
        async with within(seconds=20), link.fault(Bandwidth(100_000)):
            await stack.enter_async_context(link.fault(FOREVER))
            client.writer.write(bytes(30_000))
            await asyncio.sleep(0.5)  # in which 50,000 bytes could pass, were they not held back
            left = _now()
            await stack.aclose()

            assert await arrived.get() - left >= 0.3


async def test_a_slow_close_holds_back_the_end_and_nothing_else(
    server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """Words arrive at once, and the other side believes long after that somebody is there."""
    clients = []
    for _ in range(3):
        clients.append(await connect(link.endpoint))
        assert await clients[-1].is_answered()
    leaving, breaking, left = clients

    async with within(seconds=10):
        async with link.fault(SlowClose(timedelta(hours=1))):
            await leaving.say("last words")
            assert await leaving.hears() == "last words"
            leaving.writer.write_eof()
            breaking.break_off()
            server.writers[-1].write_eof()
            for _ in range(2):
                assert await near.is_answered()
            endings_meanwhile = server.endings.qsize(), left.reader.at_eof()
        endings = {await server.endings.get() for _ in range(2)}

    assert endings_meanwhile == (0, False)
    assert endings == {"end", "reset"}
    assert await left.ending() == "end"


async def test_a_slow_close_ends_by_itself(server: Server, link: Link, connect: Connect) -> None:
    """The end comes, and not before its time."""
    client = await connect(link.endpoint)
    assert await client.is_answered()

    async with within(seconds=10), link.fault(SlowClose(timedelta(milliseconds=200))):
        closed = _now()
        client.writer.close()
        ending = await server.endings.get()

        assert _now() - closed >= 0.2
    assert ending == "end"


@pytest.mark.parametrize("fault", [FOREVER, SlowClose(timedelta(hours=1))], ids=["latency", "slow close"])
async def test_that_its_client_is_gone_reaches_a_server_that_still_sends_as_late_as_anything(
    fault: Fault, connect: Connect
) -> None:
    """A failed write must not tell the server at once what the fault holds back."""
    sent: asyncio.Queue[bool] = asyncio.Queue(maxsize=1)  # False once the client is gone

    async def send_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(1000))
                await writer.drain()
                await sent.put(True)
        except ConnectionError:
            await sent.put(False)

    async with serving(send_without_end) as address, Link(address, seed=1) as link, within(seconds=20):
        client = await connect(link.endpoint)
        for _ in range(10):
            await sent.get()
        async with link.fault(fault):
            client.break_off()
            told_meanwhile = [await sent.get() for _ in range(200)].count(False)
        while await sent.get():
            pass

    assert not told_meanwhile


async def test_what_faults_draw_follows_from_the_seed_and_the_place_in_the_conversation(
    server: Server, connect: Connect
) -> None:
    """A failure that chance brought about can be had again, however the machine schedules the run."""

    async def drawn(seed: int, *, looks: int) -> set[float]:
        draws: list[float] = []

        class Drawing(Fault):
            def due(self, at: float, passage: Passage) -> float:
                draws.append(passage.random.random())
                return at

        async with Link(server.address, seed=seed) as link, link.fault(Drawing()):
            for _ in range(2):
                client = await connect(link.endpoint)
                for _ in range(3):
                    async with link.fault(FOREVER):
                        await client.say("hello")
                        for _ in range(looks):  # each time a fault comes or goes
                            async with link.fault(Latency(BLINK)):
                                await _another(draws)
                    assert await client.hears() == "hello"
        return set(draws)

    first, again, other = [await drawn(seed, looks=looks) for seed, looks in ((1, 1), (1, 5), (2, 1))]

    assert first == again
    assert len(first) == 2 * 3 * 2  # a client says and hears each line
    assert not first & other


async def _another(draws: list[float]) -> None:
    number = len(draws)

    async def drawn() -> None:
        assert len(draws) > number

    await eventually(drawn, seconds=10)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _chance(number: int) -> Callable[[], Random]:
    return lambda: Random(number)
