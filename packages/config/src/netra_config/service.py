"""Live, immutable settings: the class that a caller holds."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar

from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_config.announce import Channel
from netra_config.drift import Drift, between_all
from netra_config.errors import ConfigError, FlagNotFound, StoreUnavailable
from netra_config.exposures import Exposures
from netra_config.flags import Attribute, Decide, Decision, Reason
from netra_config.follow import Follower
from netra_config.held import Held
from netra_config.layered import Layered, layered
from netra_config.layers import Values, merge, parse
from netra_config.ledger import Committed, Ledger, Signature
from netra_config.line import Line
from netra_config.policy import ConfigPolicy, utc_now
from netra_config.revision import (
    Difference,
    Edit,
    Environment,
    Health,
    Proposal,
    Revision,
    TenantId,
    check_text,
)
from netra_config.running import Reports, Running, process_name
from netra_config.schema import Schema
from netra_config.secrets import Key, Keyring
from netra_config.snapshot import Resolver, Snapshot
from netra_config.store import Store

T = TypeVar("T")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


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
        InputRefused: a name can't be kept as it is.
        ForeignKey: a key is another environment's.
    """

    current: T

    def __init__(
        self, schema: type[T], *, environment: Environment, engine: AsyncEngine, redis: Redis, namespace: str,
        keys: Sequence[Key] = (), values: Values = _NOTHING, policy: ConfigPolicy | None = None,
        clock: Callable[[], datetime] = utc_now, process: str | None = None,
    ) -> None:  # fmt: skip
        self._process = process_name() if process is None else process
        check_text(namespace, "the name of the namespace", most=200)
        check_text(self._process, "the name of the process", most=200)
        self._policy = policy = policy or ConfigPolicy()
        self._schema = Schema(schema)
        self._resolver = Resolver(self._schema, merge(values), Keyring(environment, keys))
        self._store = Store(engine, namespace, environment, deadline=policy.deadline)
        self._ledger = Ledger(self._resolver, self._store, clock, limit_bytes=policy.limit_bytes)
        self._line = Line(redis, deadline=policy.deadline)
        prefix = f"{namespace}:config:{environment.value}"
        self._channel, self._reports = Channel(self._line, prefix), Reports(self._line, prefix)
        self._clock = clock
        self._exposures = Exposures(self._store, clock)
        self._follower: Follower | None = None
        self._held = Held(self._resolver, clock)
        self._held.on_change(self._changed)
        self._flags: Mapping[str, Decide] = {}

    async def __aenter__(self) -> Self:
        """Load the newest revision and follow those to come.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
            RevisionInvalid: the newest revision does not load under this schema.
        """
        if self._follower is not None:
            raise RuntimeError("the block is entered already; make a service of its own for another")
        await self.load()
        self._line.kept = True
        self._follower = Follower(
            self._channel, version=lambda: self._held.seen, refresh=self.refresh,
            poll_every=self._policy.poll_every, upkeep=self._keep_up, upkeep_every=self._policy.upkeep_every,
        )  # fmt: skip
        try:
            await self._follower.start(patience=self._policy.deadline)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            self._store.close()  # a read under way ends by that: cancelled, it would leave a task of the driver's
            await asyncio.sleep(0)
            if self._follower is not None:
                await self._follower.stop()
            with suppress(ConfigError):
                await self._exposures.flush()
            with suppress(ConfigError):
                await self._reports.withdraw(self._process)
        finally:
            self._follower, self._line.kept = None, False
            self._store.close()
            await self._line.close()

    @property
    def version(self) -> int:
        """The version in memory."""
        return self._held.snapshot.version

    @property
    def snapshot(self) -> Snapshot[T]:
        """All that belongs to the version in memory: what is read from it belongs together."""
        return self._held.snapshot

    @property
    def lost_exposures(self) -> int:
        """How many exposures could not be kept."""
        return self._exposures.lost

    def for_tenant(self, tenant: TenantId) -> T:
        """Return the settings of *tenant*: its own over everybody's."""
        snapshot = self._held.snapshot
        return snapshot.tenants.get(tenant, snapshot.values)

    def decide(self, flag: str, key: str, attributes: Mapping[str, Attribute] = _NOTHING) -> Decision:
        """Return what *flag* says to the subject *key*; where it was drawn a share, the exposure is noted.

        Args:
            attributes: ``tenant``, ``tier`` and whatever else rules look at.

        Raises:
            FlagNotFound: there is no such flag.
        """
        decide = self._flags.get(flag)
        if decide is None:
            raise FlagNotFound(flag)
        decision = decide(key, attributes)
        if decision[2] is Reason.SPLIT:
            self._exposures.note(flag, key, decision[1], self.version)
        return decision

    async def exposures(self, flag: str) -> Mapping[str, int]:
        """Count the subjects that were shown each variant of *flag*, after what waits here was written."""
        check_text(flag, "the name of a flag", most=200)
        await self._exposures.flush()
        return await self._store.exposed(flag)

    def health(self) -> Health:
        """Tell how current the settings are."""
        return self._held.health(listening=self._follower is not None and self._follower.listening)

    def on_change(self, told: Callable[[], None]) -> None:
        """Call *told*, on the event loop, after each revision that was taken up or refused."""
        self._held.on_change(told)

    async def load(self) -> None:
        """Load the newest revision, once.

        Raises:
            RevisionInvalid: it does not load under this schema.
        """
        at, newest = self._clock(), await self._store.newest()
        self._held.load(newest.version, newest.document)
        self._held.confirmed_at = at

    async def refresh(self) -> None:
        """Take up the newest revision if it is newer; one that does not load is noted, and the last good one stays."""
        if self._follower is None:
            raise RuntimeError("enter the block first; outside, load() reads once")
        at, newer = self._clock(), await self._store.newer(self._held.seen)
        self._held.confirmed_at = at
        if newer is not None:
            self._held.take_up(*newer)

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
        return await self._take(self._ledger.commit(edit, base, self._held.if_any, Signature(author, reason)))

    async def rollback(self, to: int, *, base: int, author: str, reason: str) -> Revision:
        """Make the text of version *to*, byte for byte, the revision after *base*; raises what `commit` does.

        Raises:
            RevisionNotFound: there is no version *to*.
        """
        return await self._take(self._ledger.rollback(to, base, self._held.if_any, Signature(author, reason)))

    async def reseal(self, *, base: int, author: str, reason: str) -> Revision:
        """Seal every secret with the first key, so that the others are needed for the history alone.

        Raises:
            SecretRefused: one does not open.
        """
        return await self._take(self._ledger.reseal(base, self._held.if_any, Signature(author, reason)))

    async def history(self, *, limit: int = 50) -> tuple[Revision, ...]:
        """Return the newest revisions, at most 1,000, the newest first; each holds its whole document."""
        return await self._store.history(max(0, min(limit, 1_000)))

    async def compare(self, before: int, after: int) -> tuple[Difference, ...]:
        """Tell what is different between two versions.

        Raises:
            RevisionNotFound: there is no such version.
        """
        return await self._ledger.compare(before, after)

    def seal(self, path: str, plain: str) -> dict[str, JsonValue]:
        """Seal a secret for a file of this environment; it opens at *path* alone.

        Raises:
            InputRefused: no `SecretStr` stands there, or the text can't be kept as it is.
        """
        return self._resolver.seal(parse(path), plain)

    def layers(self, tenant: TenantId | None = None) -> tuple[Layered, ...]:
        """Tell each value in force and the layer that it comes from; secrets are masked."""
        return layered(self._resolver, self._held.snapshot, tenant)

    async def running(self) -> tuple[Running, ...]:
        """Return what the processes report that hold a lease."""
        return await self._reports.running()

    async def drift(self, *, against: Environment | None = None) -> tuple[Drift, ...]:
        """List where schema, store, files and processes disagree, and, if asked, two environments."""
        newest, running = await self._store.newest(), await self.running()
        there = None if against is None else (await self._store.of(against).newest()).document
        return between_all(self._resolver, newest, running, there)

    async def _take(self, making: Awaitable[Committed[T]]) -> Revision:
        committed = await making
        self._held.adopt(committed.snapshot)
        with suppress(StoreUnavailable):  # then the poll carries it
            await self._channel.announce(committed.revision.version)
        return committed.revision

    def _changed(self) -> None:
        snapshot = self._held.snapshot
        self.current, self._flags = snapshot.values, snapshot.flags
        if self._follower is not None:
            self._follower.changed()

    async def _keep_up(self) -> None:
        """Report this process, and write what was exposed; one store out of reach does not keep the other waiting."""
        try:
            running = self._held.running(self._process, self._schema.fingerprint)
            await self._reports.report(running, lease=self._policy.upkeep_every * 3)
        finally:
            await self._exposures.flush()
