"""What the tests share: sessions, gateways and screens on the test's own services, straight or over links."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import (
    IsolatedEnvironment,
    ManualClock,
    PostgresEndpoint,
    Program,
    RedisEndpoint,
    StartProgram,
    WebSocketLink,
    WebSocketLinkFactory,
    within,
)
from netra_fixtures.data import ThirdPartyData
from netra_sessions import (
    Authentication,
    ClientPolicy,
    Gateway,
    GatewayPolicy,
    HistoryPolicy,
    IssuedSession,
    Publisher,
    RealtimeClient,
    SessionPolicy,
    Sessions,
    SessionToken,
    UserId,
    Verifier,
)
from netra_sessions.gateway import Endings

from .tokens import REFUSALS, Tokens

OpenSessions = Callable[..., Sessions]
PATIENT = SessionPolicy(deadline=timedelta(seconds=30))  # a busy machine is no outage


@pytest.fixture
async def open_sessions(
    engine: AsyncEngine, redis_client: Redis, namespace: str, clock: ManualClock
) -> AsyncIterator[OpenSessions]:
    """Open sessions as one process of the platform does; each call is another process's."""
    async with AsyncExitStack() as opened:

        def open_one(
            *, engine: AsyncEngine = engine, redis: Redis = redis_client, namespace: str = namespace,
            policy: SessionPolicy = PATIENT, clock: Callable[[], datetime] = clock,
        ) -> Sessions:  # fmt: skip
            sessions = Sessions(engine=engine, redis=redis, namespace=namespace, policy=policy, clock=clock)
            opened.push_async_callback(sessions.close)
            return sessions

        yield open_one


@pytest.fixture
def sessions(open_sessions: OpenSessions) -> Sessions:
    """The sessions of one process, with the default lifetimes."""
    return open_sessions()


@pytest.fixture
def row_of(engine: AsyncEngine) -> Callable[[SessionToken], Awaitable[dict[str, object]]]:
    """Read the row of a token as an operator would, past the library."""

    async def read(token: SessionToken) -> dict[str, object]:
        digest = hashlib.sha256(token.get_secret_value().encode()).digest()
        async with engine.connect() as connection:
            statement = text("select * from sessions.session where token_digest = :digest")
            return dict((await connection.execute(statement, {"digest": digest})).mappings().one())

    return read


@pytest.fixture
def another_process(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, clock: ManualClock,
    start_program: StartProgram,
) -> Callable[..., Awaitable[Program]]:  # fmt: skip
    """Start another process of the platform, which does its acts and prints what it learns."""

    async def start(token: SessionToken, *acts: str) -> Program:
        where = (postgres_endpoint.url(), redis_endpoint.url, namespace, clock.now().isoformat())
        program = Path(__file__).with_name("another_process.py")
        return await start_program(program, *where, token.get_secret_value(), *acts)

    return start


@pytest.fixture
def naughty(third_party_data: ThirdPartyData) -> list[str]:
    """Read the published strings that break careless code."""
    texts: list[str] = []
    for file in third_party_data.files("bad-inputs", "payloads/*.txt"):
        lines = [line.decode("utf-8", "replace") for line in file.read_bytes().split(b"\n")]
        third_party_data.read(file, cases=len(lines))
        texts += lines
    for file in third_party_data.files("bad-inputs", "*.json"):
        strings = [text for text in json.loads(file.read_text(encoding="utf-8")) if isinstance(text, str)]
        third_party_data.read(file, cases=len(strings))
        texts += strings
    return list(dict.fromkeys(texts))


@pytest.fixture
def tokens() -> Tokens:
    """Sign access tokens that the test's gateways accept."""
    return Tokens()


@dataclass(frozen=True)
class SignedIn:
    """A user's session, and an access token for it."""

    issued: IssuedSession
    token: str

    def __call__(self) -> str:
        """Give the token to a client that connects."""
        return self.token


@pytest.fixture
def sign_in(sessions: Sessions, tokens: Tokens) -> Callable[..., Awaitable[SignedIn]]:
    """Sign a user in."""

    async def sign_in(user: str, **lasting: timedelta) -> SignedIn:
        issued = await sessions.create(UserId(user))
        return SignedIn(issued, tokens.sign(user, str(issued.session.id), **lasting))

    return sign_in


