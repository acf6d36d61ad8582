"""The platform at work, in a terminal: `nox -s demo`, with `-- --seed N` or `-- --bills PATH`.

Servers of its own, a gateway, a worker process and a user, who uploads bills and looks on while five agents find what
could be saved. Nothing is left behind but the report.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import SecretBytes, SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import netra_agents.migrations
import netra_auth.migrations
import netra_sessions.migrations
import netra_tools.migrations
import netra_workflows.migrations
from netra_agents import Orchestrator
from netra_auth import (
    Access,
    AccessTokens,
    Accounts,
    KeyRing,
    PasswordHasher,
    PasswordPolicy,
    Principal,
    RefreshTokens,
    Revocations,
    SecondFactors,
    SessionId,
    SignedIn,
    SigningKey,
    TenantId,
    TokenPolicy,
    TokenRefused,
    Verifier,
)
from netra_fixtures.lease import Run
from netra_fixtures.services.embedded import Embedded
from netra_fixtures.services.endpoint import PostgresEndpoint, RedisEndpoint
from netra_fixtures.services.postgres import SUPERUSER
from netra_sessions import Authentication, Gateway, RealtimeClient, Sessions, UserId
from netra_sessions.events import START
from netra_workflows import (
    Archive,
    Collaboration,
    CostOptimization,
    Record,
    StoredFinding,
    WorkflowsError,
    collaboration_policy,
)
from netra_workflows.generator import Bill

ROOT: Final = Path(__file__).parents[1]
NAMESPACE: Final = "demo"
MIGRATED: Final = (netra_auth, netra_sessions, netra_tools, netra_agents, netra_workflows)
PASSWORD: Final = SecretStr("correct horse battery staple")
PATIENCE: Final = timedelta(minutes=5)
SUFFIXES: Final = (".csv", ".gz", ".json", ".jsonl", ".parquet")
STEPS: Final = ("triage", "data", "optimization", "actions", "reporting")


@contextmanager
def servers() -> Iterator[tuple[PostgresEndpoint, RedisEndpoint]]:
    """Start PostgreSQL and Valkey, and end them."""
    run = Run(alone=True)
    try:
        backend = Embedded(run.directory, cache=None, redis="valkey")
        postgres, keys = backend.postgres("pg", ""), backend.redis("redis")
        postgres.create()
        postgres.start()
        keys.start()
        print(
            f"PostgreSQL {backend.postgres_version} and {backend.redis_name} {backend.redis_version} are up."
        )
        yield (
            PostgresEndpoint(user=SUPERUSER, database="postgres", socket=postgres.socket_path),
            RedisEndpoint(socket=keys.socket_path),
        )
        postgres.abandon()
        keys.abandon()
    finally:
        run.end()


@asynccontextmanager
async def worker(postgres: PostgresEndpoint, redis: RedisEndpoint, bills: Path) -> AsyncIterator[Process]:
    """Start a worker process, and end it."""
    told = {
        "NETRA_AGENTS_DATABASE_URL": postgres.url(), "NETRA_AGENTS_REDIS_URL": redis.url,
        "NETRA_AGENTS_NAMESPACE": NAMESPACE, "NETRA_AGENTS_EQUIPMENT": "netra_workflows.equipment:equipment",
        "NETRA_WORKFLOWS_BILLS": str(bills),
    }  # fmt: skip
    command = str(Path(sys.executable).with_name("netra-agents"))
    process = await asyncio.create_subprocess_exec(command, "worker", stdout=PIPE, env=os.environ | told)
    assert process.stdout is not None
    draining: asyncio.Task[bytes] | None = None
    try:
        line = await process.stdout.readline()
        if b'"ready"' not in line:
            raise SystemExit(f"the worker did not start: {line.decode()}")
        draining = asyncio.create_task(process.stdout.read())
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        if draining is not None:
            await draining


class User:
    """Somebody who registers, signs in and opens a screen."""

    def __init__(self, engine: AsyncEngine, redis: Redis) -> None:
        stores: dict[str, Any] = {"engine": engine, "redis": redis, "namespace": NAMESPACE}
        self._stores = stores
        tokens, keys = (
            TokenPolicy(issuer="https://auth.example.com", audience="netra"),
            KeyRing(SigningKey.generate()),
        )
        self._revocations = Revocations(**stores, policy=tokens)
        self.access = Access(engine=engine, policy=collaboration_policy(), revocations=self._revocations)
        signer = AccessTokens(keys=keys, policy=tokens)
        self._refresh = RefreshTokens(
            engine=engine, roles=self.access, revocations=self._revocations, access_tokens=signer
        )
        self._verifier = Verifier(**stores, keys=keys, policy=tokens)
        self._sessions = Sessions(**stores)
        self._gateway = Gateway(
            redis=redis, namespace=NAMESPACE, endings=self._sessions.endings,
            authentication=Authentication(self._verifier, refusals=(TokenRefused,)),
        )  # fmt: skip

    async def sign_in(self, opened: AsyncExitStack) -> tuple[Principal, RealtimeClient]:
        """Register, found a tenant, sign in, and open a screen at the gateway."""
        enter = opened.enter_async_context
        hasher = await enter(PasswordHasher(PasswordPolicy()))
        factors = await enter(SecondFactors(**self._stores, key=SecretBytes(bytes(32)), issuer="Netra"))
        accounts = await enter(
            Accounts(**self._stores, hasher=hasher, factors=factors, revocations=self._revocations)
        )
        for part in (self._verifier, self._sessions, self._gateway):
            await enter(part)
        tenant = TenantId("acme")
        account = await accounts.register("alice@example.com", PASSWORD, tenant=tenant)
        await self.access.found(account.id, tenant)
        signed_in = await accounts.sign_in("alice@example.com", PASSWORD, address="192.0.2.7")
        assert isinstance(signed_in, SignedIn), "no second factor was enrolled"
        session = (await self._sessions.create(UserId(account.id))).session
        grant = await self._refresh.issue(signed_in, session=SessionId(str(session.id)))
        token = grant.access_token.get_secret_value()
        print(f"alice@example.com is signed in; her screen is at {self._gateway.uri}.")
        screen = await enter(RealtimeClient(self._gateway.uri, lambda: token, after=START))
        return self._verifier.verify(token), screen


def bills(chosen: argparse.Namespace, folder: Path) -> list[Path]:
    """Give the bills that were asked for, or generate one."""
    if chosen.bills is None:
        path = folder / f"generated-{chosen.seed}.csv.gz"
        labels = Bill(chosen.seed, rows=chosen.rows).write(path)
        print(
            f"A bill of {labels.rows} rows was generated with seed {chosen.seed}; no real one: --bills PATH."
        )
        return [path]
    place: Path = chosen.bills
    found = sorted(place.iterdir()) if place.is_dir() else [place]
    return [path for path in found if path.suffix in SUFFIXES]


async def look_on(screen: RealtimeClient, run: str) -> None:
    """Print a run's events as they come, with how far the five agents are."""
    while True:
        event: Any = await screen.next()
        if event.kind == "gap" or event.run != run:
            continue
        at = getattr(event.data, "agent", None)
        done = STEPS.index(at) if at in STEPS else (5 if event.kind == "agent_completed" else 0)
        said = getattr(event.data, "thought", None) or getattr(event.data, "tool", None) or at
        if event.kind == "agent_failed":
            said = event.data.error
        print(f"[{'#' * done:<5}] {event.kind:<15} {said}", flush=True)
        if event.kind in ("agent_completed", "agent_failed"):
            return


