"""Live, immutable settings: the class that a caller holds."""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Generic, Self, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_config.drift import Drift, between_all
from netra_config.edit import blocking
from netra_config.errors import FlagNotFound, RevisionInvalid, StoreUnavailable
from netra_config.exposures import Exposures
from netra_config.flags import Attribute, Decision, Reason
from netra_config.follow import Follower
from netra_config.layered import Layered, layered
from netra_config.layers import Values, parse
from netra_config.ledger import Committed, Ledger, Signature
from netra_config.revision import (
    Difference,
    Edit,
    Environment,
    Health,
    Proposal,
    Refused,
    Revision,
    TenantId,
    check_text,
)
from netra_config.schema import Schema
from netra_config.secrets import Key, Keyring
from netra_config.snapshot import Resolver, Snapshot
from netra_config.store import Store
from netra_config.watch import Running, Watch

T = TypeVar("T")
_NOTHING: Mapping[str, JsonValue] = MappingProxyType({})
_NO_ATTRIBUTES: Mapping[str, Attribute] = MappingProxyType({})


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


class ConfigPolicy(BaseModel):
    """How settings are followed.

    Args:
        deadline: by when a store has to answer.
        poll_every: what a lost announcement costs at most.
        upkeep_every: how often a process reports itself and writes exposures; it is forgotten after three times that.
        limit_bytes: how long a document may be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline: timedelta = Field(default=timedelta(seconds=2), gt=timedelta())
    poll_every: timedelta = Field(default=timedelta(seconds=5), gt=timedelta())
    upkeep_every: timedelta = Field(default=timedelta(seconds=5), gt=timedelta())
    limit_bytes: int = Field(default=1_048_576, gt=0)


class ConfigService(Generic[T]):
    """The settings of one environment of one installation, named by its *namespace*.

    Within ``async with`` they are live: `current` is replaced whole when a revision arrives, so hold it in a variable
    where several reads must agree. The engine and the client stay the caller's.

    Args:
        schema: a model declared with `settings`, or a frozen `BaseModel` that forbids unknown names.
        keys: the environment's; the first one seals. Without, secrets can be neither set nor read.
        values: what files and variables say, from `read_environment`.
        process: how this process is named in reports.

    Raises:
        TypeError: the schema doesn't do for a shared snapshot.
        ForeignKey: a key is another environment's.
    """

    current: T

    def __init__(
        self, schema: type[T], *, environment: Environment, engine: AsyncEngine, redis: Redis, namespace: str,
        keys: Sequence[Key] = (), values: Values = _NOTHING, policy: ConfigPolicy | None = None,
        clock: Callable[[], datetime] = utc_now, process: str | None = None,
    ) -> None:  # fmt: skip
        self._policy = policy = policy or ConfigPolicy()
        self._schema = Schema(schema)
        self._resolver = Resolver(self._schema, values, Keyring(environment, keys))
        self._store = Store(engine, namespace, environment, deadline=policy.deadline)
        self._ledger = Ledger(self._resolver, self._store, clock, limit_bytes=policy.limit_bytes)
        self._watch = Watch(redis, namespace, environment, deadline=policy.deadline)
        self._clock = clock
        self._process = process or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._exposures = Exposures(self._store, clock)
        self._follower: Follower | None = None
        self._confirmed_at = datetime.min.replace(tzinfo=UTC)
        self._refused: Refused | None = None
        self._told = list[Callable[[], None]]()
        self.snapshot: Snapshot[T] | None = None

    async def __aenter__(self) -> Self:
        """Load the newest revision and follow those to come.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
            RevisionInvalid: the newest revision does not load under this schema.
        """
        await self.load()
        self._follower = Follower(
            self._watch, version=lambda: self._seen, refresh=self.refresh, poll_every=self._policy.poll_every,
            upkeep=self._keep_up, upkeep_every=self._policy.upkeep_every,
        )  # fmt: skip
        await self._follower.start(patience=self._policy.deadline)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._follower is not None:
            await self._follower.stop()
        with suppress(StoreUnavailable):
            await self._exposures.flush()
        with suppress(StoreUnavailable):
            await self._watch.withdraw(self._process)

    @property
    def version(self) -> int:
        """The version in memory."""
        return self._held.version

    @property
    def lost_exposures(self) -> int:
        """How many exposures could not be kept."""
        return self._exposures.lost

    def for_tenant(self, tenant: TenantId) -> T:
        """Return the settings of *tenant*: its own over everybody's."""
        snapshot = self._held
        return snapshot.tenants.get(tenant, snapshot.values)

    def decide(self, flag: str, key: str, attributes: Mapping[str, Attribute] = _NO_ATTRIBUTES) -> Decision:
        """Return what *flag* says to the subject *key*; where it was drawn a share, the exposure is noted.

        Args:
            attributes: ``tenant``, ``tier`` and whatever else rules look at.

        Raises:
            FlagNotFound: there is no such flag.
        """
        snapshot = self._held
        decide = snapshot.flags.get(flag)
        if decide is None:
            raise FlagNotFound(flag)
        decision = decide(key, attributes)
        if decision[2] is Reason.SPLIT:
            self._exposures.note(flag, key, decision[1], snapshot.version)
        return decision

    async def exposures(self, flag: str) -> Mapping[str, int]:
        """Count the subjects that were shown each variant of *flag*, after what waits here was written."""
        check_text(flag, "the name of a flag", most=200)
        await self._exposures.flush()
        return await self._store.exposed(flag)

    def health(self) -> Health:
        """Tell how current the settings are."""
        return Health(
            version=self.version, confirmed_at=self._confirmed_at, age=self._clock() - self._confirmed_at,
            listening=self._follower is not None and self._follower.listening, refused=self._refused,
        )  # fmt: skip

    def on_change(self, told: Callable[[], None]) -> None:
        """Call *told*, on the event loop, after each revision that was taken up or refused; it must not raise."""
        self._told.append(told)

    async def load(self) -> None:
        """Load the newest revision, once.

        Raises:
            RevisionInvalid: it does not load under this schema.
        """
        at, newest = self._clock(), await self._store.newest()
        snapshot, faults = self._resolver.read(newest.version, newest.document)
        if snapshot is None:
            raise RevisionInvalid(blocking(faults))
        self._adopt(snapshot)
        self._confirmed_at = at

    async def refresh(self) -> None:
        """Take up the newest revision if it is newer; one that does not load is noted, and the last good one stays."""
        at, newer = self._clock(), await self._store.newer(self._seen)
        self._confirmed_at = at
        if newer is None or newer[0] <= self._seen:
            return
        snapshot, faults = self._resolver.read(*newer)
        if snapshot is None:
            self._refused = Refused(version=newer[0], faults=blocking(faults))
            self._tell_change()
        else:
            self._adopt(snapshot)

    async def propose(self, edit: Edit) -> Proposal:
        """Tell what *edit* would change in the newest revision, and every fault of it; nothing is written."""
        return await self._ledger.propose(edit)

    async def commit(self, edit: Edit, *, base: int, author: str, reason: str) -> Revision:
        """Make *edit* the revision after *base*, and tell every process.

        Raises:
            VersionConflict: *base* is not the newest version.
            RevisionInvalid: the whole would not load; nothing was written.
            InputRefused: a text can't be kept as it is.
            StoreUnavailable: PostgreSQL did not answer; the history tells whether the change was made.
        """
        return await self._take(self._ledger.commit(edit, base, self.snapshot, Signature(author, reason)))

    async def rollback(self, to: int, *, base: int, author: str, reason: str) -> Revision:
        """Make the text of version *to*, byte for byte, the revision after *base*; raises what `commit` does.

        Raises:
            RevisionNotFound: there is no version *to*.
        """
        return await self._take(self._ledger.rollback(to, base, self.snapshot, Signature(author, reason)))

    async def reseal(self, *, base: int, author: str, reason: str) -> Revision:
        """Seal every secret with the first key, so that the others are needed for the history alone.

        Raises:
            SecretRefused: one does not open.
        """
        return await self._take(self._ledger.reseal(base, self.snapshot, Signature(author, reason)))

    async def history(self, *, limit: int = 50) -> tuple[Revision, ...]:
        """Return the newest revisions, the newest first."""
        return await self._store.history(max(0, min(limit, 10_000)))

    async def compare(self, before: int, after: int) -> tuple[Difference, ...]:
        """Tell what is different between two versions.

        Raises:
            RevisionNotFound: there is no such version.
        """
        return await self._ledger.compare(before, after)

    def seal(self, path: str, plain: str) -> dict[str, JsonValue]:
        """Seal a secret for a file of this environment; it opens at *path* alone."""
        return self._resolver.keyring.seal(plain, ("values", *parse(path)))

    def layers(self, tenant: TenantId | None = None) -> tuple[Layered, ...]:
        """Tell each value in force and the layer that it comes from; secrets are masked."""
        return layered(self._resolver, self._held, tenant)

    async def running(self) -> tuple[Running, ...]:
        """Return what the processes report that hold a lease."""
        return await self._watch.running()

    async def drift(self, *, against: Environment | None = None) -> tuple[Drift, ...]:
        """List where schema, store, files and processes disagree, and, if asked, two environments."""
        newest, running = await self._store.newest(), await self._watch.running()
        there = None if against is None else (await self._store.of(against).newest()).document
        return between_all(self._resolver, newest, running, there)

    @property
    def _held(self) -> Snapshot[T]:
        if self.snapshot is None:
            raise RuntimeError("enter the block first, or load()")
        return self.snapshot

    @property
    def _seen(self) -> int:
        refused = 0 if self._refused is None else self._refused.version
        return max(refused, 0 if self.snapshot is None else self.snapshot.version)

    def _adopt(self, snapshot: Snapshot[T]) -> None:
        if self.snapshot is None or snapshot.version > self.snapshot.version:
            self.snapshot = snapshot
            self.current = snapshot.values
            if self._refused is not None and self._refused.version < snapshot.version:
                self._refused = None
            self._tell_change()

    def _tell_change(self) -> None:
        for told in self._told:
            told()
        if self._follower is not None:
            self._follower.changed()

    async def _take(self, making: Awaitable[Committed[T]]) -> Revision:
        committed = await making
        self._adopt(committed.snapshot)
        with suppress(StoreUnavailable):  # then the poll carries it
            await self._watch.announce(committed.revision.version)
        return committed.revision

    async def _keep_up(self) -> None:
        """Report this process, and write what was exposed; one store out of reach does not keep the other waiting."""
        try:
            refused = None if self._refused is None else self._refused.version
            running = Running(
                process=self._process, schema_fingerprint=self._schema.fingerprint, version=self.version,
                refused=refused, reported_at=self._clock(),
            )  # fmt: skip
            await self._watch.report(running, lease=self._policy.upkeep_every * 3)
        finally:
            await self._exposures.flush()
