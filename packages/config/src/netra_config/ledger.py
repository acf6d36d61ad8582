"""Make revisions: each is based on the newest one, loads under the schema, and says who made it and why."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from netra_config.edit import Draft, blocking, draft, drafted, resealed
from netra_config.errors import RevisionInvalid, VersionConflict
from netra_config.revision import (
    Difference,
    Document,
    Edit,
    Proposal,
    Revision,
    check_text,
    differences,
)
from netra_config.snapshot import Resolver, Snapshot
from netra_config.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Signature:
    """Who makes a revision, and why.

    Raises:
        InputRefused: a text is empty, long, or can't be kept as it is.
    """

    author: str
    reason: str

    def __post_init__(self) -> None:
        check_text(self.author, "the author", most=200)
        check_text(self.reason, "the reason", most=2_000)


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """A revision, and what readers have of it."""

    revision: Revision
    snapshot: Snapshot[T]


class Ledger(Generic[T]):
    """The revisions of one environment under one schema."""

    def __init__(
        self, resolver: Resolver[T], store: Store, clock: Callable[[], datetime], *, limit_bytes: int
    ) -> None:
        self._resolver = resolver
        self._store = store
        self._clock = clock
        self._limit_bytes = limit_bytes

    async def propose(self, edit: Edit) -> Proposal:
        """Draft *edit* on the newest revision."""
        newest = await self._store.newest()
        made = self._draft(newest.version, self._read(newest), edit)
        return Proposal(base=newest.version, differences=made.differences, faults=made.faults)

    async def commit(
        self, edit: Edit, base: int, held: Snapshot[T] | None, signature: Signature
    ) -> Committed[T]:
        """Draft *edit* on *base* and append it."""
        made = self._draft(base, await self._based_on(base, held), edit)
        return await self._append(base, made, signature)

    async def rollback(
        self, to: int, base: int, held: Snapshot[T] | None, signature: Signature
    ) -> Committed[T]:
        """Append the text of *to*; names in it that the schema no longer has are left to drift."""
        try:
            before = await self._based_on(base, held)
        except RevisionInvalid:  # it is no document: this is how to leave it behind
            before = Document()
        former = await self._store.one(to)
        made = self._drafted(base, before, self._read(former), former.document)
        made = Draft(made.text, made.snapshot, made.differences, blocking(made.faults))
        return await self._append(base, made, signature, restores=to)

    async def reseal(self, base: int, held: Snapshot[T] | None, signature: Signature) -> Committed[T]:
        """Append the same values, sealed with the key that seals now."""
        before = await self._based_on(base, held)
        after = resealed(self._resolver, before)
        return await self._append(base, self._drafted(base, before, after, after.text()), signature)

    async def compare(self, before: int, after: int) -> tuple[Difference, ...]:
        """Tell the differences between two versions."""
        sides = [self._read(await self._store.one(version)) for version in (before, after)]
        return differences(sides[0].whole(), sides[1].whole(), visible=self._resolver.schema.visible)

    async def _based_on(self, base: int, held: Snapshot[T] | None) -> Document:
        """Return the document of *base*, which the statement that appends holds against the newest."""
        if held is not None and held.version == base:
            return held.document
        newest = await self._store.newest()
        if newest.version != base:
            raise VersionConflict(base, newest.version)
        return self._read(newest)

    def _read(self, revision: Revision) -> Document:
        document, faults = self._resolver.parse(revision.document)
        if document is None:
            raise RevisionInvalid(faults)
        return document

    def _draft(self, base: int, before: Document, edit: Edit) -> Draft[T]:
        return draft(self._resolver, base, before, edit, limit_bytes=self._limit_bytes)

    def _drafted(self, base: int, before: Document, after: Document, text: str) -> Draft[T]:
        return drafted(self._resolver, base, before, after, text, limit_bytes=self._limit_bytes)

    async def _append(
        self, base: int, made: Draft[T], signature: Signature, *, restores: int | None = None
    ) -> Committed[T]:
        if made.snapshot is None or made.faults:
            raise RevisionInvalid(made.faults)
        revision = await self._store.append(
            base, made.text, made.differences, author=signature.author, reason=signature.reason,
            at=self._clock(), restores=restores,
        )  # fmt: skip
        return Committed(revision, made.snapshot)
