"""Whatever users do and connections suffer, each screen shows its user's events: all, once, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy.ext.asyncio import create_async_engine

from netra_fixtures import (
    Goal,
    PostgresEndpoint,
    RedisEndpoint,
    Reset,
    Tier,
    WebSocketLinkFactory,
    business_value,
)
from netra_sessions import (
    Authentication,
    ClientPolicy,
    Gateway,
    GatewayPolicy,
    HistoryPolicy,
    Publisher,
    RealtimeClient,
)
from netra_sessions.session import Ending

from .tokens import REFUSALS, Tokens

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.STABILITY, Goal.SECURITY}, impact="no order of mishaps mixes up users' events"
)

TOKENS = Tokens()
PATIENT = timedelta(seconds=30)
EAGER = ClientPolicy(retry_first=timedelta(milliseconds=1), retry_longest=timedelta(milliseconds=5))


class Never:
    """No session ends."""

    def __aiter__(self) -> "Never":
        return self

    async def __anext__(self) -> Ending:
        await asyncio.Event().wait()
        raise StopAsyncIteration


@asynccontextmanager
async def no_endings() -> AsyncIterator[AsyncIterator[Ending]]:
    """Let no session end."""
    yield Never()


@dataclass
class Screen:
    """A client, and what its user was sent since it looks on."""

    user: str
    client: RealtimeClient
    expected: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


class Platform:
    """Two gateways and a producer on a real Redis, in a namespace and an event loop of one example."""

    def __init__(
        self, postgres: PostgresEndpoint, redis: RedisEndpoint, namespace: str, link_to: WebSocketLinkFactory
    ) -> None:
        self.runner = asyncio.Runner()
        self.namespace = f"{namespace}:{uuid4().hex[:8]}"
        self.screens: list[Screen] = []
        self.published = 0
        self.runner.run(self._open(postgres, redis, link_to))

    async def _open(
        self, postgres: PostgresEndpoint, redis: RedisEndpoint, link_to: WebSocketLinkFactory
    ) -> None:
        self.opened = AsyncExitStack()
        self.redis = redis.client()
        self.opened.push_async_callback(self.redis.aclose)
        engine = create_async_engine(postgres.url())
        self.opened.push_async_callback(engine.dispose)
        following = TOKENS.verifier(engine, self.redis, self.namespace)
        self.verifier = await self.opened.enter_async_context(following)
        self.gateways = [await self._gateway(port=0) for _ in range(2)]
        self.links = [
            await self.opened.enter_async_context(link_to(gateway.uri)) for gateway in self.gateways
        ]
        history = HistoryPolicy(deadline=PATIENT)
        self.publisher = await self.opened.enter_async_context(
            Publisher(redis=self.redis, namespace=self.namespace, policy=history)
        )

    async def _gateway(self, *, port: int) -> Gateway:
        gateway = Gateway(
            redis=self.redis, namespace=self.namespace, endings=no_endings, port=port,
            authentication=Authentication(self.verifier, refusals=REFUSALS),
            policy=GatewayPolicy(deadline=PATIENT, connections_per_user=100, history=HistoryPolicy(page=3)),
        )  # fmt: skip
        return await self.opened.enter_async_context(gateway)

    async def watch(self, user: str, first: int) -> Screen:
        """Open a screen, on one gateway first."""
        uris = [link.uri for link in self.links]
        token = TOKENS.sign(user, f"session of {user}")
        client = RealtimeClient(uris[first:] + uris[:first], lambda: token, policy=EAGER)
        screen = Screen(user, await self.opened.enter_async_context(client))
        self.screens.append(screen)
        return screen

    async def publish(self, user: str, count: int, again: bool) -> None:
        """Publish events of *user*, some of them twice."""
        for _ in range(count):
            self.published += 1
            for _ in range(1 + again):
                data = {"agent": user}
                event_id = f"{self.published}"
                await self.publisher.emit("agent_started", user=user, run="r", event_id=event_id, data=data)
            for screen in self.screens:
                if screen.user == user:
                    screen.expected.append(f"{self.published}")

    async def cut(self, which: int) -> None:
        """Break every connection to a gateway."""
        async with self.links[which].fault(Reset()):
            pass

    async def replace(self, which: int) -> None:
        """Drain a gateway, and start another one at its address."""
        port = urlsplit(self.gateways[which].uri).port
        assert port is not None
        await self.gateways[which].__aexit__(None, None, None)
        self.gateways[which] = await self._gateway(port=port)

    async def read(self, screen: Screen) -> None:
        """Read all that a screen has to show."""
        async with asyncio.timeout(30):
            while len(screen.seen) < len(screen.expected):
                event: Any = await screen.client.next()
                assert event.user == screen.user
                screen.seen.append(event.event_id)

    async def close(self) -> None:
        """Read to the end and let go of everything."""
        try:
            for screen in self.screens:
                await self.read(screen)
        finally:
            await self.opened.aclose()


def machine(
    postgres: PostgresEndpoint, redis: RedisEndpoint, namespace: str, link_to: WebSocketLinkFactory
) -> type[RuleBasedStateMachine]:
    """Build the state machine on the test's services."""

    class Users(RuleBasedStateMachine):
        screens = Bundle("screens")
        user = st.sampled_from(["alice", "bob", "carol"])
        which = st.integers(0, 1)

        def __init__(self) -> None:
            super().__init__()
            self.platform = Platform(postgres, redis, namespace, link_to)

        def teardown(self) -> None:
            try:
                self.platform.runner.run(self.platform.close())
                self.agree()
            finally:
                self.platform.runner.close()

        @rule(target=screens, user=user, which=which)
        def watch(self, user: str, which: int) -> Screen:
            return self.platform.runner.run(self.platform.watch(user, which))

        @rule(user=user, count=st.integers(1, 8), again=st.booleans())
        def publish(self, user: str, count: int, again: bool) -> None:
            self.platform.runner.run(self.platform.publish(user, count, again))

        @rule(which=which)
        def cut(self, which: int) -> None:
            self.platform.runner.run(self.platform.cut(which))

        @rule(screen=screens)
        def read(self, screen: Screen) -> None:
            self.platform.runner.run(self.platform.read(screen))

        @rule(which=which)
        def replace(self, which: int) -> None:
            self.platform.runner.run(self.platform.replace(which))

        @invariant()
        def agree(self) -> None:
            for screen in self.platform.screens:
                assert screen.seen == screen.expected[: len(screen.seen)]

    return Users


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("examples", [6, pytest.param(300, marks=pytest.mark.soak)])
def test_every_screen_shows_its_users_events(
    postgres_endpoint: PostgresEndpoint,
    redis_endpoint: RedisEndpoint,
    namespace: str,
    websocket_link: WebSocketLinkFactory,
    examples: int,
) -> None:
    """Events, repeats, cut lines and replaced servers, mixed by chance, end as a list a user would write."""
    run_state_machine_as_test(
        machine(postgres_endpoint, redis_endpoint, namespace, websocket_link),
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
