"""The revisions and exposures in PostgreSQL: every SQL statement of this package."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_config.connections import Kept, connected
from netra_config.errors import RevisionNotFound, VersionConflict
from netra_config.revision import Difference, Document, Environment, Revision

_COLUMNS = (
    "version, base, author, reason, made_at, restores, cast(differences as text) as differences, document"
)


def _statement(sql: str) -> TextClause:
    ours = "namespace = :namespace and environment = :environment"
    return text(sql.replace("@columns", _COLUMNS).replace("@ours", ours))


# The version follows the newest one in the same statement, and the key settles a race.
_APPEND = _statement(
    "insert into config.revision (namespace, environment, version, base, author, reason, made_at, restores,"
    " differences, document)"
    " select :namespace, :environment, cast(:base as bigint) + 1, :base, :author, :reason, :made_at, :restores,"
    " cast(:differences as json), :document"
    " where :base = coalesce((select max(version) from config.revision where @ours), 0)"
    " on conflict do nothing returning version"
)
_NEWEST = _statement("select @columns from config.revision where @ours order by version desc limit 1")
_SINCE = (
    "select version, document from config.revision where namespace = $1 and environment = $2 and version > $3"
    " order by version desc limit 1"
)
_ONE = _statement("select @columns from config.revision where @ours and version = :version")
_HISTORY = _statement("select @columns from config.revision where @ours order by version desc limit :limit")
_EXPOSE = _statement(
    "insert into config.exposure (namespace, environment, flag, subject, variant, version, exposed_at)"
    " select :namespace, :environment, * from unnest(cast(:flags as text[]), cast(:subjects as text[]),"
    " cast(:variants as text[]), cast(:versions as bigint[]), cast(:instants as timestamptz[]))"
    " on conflict do nothing"
)
_EXPOSED = _statement(
    "select variant, count(*) as subjects from config.exposure where @ours and flag = :flag"
    " group by variant order by variant"
)


@dataclass(frozen=True, slots=True)
class Exposure:
    """A subject was shown a variant, for the first time."""

    flag: str
    subject: str
    variant: str
    version: int
    exposed_at: datetime


class Store:
    """What one namespace keeps of one environment; a call that is not answered raises `StoreUnavailable`."""

    def __init__(
        self, engine: AsyncEngine, namespace: str, environment: Environment, *, deadline: timedelta
    ) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._namespace = namespace
        self._ours = {"namespace": namespace, "environment": environment.value}
        self._deadline = deadline
        self._kept = Kept(engine, _SINCE, deadline)

    def of(self, environment: Environment) -> "Store":
        """Give the same namespace's other environment."""
        return Store(self._engine, self._namespace, environment, deadline=self._deadline)

    async def append(
        self, base: int, text: str, differences: Sequence[Difference], *, author: str, reason: str, at: datetime,
        restores: int | None = None,
    ) -> Revision:  # fmt: skip
        """Write the revision that follows *base*.

        Raises:
            VersionConflict: another one follows it already.
        """
        told = json.dumps([one.model_dump() for one in differences])
        rows = await self._execute(
            _APPEND, base=base, differences=told, author=author, reason=reason, made_at=at, restores=restores,
            document=text,
        )  # fmt: skip
        if not rows:
            raise VersionConflict(base, (await self.newest()).version)
        return Revision(
            version=rows[0].version, base=base, author=author, reason=reason, made_at=at, restores=restores,
            differences=tuple(differences), document=text,
        )  # fmt: skip

    async def newest(self) -> Revision:
        """Return the newest revision; version 0, which holds nothing, where there is none yet."""
        rows = await self._execute(_NEWEST)
        return _revision(rows[0]) if rows else _nothing()

    async def newer(self, version: int) -> tuple[int, str] | None:
        """Return the newest revision's version and text if it is newer than *version*.

        Every process waits for this between an announcement and the change, so it has a connection of its own, which
        one task at a time may use, until `close`.
        """
        row = await self._kept.ask(*self._ours.values(), version)
        return None if row is None else (row["version"], row["document"])

    def close(self) -> None:
        """Close the connection that `newer` keeps."""
        self._kept.close()

    async def one(self, version: int) -> Revision:
        """Return one revision.

        Raises:
            RevisionNotFound: there is none.
        """
        if version == 0:
            return _nothing()
        rows = await self._execute(_ONE, version=version) if 0 < version < 2**63 else ()
        if not rows:
            raise RevisionNotFound(version)
        return _revision(rows[0])

    async def history(self, limit: int) -> tuple[Revision, ...]:
        """Return up to *limit* revisions, the newest first."""
        return tuple(_revision(row) for row in await self._execute(_HISTORY, limit=limit))

    async def expose(self, exposures: Sequence[Exposure]) -> None:
        """Write exposures; those that are known already change nothing."""
        await self._execute(
            _EXPOSE,
            flags=[one.flag for one in exposures],
            subjects=[one.subject for one in exposures],
            variants=[one.variant for one in exposures],
            versions=[one.version for one in exposures],
            instants=[one.exposed_at for one in exposures],
        )

    async def exposed(self, flag: str) -> dict[str, int]:
        """Count the subjects that were shown each variant."""
        return {row.variant: row.subjects for row in await self._execute(_EXPOSED, flag=flag)}

    async def _execute(self, statement: TextClause, **values: object) -> Sequence[Row[Any]]:
        async with connected(self._engine, self._deadline) as connection:
            result = await connection.execute(statement, {**self._ours, **values})
            return result.fetchall() if result.returns_rows else ()


def _nothing() -> Revision:
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return Revision(
        version=0, base=0, author="nobody", reason="before the first revision", made_at=epoch, differences=(),
        document=Document().text(),
    )  # fmt: skip


def _revision(row: Row[Any]) -> Revision:
    told = tuple(Difference(**one) for one in json.loads(row.differences))
    return Revision(**{**row._mapping, "differences": told})
