"""The log of violations: the class that a caller holds."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.identity import UserId, check_name
from netra_auth.store import violations
from netra_auth.store.database import Database
from netra_auth.violation import Kind, Violation


class ViolationLog:
    """Add to the log and read it; no row is ever changed or removed."""

    def __init__(self, *, engine: AsyncEngine, deadline: timedelta = timedelta(seconds=2)) -> None:
        self._database = Database(engine, deadline=deadline)

    async def add(self, violation: Violation) -> None:
        """Write *violation* down.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        await violations.add(self._database, violation)

    async def find(
        self, *, user: UserId | None = None, kind: Kind | None = None, before: int | None = None,
        size: int = 100,
    ) -> list[Violation]:  # fmt: skip
        """Return up to *size* violations, the latest first; go on with the last one's id as *before*.

        Raises:
            InvalidIdentifier: no user has such a name.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        if user is not None:
            check_name(user)
        return await violations.find(self._database, user=user, kind=kind, before=before, size=size)
