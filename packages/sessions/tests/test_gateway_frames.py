"""What a client sends can't crash the gateway, nor reach anybody but the client itself."""

import asyncio
import base64
import csv
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from netra_fixtures import Goal, Tier, business_value, within
from netra_fixtures.data import ThirdPartyData
from netra_sessions import CloseCode, Publisher
from netra_sessions.events import GATEWAY_FRAME, FrameRefused, Pong

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY, Goal.STABILITY}, impact="no client can harm another's connection"
)

Open = Callable[..., Awaitable[Any]]
BIT_OF_EVERYTHING = 1_000.0  # frames a second: here the limit is not the subject


@pytest.fixture
async def open_socket(open_gateway: Open, sign_in: Open) -> Open:
    """Connect as *user*, past the greeting, to a gateway that many frames don't offend."""
    gateway = await open_gateway(frames_per_second=BIT_OF_EVERYTHING * 10)

    async def open_one(user: str, to: Any = gateway) -> ClientConnection:
        token = (await sign_in(user)).token
        socket = await connect(to.uri, additional_headers={"Authorization": f"Bearer {token}"})
        await socket.recv()
        return socket

    return open_one


async def closed_with(socket: ClientConnection) -> int | None:
    """Wait for the end of a connection, and return its code."""
    async with within(seconds=10):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


async def said(socket: ClientConnection) -> Any:
    """Read one frame of the gateway's, by the contract."""
    async with within(seconds=10):
        return GATEWAY_FRAME.validate_json(await socket.recv())


async def test_a_ping_is_answered_and_an_old_one_refused(open_socket: Open) -> None:
    """A browser can't send a WebSocket's own pings, and needs to know that somebody is there."""
    async with await open_socket("alice") as socket:
        answers = []
        for number in (1, 2, 2, 1, 3):
            await socket.send(json.dumps({"kind": "ping", "number": number}))
            answers.append(await said(socket))

    assert [a.number if isinstance(a, Pong) else a.code for a in answers] == [
        1, 2, "out_of_order", "out_of_order", 3,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "frame",
    ["", "{", "[]", "null", "ping", '{"kind":"ping"}', '{"kind":"ping","number":-1}', '{"kind":"ping","number":"1"}',
     '{"kind":"ping","number":1,"more":1}', '{"kind":"ping","number":1e400}', '{"kind":"pong","number":1}',
     "[" * 4_000, '{"kind":"agent_started","user":"bob"}', "\x00", "\N{RIGHT-TO-LEFT OVERRIDE}"],
)  # fmt: skip
async def test_what_is_not_in_the_contract_is_answered_by_an_error(open_socket: Open, frame: str) -> None:
    """A mistake in a client is told to the client, and costs nobody the connection."""
    async with await open_socket("alice") as socket:
        await socket.send(frame)
        first = await said(socket)
        await socket.send('{"kind":"ping","number":1}')
        second = await said(socket)

    assert isinstance(first, FrameRefused)
    assert (first.code, second) == ("invalid", Pong(number=1))
    assert len(frame) < 2 or frame not in first.message


