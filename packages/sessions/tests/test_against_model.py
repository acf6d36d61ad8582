"""Whatever happens in whatever order, the stores say about each session what a page of plain rules says."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from netra_fixtures import (
    Goal,
    ManualClock,
    PostgresEndpoint,
    PrivateRedis,
    RedisEndpoint,
    Tier,
    business_value,
)
from netra_sessions import (
    SessionEnded,
    SessionExpired,
    SessionNotFound,
    SessionPolicy,
    Sessions,
    SessionToken,
    UserId,
    VersionConflict,
)

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY, Goal.STABILITY},
    impact="no sequence of events signs a user out early or lets one stay in late",
)

IDLE, LIFETIME = timedelta(hours=1), timedelta(hours=5)
POLICY = SessionPolicy(
    idle_lifetime=IDLE, absolute_lifetime=LIFETIME, limit_per_user=None, deadline=timedelta(seconds=30)
)


@dataclass
class Model:
    """What one session should be; *slack* is how much of its last use a lost Redis may have taken along."""

    user: UserId
    created: Any
    seen: Any
    version: int = 1
    number: int = 0
    ended: bool = False
    slack: timedelta = timedelta(0)


class Platform:
    """Two processes on real stores, in a namespace and an event loop of one example."""

    def __init__(self, postgres: PostgresEndpoint, redis: RedisEndpoint, namespace: str) -> None:
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.namespace = f"{namespace}:{uuid4().hex[:8]}"
        self.runner.run(self._open(postgres, redis))

    async def _open(self, postgres: PostgresEndpoint, redis: RedisEndpoint) -> None:
        self.engine, self.redis = create_async_engine(postgres.url()), redis.client()
        self.processes = [
            Sessions(
                engine=self.engine,
                redis=self.redis,
                namespace=self.namespace,
                policy=POLICY,
                clock=self.clock,
            )
            for _ in range(2)
        ]

    async def keys(self) -> list[Any]:
        """List what Redis holds of this namespace."""
        return await self.redis.keys(f"{self.namespace}:*")

    def close(self) -> None:
        """Let go of everything."""
        self.runner.run(self._close())
        self.runner.close()

    async def _close(self) -> None:
        for sessions in self.processes:
            await sessions.close()
        await Redis.aclose(self.redis)
        await self.engine.dispose()


def machine(postgres: PostgresEndpoint, redis: RedisEndpoint, namespace: str) -> type[RuleBasedStateMachine]:
    """Build the state machine on the test's services."""

    class Users(RuleBasedStateMachine):
        tokens = Bundle("tokens")
        process = st.integers(0, 1)

        def __init__(self) -> None:
            super().__init__()
            self.platform = Platform(postgres, redis, namespace)
            self.models: dict[SessionToken, Model] = {}
            self.snapshot: dict[Any, Any] = {}

        def teardown(self) -> None:
            self.platform.close()

        def expect(self, token: SessionToken) -> set[type[Exception] | None]:
            """Say how a use of *token* may end; None is success."""
            model, now = self.models[token], self.platform.clock.now()
            if model.ended:
                return {SessionEnded}
            if now >= model.created + LIFETIME or now - model.seen >= IDLE:
                return {SessionExpired}
            if now - model.seen >= IDLE - model.slack:
                return {None, SessionExpired}
            return {None}

        def use(self, token: SessionToken, using: Any) -> Any:
            """Use a token, hold the outcome against the model, and let the model live on."""
            expected = self.expect(token)
            try:
                found = self.platform.runner.run(using)
            except tuple(kind for kind in expected if kind is not None):
                return None
            assert None in expected, f"let in where {expected} was due"
            model = self.models[token]
            model.seen, model.slack = max(model.seen, self.platform.clock.now()), timedelta(0)
            return found

        @rule(target=tokens, process=process, user=st.sampled_from(["alice", "bob"]))
        def create(self, process: int, user: str) -> SessionToken:
            sessions, now = self.platform.processes[process], self.platform.clock.now()
            issued = self.platform.runner.run(sessions.create(UserId(user), data={"number": 0}))
            self.models[issued.token] = Model(UserId(user), created=now, seen=now)
            return issued.token

        @rule(token=tokens, process=process)
        def validate(self, token: SessionToken, process: int) -> None:
            found = self.use(token, self.platform.processes[process].validate(token))
            model = self.models[token]
            if found is not None:
                assert (found.user, found.version) == (model.user, model.version)
                assert (found.data, found.last_seen_at) == ({"number": model.number}, model.seen)

        @rule(target=tokens, token=consumes(tokens), process=process)
        def rotate(self, token: SessionToken, process: int) -> SessionToken:
            issued = self.use(token, self.platform.processes[process].rotate(token))
            if issued is None:
                return token
            new: SessionToken = issued.token
            self.models[new] = self.models.pop(token)
            with pytest.raises(SessionNotFound):
                self.platform.runner.run(self.platform.processes[1 - process].validate(token))
            return new

        @rule(token=tokens, process=process, current=st.booleans(), number=st.integers(0, 9))
        def update(self, token: SessionToken, process: int, *, current: bool, number: int) -> None:
            model = self.models[token]
            version = model.version if current else model.version + 1
            update = self.platform.processes[process].update(
                token, {"number": number}, expected_version=version
            )
            try:
                found = self.use(token, update)
            except VersionConflict as conflict:
                if current or conflict.current.version != model.version:
                    raise
                model.seen, model.slack = self.platform.clock.now(), timedelta(0)
                return
            if found is not None:
                assert current
                model.version, model.number = model.version + 1, number

        @rule(token=tokens, process=process)
        def end(self, token: SessionToken, process: int) -> None:
            self.platform.runner.run(self.platform.processes[process].end(token))
            self.models[token].ended = True

        @rule(process=process)
        def purge(self, process: int) -> None:
            purge = self.platform.runner.run(self.platform.processes[process].purge_expired())
            expired = [
                t for t, model in self.models.items() if not model.ended and None not in self.expect(t)
            ]
            maybe = [t for t in self.models if len(self.expect(t)) == 2]
            assert len(expired) <= len(purge.expired) <= len(expired) + len(maybe)
            for token in [*expired, *maybe]:
                self.models[token].ended = token in expired or self.models[token].ended
                if token in maybe:
                    self._see_whether_it_ended(token)

        def _see_whether_it_ended(self, token: SessionToken) -> None:
            try:
                self.platform.runner.run(self.platform.processes[0].validate(token))
                self.models[token].seen, self.models[token].slack = self.platform.clock.now(), timedelta(0)
            except SessionEnded:
                self.models[token].ended = True
            except SessionExpired:
                pass

        @rule(minutes=st.sampled_from([1, 10, 20, 40, 59, 60]))
        def time_passes(self, minutes: int) -> None:
            self.platform.clock.advance(timedelta(minutes=minutes))

        @rule()
        def redis_is_emptied(self) -> None:
            self._lose()
            self.platform.runner.run(self._empty())

        @rule()
        def redis_saves_a_snapshot(self) -> None:
            self.snapshot = self.platform.runner.run(self._dump())

        @rule()
        def redis_restarts_from_its_snapshot(self) -> None:
            self._lose()
            self.platform.runner.run(self._restore())

        @rule(process=process, what=st.sampled_from(["recover", "reconcile", "flush_activity"]))
        def keep_up(self, process: int, what: str) -> None:
            self.platform.runner.run(getattr(self.platform.processes[process], what)())

        def _lose(self) -> None:
            for model in self.models.values():
                model.slack = IDLE / 4

        async def _empty(self) -> None:
            for key in await self.platform.keys():
                await self.platform.redis.delete(key)

        async def _dump(self) -> dict[Any, Any]:
            keys = await self.platform.keys()
            return {key: await self.platform.redis.get(key) for key in keys}

        async def _restore(self) -> None:
            await self._empty()
            for key, value in self.snapshot.items():
                await self.platform.redis.set(key, value)
            await self.platform.redis.script_flush()  # as a restart does, for everybody on the server

    return Users


@pytest.mark.timeout(900)
@pytest.mark.parametrize("examples", [10, pytest.param(1_000, marks=pytest.mark.soak)])
def test_the_stores_keep_to_the_model(
    postgres_endpoint: PostgresEndpoint, private_redis: PrivateRedis, namespace: str, examples: int
) -> None:
    """Sign-ins, sign-outs, changes, waiting and losses of Redis, mixed by chance, end as the rules say."""
    users = machine(postgres_endpoint, private_redis.endpoint, namespace)

    run_state_machine_as_test(
        users,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