@dataclass(frozen=True)
class Served:
    """A gateway in the test's process, and a link to it that a test can spoil."""

    gateway: Gateway
    link: WebSocketLink

    @property
    def uri(self) -> str:
        """Where clients connect to."""
        return self.link.uri


@pytest.fixture
async def open_gateway(
    engine: AsyncEngine,
    redis_client: Redis,
    namespace: str,
    sessions: Sessions,
    tokens: Tokens,
    websocket_link: WebSocketLinkFactory,
) -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Open gateways in this process, each with a link to it."""
    async with AsyncExitStack() as opened:
        netra_auth = await opened.enter_async_context(tokens.verifier(engine, redis_client, namespace))

        async def open_one(
            *, redis: Redis = redis_client, origins: tuple[str, ...] = (), verifier: Verifier = netra_auth,
            endings: Endings = sessions.endings, **policy: Any,
        ) -> Served:  # fmt: skip
            gateway = Gateway(
                redis=redis, namespace=namespace, endings=endings, origins=origins,
                authentication=Authentication(verifier, refusals=REFUSALS),
                policy=GatewayPolicy(**{"deadline": timedelta(seconds=10)} | policy),
            )  # fmt: skip
            await opened.enter_async_context(gateway)
            return Served(gateway, await opened.enter_async_context(websocket_link(gateway.uri)))

        yield open_one


@pytest.fixture
async def gateway(open_gateway: Callable[..., Awaitable[Served]]) -> Served:
    """A gateway with the limits of every day."""
    return await open_gateway()


@pytest.fixture
async def publisher(redis_client: Redis, namespace: str) -> AsyncIterator[Publisher]:
    """Publish events as a run does."""
    policy = HistoryPolicy(deadline=timedelta(seconds=30))
    async with Publisher(redis=redis_client, namespace=namespace, policy=policy) as publisher:
        yield publisher


@pytest.fixture
async def watch() -> AsyncIterator[Callable[..., Awaitable[RealtimeClient]]]:
    """Open a user's screens."""
    eager = {"retry_first": timedelta(milliseconds=5), "retry_longest": timedelta(milliseconds=50)}
    async with AsyncExitStack() as opened:

        async def watch_one(
            uris: str | Sequence[str], token: Callable[[], str], after: str | None = None, **policy: Any
        ) -> RealtimeClient:
            client = RealtimeClient(uris, token, after=after, policy=ClientPolicy(**eager | policy))
            return await opened.enter_async_context(client)

        yield watch_one


class GatewayProcess:
    """`netra-gateway`, ready to serve, to kill and to drain."""

    def __init__(self, process: Program, link: WebSocketLink, address: str, links: AsyncExitStack) -> None:
        self.process = process
        self._links = links
        self.address = address
        self.link = link
        self.uri = link.uri

    async def end(self, signal: int) -> list[dict[str, Any]]:
        """Send *signal*, wait for the end, and return the log's last lines."""
        self.process.send_signal(signal)
        lines = await self.process.stdout.read()
        await self.process.wait()
        await self._links.aclose()
        return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
async def start_gateway(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, tokens: Tokens,
    environment: IsolatedEnvironment, websocket_link: WebSocketLinkFactory, tmp_path: Path,
    start_program: StartProgram,
) -> AsyncIterator[Callable[..., Awaitable[GatewayProcess]]]:  # fmt: skip
    """Start `netra-gateway` as operators do: settings in the environment, ready when its log says so."""
    keys, here = tmp_path / "keys", Path(__file__).parent
    keys.write_text(json.dumps(tokens.keys.jwks()))
    async with AsyncExitStack() as opened:

        async def start(*, redis: RedisEndpoint = redis_endpoint, **settings: str) -> GatewayProcess:
            told = {
                "redis_url": redis.url, "database_url": postgres_endpoint.url(), "namespace": namespace,
                "port": "0", "authentication": "tokens:authentication", "keys_file": str(keys),
                "policy__deadline": "PT10S",
            }  # fmt: skip
            for name, value in (told | settings).items():
                environment.set(f"NETRA_GATEWAY_{name.upper()}", value)
            environment.set("PYTHONPATH", str(here))
            process = await start_program("netra-gateway")
            async with within(seconds=30):
                ready = json.loads(await process.stdout.readline())
            assert ready["event"] == "ready", ready
            links = await opened.enter_async_context(AsyncExitStack())
            link = await links.enter_async_context(websocket_link(ready["uri"]))
            return GatewayProcess(process, link, ready["uri"], links)

        yield start
