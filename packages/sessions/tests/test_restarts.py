"""In the middle of traffic, a store that is flushed, killed or restarted changes nobody's rights."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import Goal, PrivatePostgres, PrivateRedis, Tier, business_value, eventually
from netra_sessions import SessionEnded, Sessions, SessionToken, StoreUnavailable, UserId

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.SECURITY},
    impact="operators restart servers in office hours and users do not notice",
)

OpenSessions = Callable[..., Sessions]
USERS = [UserId(f"user-{number}") for number in range(10)]


class Traffic:
    """Users who never stop clicking; each must be answered as their session is."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.live: set[SessionToken] = set()
        self.ended: set[SessionToken] = set()
        self.answers = 0

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Click on, in the background of the block."""
        async with asyncio.TaskGroup() as clicking:
            tasks = [clicking.create_task(self._click(token)) for token in self.live]
            yield
            await self.answered()
            for task in tasks:
                task.cancel()

    async def answered(self) -> None:
        """Wait until every user was answered some more."""
        goal = self.answers + 5 * len(self.live | self.ended)

        def reached() -> None:
            assert self.answers >= goal

        await eventually(reached, seconds=20)

    async def end(self, token: SessionToken) -> None:
        """Sign one user out; only then must they be refused."""
        self.live.discard(token)
        await self._sessions.end(token)
        self.ended.add(token)

    async def _click(self, token: SessionToken) -> None:
        while True:
            must_work, must_not = token in self.live, token in self.ended
            try:
                await self._sessions.validate(token)
                assert not must_not, "a user who was signed out got in"
            except SessionEnded:
                assert not must_work or token not in self.live, "a user who is signed in was refused"
            except StoreUnavailable:
                pass
            self.answers += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("loss", ["flushed", "restarted", "killed", "killed, and back with an old snapshot"])
async def test_redis_is_lost_in_the_middle_of_traffic(
    open_sessions: OpenSessions, private_redis: PrivateRedis, own_redis: Redis, loss: str
) -> None:
    """Users click on while Redis loses its memory, or finds an old one again."""
    traffic = Traffic(sessions := open_sessions(redis=own_redis))
    tokens = [(await sessions.create(user)).token for user in USERS]
    traffic.live = set(tokens)
    if loss.endswith("snapshot"):
        await own_redis.save()
    lose = {"flushed": private_redis.flush, "restarted": private_redis.restart}.get(loss, private_redis.kill)

    async with traffic.flowing():
        await traffic.end(tokens[0])
        await lose()
        await traffic.end(tokens[1])
        if loss.startswith("killed"):
            await private_redis.start()
        await traffic.answered()
        await traffic.end(tokens[2])

    assert len(traffic.ended) == 3


async def test_postgresql_is_restarted_in_the_middle_of_traffic(
    open_sessions: OpenSessions, private_postgres: PrivatePostgres, own_engine: AsyncEngine
) -> None:
    """Users click on while the database comes back, and those who signed out before stay out."""
    traffic = Traffic(sessions := open_sessions(engine=own_engine))
    tokens = [(await sessions.create(user)).token for user in USERS]
    traffic.live = set(tokens)

    async with traffic.flowing():
        await traffic.end(tokens[0])
        await private_postgres.restart()
        await traffic.answered()
        await traffic.end(tokens[1])

    assert len(traffic.ended) == 2
