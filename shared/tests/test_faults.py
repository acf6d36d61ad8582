"""A link is spoiled while a fault is entered, and whole again after it."""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from netra_fixtures.faults import (
    Bandwidth,
    Cut,
    Fault,
    HalfOpen,
    Jitter,
    Latency,
    Link,
    Passage,
    Reset,
    SlowClose,
)
from netra_fixtures.waiting import within

from .lines import FOREVER, Client, Connect, Server, free_address, serving

HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=1)
FAULTS = [FOREVER, Jitter(HOUR), Bandwidth(1), SlowClose(HOUR), Cut(), Reset(), HalfOpen()]


async def test_faults_add_up_and_are_left_in_any_order(
    server: Server, link: Link, near: Client, connect: Connect
) -> None:
    """Leaving one fault leaves the others as they are, also two that are equal."""
    far = await connect(link.endpoint)

    async with within(seconds=10), AsyncExitStack() as outer, AsyncExitStack() as inner:
        await outer.enter_async_context(link.fault(FOREVER))
        await inner.enter_async_context(link.fault(FOREVER))
        await far.say("first")
        await outer.aclose()
        for line in ("second", "third"):
            await near.say(line)
            assert await near.hears() == line
        await inner.aclose()
        heard = [await server.heard.get() for _ in range(3)]

    assert heard == ["second", "third", "first"]


@pytest.mark.parametrize(
    ("make", "range_"),
    [
        (lambda: Latency(-MOMENT), "0 or longer, not -0.001 s"),
        (lambda: Jitter(-MOMENT), "0 or longer, not -0.001 s"),
        (lambda: SlowClose(-MOMENT), "0 or longer, not -0.001 s"),
        (lambda: Bandwidth(0), "1 byte a second or more, not 0"),
    ],
    ids=["latency", "jitter", "slow close", "bandwidth"],
)
def test_a_parameter_out_of_range_is_refused_with_the_range(make: Callable[[], Fault], range_: str) -> None:
    """A slip of the sign says so where it was made."""
    with pytest.raises(ValueError, match=range_):
        make()


async def test_a_cut_closes_what_is_open_and_refuses_what_is_new(link: Link, connect: Connect) -> None:
    """A stopped server looks like this, and a started one lets its clients in again."""
    open_before = await connect(link.endpoint)
    assert await open_before.is_answered()

    async with link.fault(Cut()):
        ending = await open_before.ending()
        with pytest.raises(ConnectionRefusedError):
            await connect(link.endpoint)

    assert ending in {"end", "reset"}
    assert await (await connect(link.endpoint)).is_answered()


async def test_overlapping_cuts_refuse_until_the_last_is_left(link: Link, connect: Connect) -> None:
    """The door opens again once nobody keeps it shut."""
    async with link.fault(Cut()):
        async with link.fault(Cut()):
            pass
        with pytest.raises(ConnectionRefusedError):
            await connect(link.endpoint)

    assert await (await connect(link.endpoint)).is_answered()


async def test_a_reset_is_seen_by_both_peers(server: Server, link: Link, connect: Connect) -> None:
    """Neither side may take a broken connection for an orderly end."""
    client = await connect(link.endpoint)
    assert await client.is_answered()

    async with within(seconds=10), link.fault(Reset()):
        endings = (await client.ending(), await server.endings.get())

    assert endings == ("reset", "reset")


async def test_a_reset_meets_new_connections_while_it_lasts(link: Link, connect: Connect) -> None:
    """A client that comes back at once is thrown out again, and let in when it is over."""
    async with link.fault(Reset()):
        thrown_out = await connect(link.endpoint)
        ending = await thrown_out.ending()

    assert ending == "reset"
    assert await (await connect(link.endpoint)).is_answered()