def table(findings: Sequence[StoredFinding]) -> None:
    """Print what could be saved, by cloud and kind."""
    sums: dict[tuple[str, str, str], list[Decimal]] = {}
    for one in findings:
        own = one.finding
        key = (own.provider, own.rule.title, own.currency)
        sums.setdefault(key, []).append(own.saving)
    print("\nSavings by cloud and kind, over the time of the bills:")
    for (provider, title, currency), savings in sorted(sums.items(), key=lambda one: -sum(one[1])):
        print(f"  {provider:<14} {title:<46} {sum(savings, Decimal(0)):>14,.2f} {currency}")


async def journey(
    postgres: PostgresEndpoint, redis_at: RedisEndpoint, chosen: argparse.Namespace, folder: Path
) -> int:
    """Go from bills to savings, and print what happens."""
    async with AsyncExitStack() as opened:
        engine, redis = create_async_engine(postgres.url()), redis_at.client()
        opened.push_async_callback(engine.dispose)
        opened.push_async_callback(redis.aclose)
        for domain in MIGRATED:
            await domain.migrations.migrate(engine)
        user = User(engine, redis)
        principal, screen = await user.sign_in(opened)
        await opened.enter_async_context(worker(postgres, redis_at, folder / "archive"))
        print("A worker process is ready.")
        own: dict[str, Any] = {"engine": engine, "namespace": NAMESPACE}
        archive = Archive(**own, folder=folder / "archive", access=user.access)
        for path in bills(chosen, folder):
            uploaded = await archive.upload(principal, path.name, path)
            print(f"Uploaded {uploaded.name}, {uploaded.size_bytes:,} bytes.")
        runs = await opened.enter_async_context(Orchestrator(engine=engine, redis=redis, namespace=NAMESPACE))
        optimization = CostOptimization(runs=runs, access=user.access, record=Record(**own))
        run = await optimization.begin(principal, "What can we save?")
        await look_on(screen, str(run))
        report = await optimization.told(principal, run, within=PATIENCE)
        table(await optimization.findings(principal, run))
        shared = Collaboration(**own, access=user.access, sink=_Nobody())
        plan = await shared.plan(principal, run)
        print("\nPlan:")
        for step in plan.steps:
            amount = f"{step.a_month:>12,.2f} {step.currency} a month"
            print(f"  {step.number:>2}. {step.wave.value:<13} {amount}  {step.action}")
        print(f"\n{report.text.splitlines()[0] if report.total else 'Nothing could have cost less.'}")
        written = await optimization.report(principal, run)
        chosen.report.mkdir(parents=True, exist_ok=True)
        (chosen.report / "savings.md").write_text(written.markdown, encoding="utf-8")
        (chosen.report / "findings.csv").write_text(written.findings_csv, encoding="utf-8")
        (chosen.report / "savings.html").write_text(written.html, encoding="utf-8")
        print(f"The report: {chosen.report / 'savings.html'}, with savings.md and findings.csv beside it.")
    return 0


class _Nobody:
    """A sink of acts that nobody makes here."""

    async def emit(self, kind: str, **_: object) -> None:
        """Take an event."""


def main() -> int:
    """Show it; 1 where a bill or the run was refused, with the reason."""
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seed", type=int, default=1, help="of the generated bill; another changes every figure"
    )
    parser.add_argument("--rows", type=int, default=5000, help="of the generated bill, about (5000)")
    parser.add_argument(
        "--bills",
        type=Path,
        help="a bill of your own, or a folder of bills, inventories, requests and price lists",
    )
    parser.add_argument(
        "--report", type=Path, default=ROOT / "reports" / "demo", help="where the report goes"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers() as (postgres, redis):
        try:
            return asyncio.run(journey(postgres, redis, chosen, Path(folder)))
        except (WorkflowsError, netra_agents.AgentsError) as error:
            print(f"\n{error}")
            return 1


if __name__ == "__main__":
    sys.exit(main())
