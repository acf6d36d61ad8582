"""The log of violations: the class that a caller holds."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.identity import TenantId, UserId, check_name
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
        self, *, user: UserId | None = None, tenant: TenantId | None = None, kind: Kind | None = None,
        before: int | None = None, size: int = 100,
    ) -> list[Violation]:  # fmt: skip
        """Return up to *size* violations, the latest first; go on with the last one's id as *before*.

        Args:
            tenant: whose attempts; for whoever reads violations of a tenant, always theirs. Attempts at accounts
                that are not there belong to none, and are for the operator.

        Raises:
            InvalidIdentifier: no user or tenant has such a name.
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        for name in (user, tenant):
            if name is not None:
                check_name(name)
        return await violations.find(
            self._database, user=user, tenant=tenant, kind=kind, before=before, size=size
        )
