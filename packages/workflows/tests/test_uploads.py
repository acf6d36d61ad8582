"""What users upload is kept as it is, once, or not at all."""

import asyncio
import gzip
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from netra_agents import RunFailed
from netra_auth import AccessDenied, Role
from netra_fixtures import Goal, Tier, business_value
from netra_workflows import (
    Archive,
    BillKnown,
    BillNameTaken,
    BillNotFound,
    BillTooLarge,
    InvalidText,
    WorkflowsError,
)

from .installation import Installation, WorkerProcess
from .test_comprehensive_business_workflows import finished, generated, uploaded

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.RETENTION, Goal.SECURITY},
    impact="what a company uploads is what is judged, and a broken file costs nobody the answer",
)  # fmt: skip

StartWorker = Callable[[], Coroutine[Any, Any, WorkerProcess]]


async def test_an_upload_is_kept_once_under_its_name(installation: Installation, tmp_path: Path) -> None:
    """The same file again is no other one, and another file can't take its place."""
    alice = await installation.person("alice", "acme")
    bob = await installation.person("bob", "globex")
    one, other = generated(tmp_path, 1, 2, rows=100)

    first = await installation.archive.upload(alice.principal, "march", one)
    again = await installation.archive.upload(alice.principal, "march", one)
    with pytest.raises(BillNameTaken):
        await installation.archive.upload(alice.principal, "march", other)
    with pytest.raises(BillKnown, match="the same file was read as march"):
        await installation.archive.upload(alice.principal, "april", one)

    assert first == again
    assert installation.archive.path("acme", first).read_bytes() == one.read_bytes()
    assert await installation.archive.bills(bob.principal.tenant) == []
    with pytest.raises(BillNotFound):
        await installation.archive.find(bob.principal.tenant, "march")


async def test_an_upload_that_may_not_be_leaves_nothing(installation: Installation, tmp_path: Path) -> None:
    """A name that can't be kept, a file that is too large, a role that may not: neither a row nor a file is left."""
    alice = await installation.person("alice", "acme")
    una = await installation.person("una", "acme", Role.STANDARD_USER)
    [path] = generated(tmp_path, 1, rows=100)
    folder = tmp_path / "elsewhere"
    archive = Archive(
        engine=installation.engine, namespace="other", folder=folder, access=installation.access, limit_bytes=99
    )  # fmt: skip

    cases: list[tuple[type[Exception], Coroutine[Any, Any, Any]]] = [
        (BillTooLarge, archive.upload(alice.principal, "march", path)),
        (AccessDenied, archive.upload(una.principal, "march", path)),
        *((InvalidText, archive.upload(alice.principal, name, path)) for name in ("", "a\x00", "\ud800", "x" * 101)),
    ]  # fmt: skip
    for error, act in cases:
        with pytest.raises(error):
            await act

    assert not folder.exists()
    assert await installation.rows("select 1 from workflows.bill") == []
    assert issubclass(BillTooLarge, WorkflowsError)


async def test_a_broken_bill_is_named_and_the_others_count(
    installation: Installation, worker_process: StartWorker, tmp_path: Path
) -> None:
    """A truncated file is told by name and left out; where no bill can be read the run says so."""
    starting = asyncio.create_task(worker_process())
    alice = await installation.person("alice", "acme")
    good, bad = generated(tmp_path, 1, 2, rows=100)
    bad.write_bytes(gzip.compress(b"a" * 10_000)[:-9])
    await uploaded(installation, alice, [good, bad])
    await starting

    run = await installation.optimization.begin(alice.principal, "What can we save?")
    report = await finished(installation, alice, run)
    broken = await installation.optimization.begin(alice.principal, f"What can we save in {bad.name}?")

    assert report.text.endswith(f"Not read: {bad.name}.")
    written = await installation.optimization.report(alice.principal, run)
    for text in (written.markdown.replace("\\", ""), written.html):
        assert f"Could not be read, and does not count: {bad.name}." in text
    assert await installation.rows("select distinct source from workflows.proof") == [(good.name,)]
    with pytest.raises(RunFailed, match="none of the bills can be read"):
        await finished(installation, alice, broken)
