"""A screen trusts no gateway blindly: what it is sent has to follow what it has."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve

from netra_fixtures import Goal, Tier, WebSocketLinkFactory, business_value, within
from netra_sessions import ClientPolicy, RealtimeClient
from netra_sessions.events import Connected

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="a faulty server on the way hides no step of a run"
)


def event(number: int, *, event_id: str | None = None, kind: str = "agent_started") -> str:
    """Write the event at place *number*, which follows the one before it."""
    return json.dumps(
        {
            "id": f"{number}-0", "previous": f"{number - 1}-0", "sequence": number + 1, "run": "r",
            "event_id": event_id or f"{number}", "user": "alice", "time": "2026-01-01T00:00:00Z", "kind": kind,
            "data": {"agent": "triage"},
        }
    )  # fmt: skip


async def shown(
    websocket_link: WebSocketLinkFactory, told: list[list[str]], count: int
) -> tuple[list[str], Any]:
    """Let a server tell each connection in turn its frames; return what a screen shows and what it asked for."""
    asked: list[str] = []

    async def tell(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(urlsplit(connection.request.path).query)
        await connection.send(Connected(connection="c", at="0-0").model_dump_json())
        for frame in told[min(len(asked), len(told)) - 1]:
            await connection.send(frame)
        await connection.wait_closed()

    async with (
        serve(tell, "127.0.0.1", 0, subprotocols=["netra.events.v1"]) as server,  # type: ignore[list-item]
        websocket_link(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/events") as link,
        RealtimeClient(link.uri, lambda: "token", policy=ClientPolicy(event_limit_bytes=4_096)) as client,
        within(seconds=20),
    ):
        seen = [await client.next() for _ in range(count)]
    return [getattr(one, "event_id", "gap") for one in seen], asked


async def test_an_event_that_is_left_out_is_asked_for(websocket_link: WebSocketLinkFactory) -> None:
    """The screen sees that something is missing, and connects again to get it."""
    seen, asked = await shown(websocket_link, [[event(1), event(3)], [event(2), event(3)]], 3)

    assert seen == ["1", "2", "3"]
    assert asked == ["", "after=1-0"]


async def test_what_was_shown_is_not_shown_again(websocket_link: WebSocketLinkFactory) -> None:
    """A place that was passed, and an event that its producer sent twice, are passed over."""
    frames = [event(1), event(2), event(1), event(2), event(3, event_id="1"), event(4)]

    seen, _ = await shown(websocket_link, [frames], 3)

    assert seen == ["1", "2", "4"]


async def test_a_kind_that_came_later_is_passed_over_but_not_its_place(
    websocket_link: WebSocketLinkFactory,
) -> None:
    """A screen of last year goes on working when there is more to tell."""
    seen, asked = await shown(websocket_link, [[event(1), event(2, kind="agent_rested"), event(3)]], 2)

    assert (seen, len(asked)) == (["1", "3"], 1)


async def test_a_gateway_that_talks_nonsense_is_left_for_one_that_does_not(
    websocket_link: WebSocketLinkFactory,
) -> None:
    """What can't be read is no event, and a frame that is too large is not held in memory."""
    seen, asked = await shown(websocket_link, [["{", "[]", "x" * 100_000], [event(1)]], 1)

    assert (seen, asked) == (["1"], ["", "after=0-0"])


async def test_a_place_that_can_not_be_is_passed_over(websocket_link: WebSocketLinkFactory) -> None:
    """A number too large to be a place in a history ends no screen."""
    beyond = event(2, event_id="beyond").replace('"2-0"', f'"{2**64}-0"')

    seen, _ = await shown(websocket_link, [[event(1), beyond, event(2)]], 2)

    assert seen == ["1", "2"]


@pytest.mark.parametrize("after", ["", "yesterday", f"{2**64}-0"])
def test_a_place_to_begin_after_is_checked_at_once(after: str) -> None:
    """A mistake in a program shows when it is made, not as a screen that stays blank for ever."""
    with pytest.raises(ValueError, match="a position"):
        RealtimeClient("ws://127.0.0.1:1/events", lambda: "token", after=after)


@pytest.mark.parametrize("uris", ["", "http://127.0.0.1/events", ("ws://127.0.0.1:1/events", "nowhere"), ()])
def test_an_address_is_checked_at_once(uris: Any) -> None:
    """The address of a gateway that never was is no gateway that is down."""
    with pytest.raises(ValueError, match="address"):
        RealtimeClient(uris, lambda: "token")


async def test_a_server_that_greets_and_hangs_up_is_asked_less_and_less(
    websocket_link: WebSocketLinkFactory,
) -> None:
    """A server in trouble is not kept there by its own clients."""
    greeted = 0

    async def hang_up(connection: ServerConnection) -> None:
        nonlocal greeted
        greeted += 1
        await connection.send(Connected(connection="c", at="0-0").model_dump_json())

    policy = ClientPolicy(retry_first=timedelta(milliseconds=1), retry_longest=timedelta(days=1))
    async with (
        serve(hang_up, "127.0.0.1", 0, subprotocols=["netra.events.v1"]) as server,  # type: ignore[list-item]
        websocket_link(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/events") as link,
        RealtimeClient(link.uri, lambda: "token", policy=policy) as client,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.next()

    assert greeted < 30
