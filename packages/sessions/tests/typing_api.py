"""Calls that must type-check; never executed."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_sessions import (
    Ending,
    EndReason,
    IssuedSession,
    Purge,
    Reconciliation,
    Session,
    SessionId,
    SessionPolicy,
    Sessions,
    SessionToken,
    UserId,
    WhenFull,
)


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
