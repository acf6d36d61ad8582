"""The two stores are kept alike: what one lost comes back, and where they disagree the record wins."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import Goal, ManualClock, Tier, business_value
from netra_sessions import Difference, SessionEnded, Sessions, SessionToken, UserId

pytestmark = business_value(
    tier=Tier.MID,
    goals={Goal.STABILITY, Goal.EFFICIENCY},
    impact="operators repair a lost or tampered cache with one call",
)

OpenSessions = Callable[..., Sessions]
RowOf = Callable[[SessionToken], Awaitable[dict[str, object]]]
ALICE = UserId("alice")
OF_OTHERS = """
insert into sessions.session
select (jsonb_populate_record(own, jsonb_build_object(
    'id', gen_random_uuid(), 'user_id', 'user-' || number, 'token_digest', sha256(number::text::bytea)
))).* from sessions.session as own, generate_series(1, :sessions) as number where own.ended_at is null
"""


async def test_recovery_puts_every_live_session_back(
    sessions: Sessions, engine: AsyncEngine, redis_client: Redis, namespace: str
) -> None:
    """After a loss of Redis the first click of each user is as fast as the second."""
    issued, ended = [await sessions.create(ALICE) for _ in range(2)]
    await sessions.end(ended.token)
    async with engine.begin() as connection:
        await connection.execute(text(OF_OTHERS), {"sessions": 999})
    await redis_client.delete(*await redis_client.keys(f"{namespace}:*"))

    assert await sessions.recover() == 1_000

    assert len(await redis_client.keys(f"{namespace}:session:*")) == 1_000
    assert await sessions.recover() == 0
    assert (await sessions.validate(issued.token)).user == ALICE


async def test_reconciliation_finds_and_mends_every_difference(
    sessions: Sessions, engine: AsyncEngine, redis_client: Redis, namespace: str, clock: ManualClock
) -> None:
    """An operator who edits rows by hand, or a bug, leaves no session that only the cache believes in."""
    issued = {name: await sessions.create(UserId(name)) for name in ("gone", "ended", "old", "late", "fine")}
    edits = {
        "gone": "delete from sessions.session where user_id = 'gone'",
        "ended": "update sessions.session set ended_at = now(), end_reason = 'revoked', ended_in = 1"
        " where user_id = 'ended'",
        "old": "update sessions.session set version = 2, data = '{\"by\": \"hand\"}' where user_id = 'old'",
        "late": "update sessions.session set expires_at = created_at + interval '1 s' where user_id = 'late'",
    }
    async with engine.begin() as connection:
        for edit in edits.values():
            await connection.execute(text(edit))
    await redis_client.set(f"{namespace}:session:nonsense", "{}")
    clock.advance(timedelta(minutes=1))

    report = await sessions.reconcile()

    assert {(one.session, one.difference) for one in report.mended} == {
        (issued["gone"].session.id, Difference.UNKNOWN),
        (issued["ended"].session.id, Difference.ENDED),
        (issued["old"].session.id, Difference.OUTDATED),
        (issued["late"].session.id, Difference.EXPIRED),
        (None, Difference.UNREADABLE),
    }
    assert (report.compared, report.warmed) == (6, 1)
    assert (await sessions.validate(issued["old"].token)).data == {"by": "hand"}
    assert (await sessions.reconcile()).mended == ()


async def test_activity_reaches_the_record_before_a_quarter_of_the_idle_lifetime(
    sessions: Sessions, clock: ManualClock, row_of: RowOf, redis_client: Redis, namespace: str
) -> None:
    """Who loses Redis loses at most a quarter of the idle lifetime, and no user who clicked since."""
    issued = await sessions.create(ALICE)
    written = set()
    for _ in range(10):
        clock.advance(timedelta(days=1))
        await sessions.validate(issued.token, address="192.0.2.7")
        last_seen: Any = (await row_of(issued.token))["last_seen_at"]
        assert clock.now() - last_seen < timedelta(days=7) / 4
        written.add(last_seen)

    await redis_client.delete(*await redis_client.keys(f"{namespace}:*"))
    clock.advance(timedelta(days=5))

    assert (await sessions.validate(issued.token)).address == "192.0.2.7"
    assert len(written) == 6  # sign-in, and every other day


async def test_activity_can_be_brought_to_the_record_at_once(
    sessions: Sessions, clock: ManualClock, row_of: RowOf
) -> None:
    """A report on who used what need not wait until the record hears by itself."""
    issued = await sessions.create(ALICE)
    clock.advance(timedelta(minutes=1))
    await sessions.validate(issued.token, address="192.0.2.8")

    flushed = await sessions.flush_activity()

    row = await row_of(issued.token)
    assert (row["requests"], row["address"], row["last_seen_at"]) == (1, "192.0.2.8", clock.now())
    assert (flushed, await sessions.flush_activity()) == (1, 0)


async def test_an_entry_that_the_record_refutes_lets_nobody_in_again(
    sessions: Sessions, clock: ManualClock, engine: AsyncEngine
) -> None:
    """A row that an operator ended by hand is found out by the next write of its activity, for good."""
    issued = await sessions.create(ALICE)
    ended = "ended_at = now(), end_reason = 'revoked', ended_in = 1"
    async with engine.begin() as connection:
        await connection.execute(text(f"update sessions.session set {ended}"))
    clock.advance(timedelta(days=2))

    for _ in range(2):
        with pytest.raises(SessionEnded):
            await sessions.validate(issued.token)


async def test_a_purge_asks_redis_before_it_calls_a_session_idle(
    sessions: Sessions, clock: ManualClock, row_of: RowOf
) -> None:
    """The record hears late of a user's clicks, and a user who clicks is not swept away for that."""
    issued = await sessions.create(ALICE)
    clock.advance(timedelta(days=1))
    used = await sessions.validate(issued.token)
    clock.advance(timedelta(days=6, hours=1))

    purge = await sessions.purge_expired()

    assert purge.expired == ()
    assert (await row_of(issued.token))["last_seen_at"] == used.last_seen_at
    assert (await sessions.reconcile()).compared == 1
    assert (await sessions.validate(issued.token)).user == ALICE
