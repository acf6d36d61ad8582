"""What a process has in memory: the newest revision that loads here, and the one that did not."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from netra_config.edit import blocking
from netra_config.errors import RevisionInvalid
from netra_config.revision import Health, Refused
from netra_config.running import Running
from netra_config.snapshot import Resolver, Snapshot

T = TypeVar("T")
log = logging.getLogger(__name__)


class Held(Generic[T]):
    """The snapshot in memory; it is only ever replaced, whole, by a newer one."""

    def __init__(self, resolver: Resolver[T], clock: Callable[[], datetime]) -> None:
        self.confirmed_at = datetime.min.replace(tzinfo=UTC)
        self.refused: Refused | None = None
        self._resolver = resolver
        self._clock = clock
        self._snapshot: Snapshot[T] | None = None
        self._told = list[Callable[[], None]]()

    @property
    def snapshot(self) -> Snapshot[T]:
        """What readers have.

        Raises:
            RuntimeError: nothing was loaded yet.
        """
        if self._snapshot is None:
            raise RuntimeError("enter the block first, or load()")
        return self._snapshot

    @property
    def if_any(self) -> Snapshot[T] | None:
        """What readers have, or None before the first revision was loaded."""
        return self._snapshot

    @property
    def seen(self) -> int:
        """The newest version that was taken up or refused."""
        refused = 0 if self.refused is None else self.refused.version
        return max(refused, 0 if self._snapshot is None else self._snapshot.version)

    def health(self, *, listening: bool) -> Health:
        """Tell how current the settings are."""
        return Health(
            version=self.snapshot.version, confirmed_at=self.confirmed_at,
            age=self._clock() - self.confirmed_at, listening=listening, refused=self.refused,
        )  # fmt: skip

    def running(self, process: str, fingerprint: str) -> Running:
        """Say what the process of this name runs, under the schema of this fingerprint."""
        return Running(
            process=process, schema_fingerprint=fingerprint, version=self.snapshot.version,
            refused=None if self.refused is None else self.refused.version, reported_at=self._clock(),
        )  # fmt: skip

    def on_change(self, told: Callable[[], None]) -> None:
        """Call *told* after each revision that was taken up or refused."""
        self._told.append(told)

    def load(self, version: int, text: str) -> None:
        """Take up the first revision.

        Raises:
            RevisionInvalid: it does not load under this schema.
        """
        snapshot, faults = self._resolver.read(version, text)
        if snapshot is None:
            raise RevisionInvalid(blocking(faults))
        self.adopt(snapshot)

    def take_up(self, version: int, text: str) -> None:
        """Take up a newer revision; one that does not load is noted, and the last good one stays."""
        if version <= self.seen:
            return
        snapshot, faults = self._resolver.read(version, text)
        if snapshot is None:
            self.refused = Refused(version=version, faults=blocking(faults))
            self._tell()
        else:
            self.adopt(snapshot)

    def adopt(self, snapshot: Snapshot[T]) -> None:
        """Give *snapshot* to readers, unless they have a newer one."""
        if self._snapshot is None or snapshot.version > self._snapshot.version:
            self._snapshot = snapshot
            if self.refused is not None and self.refused.version < snapshot.version:
                self.refused = None
            self._tell()

    def _tell(self) -> None:
        for told in self._told:
            try:
                told()
            except Exception as error:  # a listener's slip; its text may hold a value, so it is named alone
                log.error("who was told of a change raised %s", type(error).__name__)