def masked(opcode: Opcode, payload: bytes) -> bytes:
    """Write a frame as a client sends it."""
    return Frame(opcode, payload).serialize(mask=True)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(masked(Opcode.BINARY, b"{}"), CloseCode.NOT_TEXT, id="binary"),
        pytest.param(masked(Opcode.TEXT, b"\xff\xfe"), CloseCode.NOT_UTF_8, id="not UTF-8"),
        pytest.param(masked(Opcode.TEXT, b"\xed\xa0\x80"), CloseCode.NOT_UTF_8, id="half a surrogate pair"),
        pytest.param(masked(Opcode.TEXT, b"x" * 4_097), CloseCode.TOO_LARGE, id="a byte too large"),
        pytest.param(masked(Opcode.TEXT, b"x" * 1_000_000), CloseCode.TOO_LARGE, id="a megabyte"),
        pytest.param(masked(Opcode.CONT, b"x"), 1002, id="continues nothing"),
        pytest.param(b"\xc1\x80" + bytes(4), 1002, id="a bit that nobody agreed on"),
        pytest.param(b"\x81\x00", 1002, id="not masked"),
        pytest.param(b"\x89\xfe\x00\x7e" + bytes(4) + b"x" * 126, 1002, id="a ping too long"),
    ],
)
async def test_a_frame_that_can_not_be_read_closes_the_connection(
    open_socket: Open, publisher: Publisher, frame: bytes, code: int
) -> None:
    """What breaks the protocol ends with the code that says how, for the one who broke it alone."""
    async with await open_socket("bob") as other, await open_socket("alice") as socket:
        socket.transport.write(frame)
        closed = await closed_with(socket)
        await publisher.emit("agent_started", user="bob", run="r", event_id="1", data={"agent": "triage"})
        heard = await said(other)

    assert closed == code
    assert heard.user == "bob"


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(masked(Opcode.TEXT, b'{"kind":"pong"}'), id="messages"),
        pytest.param(masked(Opcode.PING, b""), id="pings that the library answers"),
        pytest.param(masked(Opcode.PONG, b""), id="answers to nothing"),
        pytest.param(Frame(Opcode.CONT, b"", fin=False).serialize(mask=True), id="parts of one message"),
    ],
)
async def test_too_many_frames_close_the_connection(
    open_gateway: Open, open_socket: Open, frame: bytes
) -> None:
    """One client can't keep the gateway busy for all others, whatever it sends."""
    strict = await open_gateway(frames_per_second=5)
    async with await open_socket("alice", strict) as socket:
        socket.transport.write(Frame(Opcode.TEXT, b"{", fin=False).serialize(mask=True) * (frame[0] == 0))
        socket.transport.write(frame * 200)
        code = await closed_with(socket)

    assert code == CloseCode.TOO_MANY_FRAMES


async def test_no_bad_input_reaches_anybody_or_ends_the_gateway(
    open_socket: Open, publisher: Publisher, third_party_data: ThirdPartyData, naughty: list[str]
) -> None:
    """Whatever is thrown at it: its sender gets an error or the right code, and the others their events."""
    frames = [text.encode("utf-8", "replace") for text in naughty]
    for file in third_party_data.files("bad-inputs", "json_test_suite.jsonl"):
        cases = [base64.b64decode(json.loads(line)["bytes_base64"]) for line in file.read_text().splitlines()]
        third_party_data.read(file, cases=len(cases))
        frames += cases
    for file in third_party_data.files("bad-inputs", "utf8_tests.csv"):
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        third_party_data.read(file, cases=len(rows))
        frames += [bytes.fromhex(row["value"].replace(" ", "")) for row in rows if "hex" in row["kind"]]

    wrong: list[tuple[bytes, Any]] = []
    async with await open_socket("bob") as other, asyncio.timeout(50):
        socket = await open_socket("alice")
        for frame in frames:
            socket.transport.write(masked(Opcode.TEXT, frame))
            expected = expected_answer(frame)
            if expected is None:
                answer = await said(socket)
                if not isinstance(answer, FrameRefused):
                    wrong.append((frame[:60], answer))
                continue
            if (code := await closed_with(socket)) != expected:
                wrong.append((frame[:60], code))
            await socket.close()
            socket = await open_socket("alice")
        await socket.close()
        await publisher.emit("agent_started", user="bob", run="r", event_id="1", data={"agent": "triage"})
        heard = await said(other)

    assert wrong == []
    assert heard.event_id == "1"


def expected_answer(frame: bytes) -> CloseCode | None:
    """Say with which code a text frame has to end the connection; None where an error frame answers."""
    if len(frame) > 4_096:
        return CloseCode.TOO_LARGE
    try:
        frame.decode()
    except UnicodeDecodeError:
        return CloseCode.NOT_UTF_8
    return None


async def test_a_token_that_expires_closes_the_connection(gateway: Any, sign_in: Open) -> None:
    """Who may no longer ask for anything is told nothing any more either."""
    signed_in = await sign_in("alice", lasting=timedelta(seconds=1))

    async with connect(
        gateway.uri, additional_headers={"Authorization": f"Bearer {signed_in.token}"}
    ) as socket:
        code = await closed_with(socket)

    assert code == CloseCode.TOKEN_EXPIRED
