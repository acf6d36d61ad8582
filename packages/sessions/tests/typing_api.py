"""Calls that must type-check; never executed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol, assert_type

from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_sessions import (
    Authentication,
    Ending,
    EndReason,
    Gateway,
    GatewayPolicy,
    HistoryPolicy,
    IssuedSession,
    Published,
    Publisher,
    Purge,
    RealtimeClient,
    Reconciliation,
    Session,
    SessionId,
    SessionPolicy,
    Sessions,
    SessionToken,
    UserId,
    Verifier,
    WhenFull,
)
from netra_sessions.events import START, Gap, ToolCompletedEvent


async def calls(engine: AsyncEngine, redis: Redis) -> None:
    policy = SessionPolicy(idle_lifetime=timedelta(days=1), limit_per_user=None, when_full=WhenFull.REFUSE)
    async with Sessions(
        engine=engine, redis=redis, namespace="netra", policy=policy, clock=lambda: datetime.now(UTC)
    ) as sessions:
        issued = await sessions.create(UserId("alice"), device="Firefox", address=None, data={"a": [1, None]})
        assert_type(issued, IssuedSession)
        assert_type(issued.token, SessionToken)
        assert_type(await sessions.validate("text", address="192.0.2.7"), Session)
        assert_type(await sessions.rotate(issued.token), IssuedSession)
        assert_type(await sessions.update(issued.token, {"a": 2}, expected_version=1), Session)
        await sessions.end(issued.token, reason=EndReason.SIGNED_OUT)
        await sessions.end_by_id(issued.session.id, user=issued.session.user)
        assert_type(await sessions.end_others(issued.token), tuple[SessionId, ...])
        assert_type(await sessions.end_all(UserId("alice")), tuple[SessionId, ...])
        assert_type(await sessions.list(UserId("alice")), tuple[Session, ...])
        async with sessions.endings() as endings:
            assert_type(await endings.next(), Ending)
            async for ending in endings:
                assert_type(ending.reason, EndReason)
        assert_type(await sessions.recover(), int)
        assert_type(await sessions.reconcile(), Reconciliation)
        assert_type(await sessions.flush_activity(), int)
        assert_type(await sessions.purge_expired(), Purge)
        issued.session.version = 2  # type: ignore[misc]  # frozen
        await sessions.end_by_id("not an id", user=UserId("a"))  # type: ignore[arg-type]


async def realtime(redis: Redis, sessions: Sessions, verifier: Verifier) -> None:
    policy = GatewayPolicy(heartbeat=timedelta(seconds=5), history=HistoryPolicy(events_kept=10))
    authentication = Authentication(verifier, refusals=(LookupError,))
    async with Gateway(
        redis=redis, namespace="netra", authentication=authentication, endings=sessions.endings, policy=policy
    ) as gateway:
        assert_type(gateway.uri, str)
        assert_type(gateway.connections, int)
    async with Publisher(redis=redis, namespace="netra") as publisher:
        sink: EventSink = publisher
        await sink.emit("agent_started", user="alice", run="r", event_id="1", data={"agent": "triage"})
        assert_type(
            await publisher.publish("agent_started", user="a", run="r", event_id="1", data={}), Published
        )
    async with RealtimeClient(["ws://a/events", "ws://b/events"], lambda: "token", after=START) as client:
        async for event in client:
            if isinstance(event, Gap):
                assert_type(event.before, str | None)
            elif event.kind == "tool_completed":
                assert_type(event, ToolCompletedEvent)
        assert_type(client.position, str | None)


class EventSink(Protocol):
    """What a producer takes."""

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> None: ...
