"""One installation of the platform on the test's own servers: people who are signed in, a gateway, worker processes."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretBytes, SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents import AgentsPolicy, Orchestrator
from netra_auth import (
    Access,
    AccessTokens,
    Accounts,
    KeyRing,
    PasswordHasher,
    PasswordPolicy,
    Principal,
    RefreshPolicy,
    RefreshTokens,
    Revocations,
    Role,
    SecondFactors,
    SessionId,
    SignedIn,
    SigningKey,
    TenantId,
    TokenRefused,
    Verifier,
)
from netra_fixtures import (
    IsolatedEnvironment,
    PostgresEndpoint,
    Program,
    RedisEndpoint,
    StartProgram,
    within,
)
from netra_sessions import (
    Authentication,
    Gateway,
    GatewayPolicy,
    HistoryPolicy,
    Publisher,
    RealtimeClient,
    SessionPolicy,
    Sessions,
)
from netra_sessions import UserId as ScreenUser
from netra_sessions.events import START
from netra_workflows import Archive, Collaboration, CostOptimization, Record, collaboration_policy

from .verifying import FOLLOWING, PATIENCE, TOKENS

PASSWORD: Final = SecretStr("correct horse battery staple")
EQUIPMENT: Final = ("netra_workflows.equipment", "dbos")
POLICY: Final = AgentsPolicy(deadline=PATIENCE)


class Screen:
    """What one person sees: every event of theirs, in order."""

    def __init__(self, client: RealtimeClient) -> None:
        self._client = client
        self.seen: list[Any] = []

    async def until(self, told: Callable[[Any], bool], seconds: float = 60) -> Any:
        """Look on until something is told, and return it."""
        async with within(seconds=seconds):
            while True:
                event = await self._client.next()
                self.seen.append(event)
                if told(event):
                    return event

    def kinds(self, run: object) -> list[str]:
        """Name the events of a run."""
        return [event.kind for event in self.seen if event.run == str(run)]


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in, before a screen."""

    principal: Principal
    screen: Screen

    @property
    def user(self) -> str:
        """Who they are."""
        return self.principal.user


class WorkerProcess:
    """`netra-agents worker` with the five agents."""

    def __init__(self, process: Program) -> None:
        self.process = process

    async def kill(self) -> None:
        """End it as a crash does: it has no say in it."""
        self.process.kill()
        await self.process.wait()


class GatewayProcess:
    """`netra-gateway`: a user's screen hangs on it, at one address however often it is started."""

    def __init__(self, start_program: StartProgram, environment: IsolatedEnvironment) -> None:
        self._start_program, self._environment = start_program, environment
        self.uri = ""

    async def start(self) -> None:
        """Start it, and come back once it is ready."""
        self.process, told = await ready(self._start_program("netra-gateway"))
        self.uri = told["uri"]
        self._environment.set("NETRA_GATEWAY_PORT", str(urlsplit(self.uri).port))

    async def kill(self) -> None:
        """End it as a crash does: nobody is told goodbye."""
        self.process.kill()
        await self.process.wait()


