"""What tenants upload: the files in a folder that servers and workers share, their names and kinds in PostgreSQL."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import AwareDatetime
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import Access, Permission, Principal, Resource
from netra_workflows.database import Database
from netra_workflows.errors import BillKnown, BillNameTaken, BillNotFound, BillTooLarge
from netra_workflows.judging import kind_of
from netra_workflows.model import Frozen, Kind
from netra_workflows.wording import LONGEST_NAME, check_text

UPLOAD: Final = Permission("bill:upload")
_COLUMNS: Final = "name, kind, sha256, size_bytes, uploaded_by, uploaded_at"
_ADD: Final = text(
    "insert into workflows.bill (namespace, tenant, name, kind, sha256, size_bytes, uploaded_by)"
    " values (:namespace, :tenant, :name, :kind, :sha256, :size_bytes, :uploaded_by) on conflict do nothing"
)
_ONE: Final = text(
    f"select {_COLUMNS} from workflows.bill"  # nosec B608
    " where namespace = :namespace and tenant = :tenant and name = :name"
)
_ALL: Final = text(
    f"select {_COLUMNS} from workflows.bill"  # nosec B608
    " where namespace = :namespace and tenant = :tenant order by name"
)


class UploadedBill(Frozen):
    """A bill of a tenant, or another kind of file that is judged along with bills."""

    name: str
    kind: Kind
    sha256: str
    size_bytes: int
    uploaded_by: str
    uploaded_at: AwareDatetime


class Archive:
    """The bills of one installation, named by its *namespace*; any call may raise `StoreUnavailable`.

    Args:
        folder: the same files for every process of the installation.
        limit_bytes: how large a bill may be.
    """

    def __init__(
        self, *, engine: AsyncEngine, namespace: str, folder: Path, access: Access | None = None,
        deadline: timedelta = timedelta(seconds=2), limit_bytes: int = 5 * 2**30,
    ) -> None:  # fmt: skip
        self._database = Database(engine, deadline=deadline)
        self._namespace, self._folder = namespace, folder
        self._access, self._limit_bytes = access, limit_bytes

    async def upload(self, principal: Principal, name: str, path: Path) -> UploadedBill:
        """Keep the file *path* as the bill *name* of the principal's tenant; the same file again changes nothing.

        Raises:
            AccessDenied: the principal may not upload bills.
            InvalidText, BillTooLarge, BillNameTaken: nothing was kept.
            BillKnown: the same file has another name; its money would count twice.
        """
        check_text(name, "a bill's name", longest=LONGEST_NAME)
        assert self._access is not None, "who takes uploads is given an Access"
        await self._access.require(principal, UPLOAD, Resource(kind="bill", tenant=principal.tenant))
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        if size_bytes > self._limit_bytes:
            raise BillTooLarge(self._limit_bytes)
        sha256 = await asyncio.to_thread(self._keep, path, principal.tenant)
        kind = await asyncio.to_thread(kind_of, self._of(principal.tenant) / sha256)
        await self._database.execute(
            _ADD, namespace=self._namespace, tenant=principal.tenant, name=name, kind=kind.value,
            sha256=sha256, size_bytes=size_bytes, uploaded_by=principal.user,
        )  # fmt: skip
        for kept in await self.bills(principal.tenant):
            if (kept.name, kept.sha256) == (name, sha256):
                return kept
            if kept.sha256 == sha256:
                raise BillKnown(name, kept.name)
        raise BillNameTaken

    async def find(self, tenant: str, name: str) -> UploadedBill:
        """Return a bill of a tenant.

        Raises:
            BillNotFound: the tenant has none of that name.
        """
        check_text(name, "a bill's name", longest=LONGEST_NAME)
        rows = await self._database.execute(_ONE, namespace=self._namespace, tenant=tenant, name=name)
        if not rows:
            raise BillNotFound
        return UploadedBill(**rows[0]._mapping)

    async def bills(self, tenant: str) -> Sequence[UploadedBill]:
        """Return all bills of a tenant, by name."""
        rows = await self._database.execute(_ALL, namespace=self._namespace, tenant=tenant)
        return [UploadedBill(**row._mapping) for row in rows]

    def path(self, tenant: str, bill: UploadedBill) -> Path:
        """Return where the bill's file lies."""
        return self._of(tenant) / bill.sha256

    def _of(self, tenant: str) -> Path:
        """Name a tenant's folder by a digest: a tenant may be called anything."""
        return self._folder / hashlib.sha256(f"{self._namespace}\0{tenant}".encode()).hexdigest()

    def _keep(self, path: Path, tenant: str) -> str:
        """Copy the file under its digest; it has that name only once it is whole."""
        folder = self._of(tenant)
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{uuid4()}"
        try:
            shutil.copyfile(path, draft)
            with draft.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.replace(draft, folder / sha256)
        finally:
            draft.unlink(missing_ok=True)
        return sha256