async def test_a_half_open_link_accepts_and_loses_everything(
    server: Server, link: Link, connect: Connect
) -> None:
    """The peer looks alive and hears nothing, not even the end; only a deadline can find out."""
    talking, leaving, direct = [
        await connect(address) for address in (link.endpoint, link.endpoint, server.address)
    ]
    assert await talking.is_answered()
    assert await leaving.is_answered()

    async with within(seconds=10):
        async with link.fault(HalfOpen()):
            new = await connect(link.endpoint)
            await talking.say("lost")
            await new.say("lost")
            server.writers[0].write(b"lost\n")
            leaving.writer.close()
            assert await direct.is_answered()
            endings_meanwhile = server.endings.qsize()
        endings = [
            await talking.ending(),
            await new.ending(),
            await server.endings.get(),
            await server.endings.get(),
        ]

    assert endings_meanwhile == 0
    assert endings == ["reset"] * 4
    assert [server.heard.get_nowait() for _ in range(server.heard.qsize())] == ["hello"] * 3


async def test_after_a_half_open_time_new_connections_work(link: Link, connect: Connect) -> None:
    """Who comes back after the outage is served."""
    async with link.fault(HalfOpen()):
        await (await connect(link.endpoint)).say("lost")

    assert await (await connect(link.endpoint)).is_answered()


async def test_a_half_open_link_hides_that_the_server_is_gone(connect: Connect) -> None:
    """A host that vanished does not even refuse, so the client hears nothing until the fault ends."""
    async with Link(await free_address(), seed=1) as link:
        async with link.fault(HalfOpen()):
            client = await connect(link.endpoint)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.reader.read()

        assert await client.ending() == "reset"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("ending", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_fault_is_gone_when_its_block_fails(
    fault: Fault, ending: type[BaseException], link: Link, connect: Connect
) -> None:
    """A test that fails or is cancelled inside a fault leaves a whole link to what cleans up after it."""
    with pytest.raises(ending):
        async with link.fault(fault):
            raise ending

    assert await (await connect(link.endpoint)).is_answered()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_a_fault_is_gone_when_its_time_is_up(fault: Fault, link: Link, connect: Connect) -> None:
    """A test that hangs inside a fault and is stopped leaves a whole link too."""
    client = await connect(link.endpoint)
    assert await client.is_answered()

    async def hang() -> None:
        async with link.fault(fault):
            with contextlib.suppress(ConnectionError):
                await client.say("is anybody there?")
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hang(), timeout=0.1)

    assert await (await connect(link.endpoint)).is_answered()


async def test_a_fault_of_ones_own_decides_when_bytes_arrive(link: Link, connect: Connect) -> None:
    """What the kit does not bring, such as a close that takes long, is a class of a few lines."""

    class NeverEnding(Fault):
        def due(self, at: float, passage: Passage) -> float:
            return at + 3600 if passage.ends else at

    client = await connect(link.endpoint)
    async with within(seconds=10):
        async with link.fault(NeverEnding()):
            await client.say("last words")
            client.writer.write_eof()
            assert await client.hears() == "last words"
            assert not client.reader.at_eof()
        ending = await client.ending()

    assert ending == "end"


async def test_a_fault_of_ones_own_is_told_when_the_bytes_before_arrived(connect: Connect) -> None:
    """A limit of bytes a second counts from there, however late those bytes were."""
    told: list[float] = []

    class LateStart(Fault):
        def due(self, at: float, passage: Passage) -> float:
            told.append(passage.previous)
            return at if passage.previous else at + 0.05

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready\n")
        heard.put_nowait(await reader.readexactly(12))

    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with serving(listen) as address, Link(address, seed=1) as link, within(seconds=10):
        client = await connect(link.endpoint)
        assert await client.hears() == "ready"
        async with link.fault(LateStart()):
            for word in (b"one ", b"two ", b"six "):
                client.writer.write(word)
                for _ in range(5):  # so that the link meets three pieces
                    await asyncio.sleep(0)
            assert await heard.get() == b"one two six "

    assert len(set(told)) > 1
    assert told == sorted(told)