class Installation:
    """The platform: what its parts are made with, and what is entered of them."""

    def __init__(self, opened: AsyncExitStack, stores: dict[str, Any], folder: Path) -> None:
        self._opened, self._stores = opened, stores
        self.engine: AsyncEngine = stores["engine"]
        self.keys = keys = KeyRing(SigningKey.generate())
        self.revocations = Revocations(**stores, policy=TOKENS, deadline=PATIENCE)
        self.access = Access(
            engine=self.engine, policy=collaboration_policy(), revocations=self.revocations, deadline=PATIENCE
        )
        signer = AccessTokens(keys=keys, policy=TOKENS)
        self._refresh = RefreshTokens(
            engine=self.engine, roles=self.access, revocations=self.revocations, access_tokens=signer,
            policy=RefreshPolicy(deadline=PATIENCE),
        )  # fmt: skip
        self._verifier = Verifier(**stores, keys=keys, policy=TOKENS, following=FOLLOWING)
        self._sessions = Sessions(**stores, policy=SessionPolicy(deadline=PATIENCE))
        redis = {"redis": stores["redis"], "namespace": stores["namespace"]}
        self.publisher = Publisher(**redis, policy=HistoryPolicy(deadline=PATIENCE))
        self._gateway = Gateway(
            **redis, endings=self._sessions.endings, policy=GatewayPolicy(deadline=PATIENCE),
            authentication=Authentication(self._verifier, refusals=(TokenRefused,)),
        )  # fmt: skip
        own = {"engine": self.engine, "namespace": stores["namespace"]}
        self.archive = Archive(**own, folder=folder, access=self.access, deadline=PATIENCE)
        self.runs = Orchestrator(**stores, policy=POLICY)
        self.optimization = CostOptimization(runs=self.runs, access=self.access, record=Record(**own))
        self.collaboration = Collaboration(**own, access=self.access, sink=self.publisher, deadline=PATIENCE)
        self._founders: dict[str, Principal] = {}

    async def open(self) -> None:
        """Enter all of it."""
        enter = self._opened.enter_async_context
        hasher = await enter(PasswordHasher(PasswordPolicy(rounds=100_000)))
        factors = await enter(
            SecondFactors(**self._stores, key=SecretBytes(bytes(32)), issuer="Netra", deadline=PATIENCE)
        )
        self._accounts = await enter(
            Accounts(
                **self._stores,
                hasher=hasher,
                factors=factors,
                revocations=self.revocations,
                deadline=PATIENCE,
            )
        )
        for part in (self._verifier, self._sessions, self.publisher, self._gateway, self.runs):
            await enter(part)

    async def person(
        self, name: str, tenant: str, role: Role = Role.SUPER_ADMIN, *, uri: str | None = None
    ) -> Person:
        """Register somebody, give them their role, sign them in and open their screen; a tenant's first founds it.

        Args:
            uri: the gateway of their screen; the one of this process unless given.
        """
        own = TenantId(tenant)
        email = f"{name}@{tenant}.example.com"
        account = await self._accounts.register(email, PASSWORD, tenant=own)
        if tenant in self._founders:
            await self.access.assign(self._founders[tenant], account.id, own, role)
        else:
            await self.access.found(account.id, own)
        signed_in = await self._accounts.sign_in(email, PASSWORD, address="192.0.2.7")
        assert isinstance(signed_in, SignedIn)
        session = (await self._sessions.create(ScreenUser(account.id))).session
        grant = await self._refresh.issue(signed_in, session=SessionId(str(session.id)))
        token = grant.access_token.get_secret_value()
        principal = self._verifier.verify(token)
        self._founders.setdefault(tenant, principal)
        client = RealtimeClient(uri or self._gateway.uri, lambda: token, after=START)
        return Person(principal, Screen(await self._opened.enter_async_context(client)))

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        """Read rows as an auditor would, past the library."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(sql), values)).all())


@asynccontextmanager
async def installed(
    engine: AsyncEngine, redis: Redis, namespace: str, folder: Path
) -> AsyncIterator[Installation]:
    """Open an installation, and close all of it."""
    async with AsyncExitStack() as opened:
        stores = {"engine": engine, "redis": redis, "namespace": namespace}
        installation = Installation(opened, stores, folder)
        await installation.open()
        yield installation


async def ready(starting: Awaitable[Program]) -> tuple[Program, dict[str, Any]]:
    """Start one of the commands that operators use, and give it with its first line once it is ready."""
    process = await starting
    async with within(seconds=60):
        line = json.loads(await process.stdout.readline())
    assert line["event"] == "ready", line
    return process, line


async def start_worker(
    start_program: StartProgram, environment: IsolatedEnvironment, postgres: PostgresEndpoint, redis: RedisEndpoint,
    namespace: str, folder: Path,
) -> WorkerProcess:  # fmt: skip
    """Start a worker, and give it once it is ready."""
    told = {
        "AGENTS_DATABASE_URL": postgres.url(), "AGENTS_REDIS_URL": redis.url, "AGENTS_NAMESPACE": namespace,
        "AGENTS_EQUIPMENT": "netra_workflows.equipment:equipment", "AGENTS_POLICY__DEADLINE": "PT30S",
        "WORKFLOWS_BILLS": str(folder), "WORKFLOWS_MEMORY_MB": "512", "WORKFLOWS_LEASE": "PT3S",
    }  # fmt: skip
    for name, value in told.items():
        environment.set(f"NETRA_{name}", value)
    process, _ = await ready(start_program("netra-agents", "worker", imports=EQUIPMENT))
    return WorkerProcess(process)


async def start_gateway(
    start_program: StartProgram, environment: IsolatedEnvironment, postgres: PostgresEndpoint, redis: RedisEndpoint,
    namespace: str, keys: Path,
) -> GatewayProcess:  # fmt: skip
    """Start a gateway on a free port, with the public keys in a file."""
    told = {
        "DATABASE_URL": postgres.url(), "REDIS_URL": redis.url, "NAMESPACE": namespace, "PORT": "0",
        "AUTHENTICATION": "verifying:authentication", "KEYS_FILE": str(keys), "POLICY__DEADLINE": "PT30S",
    }  # fmt: skip
    for name, value in told.items():
        environment.set(f"NETRA_GATEWAY_{name}", value)
    environment.set("PYTHONPATH", str(Path(__file__).parent))
    gateway = GatewayProcess(start_program, environment)
    await gateway.start()
    return gateway
