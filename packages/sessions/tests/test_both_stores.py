"""What Redis keeps of a session is there for the record's sake: it follows the record, and ends by itself."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest

from netra_fixtures import Goal, ManualClock, ServiceOrchestrationIntegrationTest, Tier, business_value
from netra_sessions import SessionPolicy, Sessions, SessionToken, TooManySessions, UserId, WhenFull
from netra_sessions.record import FENCE

OpenSessions = Callable[..., Sessions]
ALICE = UserId("alice")


@business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY, Goal.STABILITY},
    impact="what a user left behind is not kept for ever, in either store",
)
class TestBothStores(ServiceOrchestrationIntegrationTest):
    """The record and the entries beside it."""

    def key_of(self, token: SessionToken) -> str:
        digest = hashlib.sha256(token.get_secret_value().encode()).hexdigest()
        return f"{self.namespace}:session:{digest}"

    async def test_what_redis_keeps_of_a_session_ends_by_itself(self, open_sessions: OpenSessions) -> None:
        """A browser that never comes back leaves nothing behind that somebody would have to clean up."""
        idle = timedelta(hours=2)
        sessions = open_sessions(policy=SessionPolicy(idle_lifetime=idle))

        issued = await sessions.create(ALICE)

        await self.assert_row_exists("sessions.session", id=issued.session.id, ended_at=None)
        await self.assert_expires_within(self.key_of(issued.token), idle * 2)

    async def test_a_refused_sign_in_leaves_no_row(self, open_sessions: OpenSessions) -> None:
        """A session that nobody holds the token of would count against its user for ever."""
        full = SessionPolicy(limit_per_user=1, when_full=WhenFull.REFUSE)
        sessions = open_sessions(policy=full)
        await sessions.create(ALICE)

        with pytest.raises(TooManySessions):
            await sessions.create(ALICE)

        await self.assert_row_count("sessions.session", 1)

    async def test_a_use_counts_while_a_fence_stands(
        self, open_sessions: OpenSessions, clock: ManualClock
    ) -> None:
        """A process that died between its commit and its new entry signs nobody out early."""
        sessions = open_sessions(policy=SessionPolicy(idle_lifetime=timedelta(hours=2)))
        issued = await sessions.create(ALICE)
        await self.redis_client.set(self.key_of(issued.token), FENCE + b" of a process that died")

        clock.advance(timedelta(minutes=1))
        used = await sessions.validate(issued.token)
        clock.advance(timedelta(minutes=119))
        again = await sessions.validate(issued.token)

        assert (used.requests, again.requests) == (1, 2)
        assert again.last_seen_at == clock.now()
