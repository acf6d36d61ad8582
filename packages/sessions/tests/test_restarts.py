"""In the middle of traffic, a store that is flushed, killed or restarted changes nobody's rights."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
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
        self._over = False

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Click on, in the background of the block."""
        async with asyncio.TaskGroup() as clicking:
            for token in self.live:
                clicking.create_task(self._click(token))
            yield
            await self.answered()
            self._over = True  # before Python 3.12 a reply may swallow the cancellation that meets it

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
        while not self._over:
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
            loaded = (await own_redis.info("persistence"))["rdb_last_load_keys_loaded"]
            assert bool(loaded) is loss.endswith("snapshot")
        await traffic.answered()
        await traffic.end(tokens[2])

    assert len(traffic.ended) == 3


@pytest.mark.parametrize("how", ["restarted", "killed"])
async def test_the_first_request_after_postgresql_is_back_is_served(
    open_sessions: OpenSessions, private_postgres: PrivatePostgres, own_engine: AsyncEngine, how: str
) -> None:
    """Connections that lay in the pool while the database was away are nobody's error message."""
    sessions = open_sessions(engine=own_engine)
    issued = [await sessions.create(user) for user in USERS]
    await asyncio.gather(*(sessions.list(user) for user in USERS))  # which fills the pool

    if how == "killed":
        await private_postgres.kill()
        await private_postgres.start()
    else:
        await private_postgres.restart()

    await asyncio.gather(*(sessions.end(one.token) for one in issued))


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


async def test_a_neighbour_on_the_same_redis_does_not_vouch_for_its_old_snapshot(
    open_sessions: OpenSessions, private_redis: PrivateRedis, own_redis: Redis
) -> None:
    """Where several installations share a server, the first one back does not open it for the others' past."""
    ours = open_sessions(redis=own_redis)
    neighbours = open_sessions(redis=own_redis, namespace="neighbours")
    left = await ours.create(USERS[0])
    await neighbours.create(USERS[1])
    await own_redis.save()
    await ours.end(left.token)

    await private_redis.kill()
    await private_redis.start()
    assert await own_redis.dbsize()
    await neighbours.recover()

    for process in (open_sessions(redis=own_redis), ours):
        with pytest.raises(SessionEnded):
            await process.validate(left.token)


async def test_a_promoted_replica_is_not_believed_about_what_it_missed(
    open_sessions: OpenSessions, private_redis: PrivateRedis, own_redis: Redis, namespace: str
) -> None:
    """A server that took over may not have heard of the last sign-outs, also if it was in charge before."""
    sessions = open_sessions(redis=own_redis)
    issued = await sessions.create(USERS[0])
    [key] = await own_redis.keys(f"{namespace}:session:*")
    missed = await own_redis.get(key) or b""
    await sessions.end(issued.token)

    await own_redis.replicaof("127.0.0.1", "1")
    await own_redis.replicaof("NO", "ONE")
    await own_redis.set(key, missed)

    with pytest.raises(SessionEnded):
        await open_sessions(redis=own_redis).validate(issued.token)


async def test_a_record_that_counts_from_anew_still_makes_the_past_void(
    open_sessions: OpenSessions, engine: AsyncEngine, private_redis: PrivateRedis, own_redis: Redis
) -> None:
    """A database that came back from a backup has a lower epoch than Redis, and must not stay behind it."""
    sessions = open_sessions(redis=own_redis)
    issued = await sessions.create(USERS[0])
    for _ in range(3):
        await private_redis.flush()
        await sessions.validate(issued.token)
    async with engine.begin() as connection:
        await connection.execute(text("update sessions.cache_epoch set epoch = 1"))
        ended = "ended_at = now(), end_reason = 'revoked', ended_in = 1"
        await connection.execute(text(f"update sessions.session set {ended}"))

    with pytest.raises(SessionEnded):
        await open_sessions(redis=own_redis).validate(issued.token)
