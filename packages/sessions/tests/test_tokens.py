"""A token opens its own session and no other, and anything else is refused alike."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import Goal, Tier, business_value
from netra_sessions import SessionEnded, SessionNotFound, SessionPolicy, Sessions, UserId

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="a token can be neither guessed, forged nor used after its time",
)

OpenSessions = Callable[..., Sessions]
ALICE = UserId("alice")
BAD = {
    "empty": "",
    "huge": "A" * 10_000_000,
    "one too long": "A" * 44,
    "one too short": "A" * 42,
    "well-formed": "A" * 43,
    "not ASCII": "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 43,
    "digits of another script": "\N{ARABIC-INDIC DIGIT ONE}" * 43,
    "a lone surrogate": "\ud800" * 43,
    "NUL": "\x00" * 43,
    "a line break at its end": "A" * 43 + "\n",
    "SQL": "' or '1'='1'; drop table sessions.session; --",
    "RESP": "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "a wildcard": "*" * 43,
}


class Work:
    """What the stores were asked for."""

    def __init__(self, engine: AsyncEngine, redis: Redis) -> None:
        self._engine = engine
        self._redis = redis
        self._statements: list[str] = []

    async def of(self, sessions: Sessions, token: str) -> tuple[int, tuple[str, ...]]:
        """Present a bad token; count the script's runs and list the SQL."""
        self._statements.clear()
        before = await self._runs()
        with pytest.raises(SessionNotFound) as refused:
            await sessions.validate(token)
        assert str(refused.value) == str(SessionNotFound())
        return await self._runs() - before, tuple(self._statements)

    async def _runs(self) -> int:
        stats = await self._redis.info("commandstats")
        return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))

    def note(self, _c: object, _k: object, statement: str, *_: object) -> None:
        """Keep a statement."""
        self._statements.append(statement)


@pytest.fixture
def work(engine: AsyncEngine, own_redis: Redis) -> Iterator[Work]:
    """Watch what a refusal costs."""
    work = Work(engine, own_redis)
    event.listen(engine.sync_engine, "before_cursor_execute", work.note)
    yield work
    event.remove(engine.sync_engine, "before_cursor_execute", work.note)


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
async def test_a_bad_token_is_refused_with_the_work_of_an_unknown_one(
    open_sessions: OpenSessions, own_redis: Redis, work: Work, token: str
) -> None:
    """Neither the answer nor its cost tells an attacker what a token looks like."""
    sessions = open_sessions(redis=own_redis)
    live = await sessions.create(ALICE)
    await sessions.validate(live.token)

    cost = await work.of(sessions, token)

    assert cost == await work.of(sessions, "B" * 43)
    assert (cost[0], len(cost[1])) == (1, 1)
    assert (await sessions.validate(live.token)).user == ALICE


async def test_a_token_of_another_installation_is_unknown(
    open_sessions: OpenSessions, namespace: str
) -> None:
    """Two installations on the same servers do not let in each other's users."""
    ours, theirs = open_sessions(), open_sessions(namespace=f"{namespace}:other")
    issued = await theirs.create(ALICE)

    for use in (ours.validate, ours.rotate, ours.end, ours.end_others):
        with pytest.raises(SessionNotFound):
            await use(issued.token)

    assert await ours.list(ALICE) == ()
    assert await ours.end_all(ALICE) == ()
    assert (await theirs.validate(issued.token)).user == ALICE


async def test_a_rotated_token_is_dead_at_once(open_sessions: OpenSessions) -> None:
    """A token that leaked before a rotation opens nothing after it."""
    here, there = open_sessions(), open_sessions()
    first = await here.create(ALICE, data={"theme": "dark"})
    await there.validate(first.token)

    second = await here.rotate(first.token)

    with pytest.raises(SessionNotFound):
        await there.validate(first.token)
    found = await there.validate(second.token)
    assert (found.id, found.data, found.requests) == (first.session.id, {"theme": "dark"}, 3)


async def test_an_ended_session_can_neither_rotate_nor_change(sessions: Sessions) -> None:
    """There is no way back in through another door."""
    issued = await sessions.create(ALICE)
    await sessions.end(issued.token)

    with pytest.raises(SessionEnded):
        await sessions.rotate(issued.token)
    with pytest.raises(SessionEnded):
        await sessions.update(issued.token, {}, expected_version=1)

    await sessions.end(issued.token)  # a second click on the button is no error


async def test_the_users_own_words_come_back_unchanged(
    open_sessions: OpenSessions, naughty: list[str]
) -> None:
    """Whatever a user or a browser sends is kept as it is, in both stores."""
    sessions = open_sessions(policy=SessionPolicy(data_limit_bytes=1_000_000, deadline=timedelta(seconds=30)))
    issued = await sessions.create(ALICE, data={"said": [*naughty]})

    for text in naughty:
        found = await sessions.validate(issued.token, device=text, address=text)

        assert found.data == {"said": naughty}
        assert found.address == found.device == text[:256].replace("\x00", "\N{REPLACEMENT CHARACTER}")


async def test_published_attack_strings_open_nothing(sessions: Sessions, naughty: list[str]) -> None:
    """What attackers are known to try against other systems is tried here first."""
    live = await sessions.create(ALICE)

    for text in naughty:
        with pytest.raises(SessionNotFound) as refused:
            await sessions.validate(text)
        assert str(refused.value) == str(SessionNotFound())

    assert (await sessions.validate(live.token)).user == ALICE
