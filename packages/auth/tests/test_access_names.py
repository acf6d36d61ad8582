"""Whatever somebody is called, they are stored under exactly that name, or refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Access,
    InvalidIdentifier,
    Permission,
    PermissionUnknown,
    Principal,
    Resource,
    Role,
    TenantId,
    UserId,
)
from netra_fixtures import Goal, Tier, business_value
from netra_fixtures.data import ThirdPartyData

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY, Goal.STABILITY}, impact="a name made to break things breaks nothing"
)

Acting = Callable[..., Principal]
ACME, ROOT, BOB = TenantId("acme"), UserId("root"), UserId("bob")
READ, RUN = Permission("run:read"), Resource(kind="run", tenant=ACME, id="1")


@pytest.mark.parametrize(
    "name", ["", "\x00", "a\x00b", "\ud800", "é" * 128, "x" * 1_000_000],
    ids=["empty", "NUL", "NUL within", "half a character", "256 bytes", "1 MB"],
)  # fmt: skip
async def test_a_name_that_nobody_can_have_reaches_no_store(
    access: Access, engine: AsyncEngine, acting: Acting, name: str
) -> None:
    """It is refused before a statement is sent, whatever it is the name of, and is shown nowhere."""
    root = acting(ROOT)
    somebody = root.model_copy(update={"user": UserId(name)})
    somewhere = root.model_copy(update={"tenant": TenantId(name)})
    user, tenant = UserId(name), TenantId(name)
    sent: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *a: sent.append(a[2]))

    for call in (
        access.found(user, ACME), access.found(ROOT, tenant), access.roles(user, ACME), access.roles(ROOT, tenant),
        access.assign(root, user, ACME, Role.ADMIN), access.unassign(root, ROOT, tenant, Role.ADMIN),
        access.grant(root, user, READ), access.deny(somebody, BOB, READ), access.allowed(somebody, READ, RUN),
        access.allowed(somewhere, READ, RUN), access.require(somewhere, READ, RUN),
        access.changes(tenant), access.changes(ACME, user=user),
    ):  # fmt: skip
        with pytest.raises(InvalidIdentifier) as refused:
            await call
        assert not name or name not in str(refused.value)
    with pytest.raises(PermissionUnknown):
        await access.allowed(root, Permission(name), RUN)

    assert sent == []
    assert await access.changes(ACME) == []


@pytest.mark.parametrize(
    "name", ["李小龍", "'; drop table auth.ruling --", "\u202eevil", "🧑🏽\u200d🚀", "x" * 255, "%s :user {0}",
             "\\", " "],
    ids=["Chinese", "SQL", "right to left", "joined", "longest", "placeholders", "backslash", "blank"],
)  # fmt: skip
async def test_an_unusual_name_comes_back_as_it_was_given(access: Access, acting: Acting, name: str) -> None:
    """A person, a company and a file may be called so."""
    await keeps(access, acting, name)


async def test_published_attack_strings_are_kept_as_names_or_refused(
    access: Access, acting: Acting, third_party_data: ThirdPartyData
) -> None:
    """What attackers are known to try against other systems is tried here first."""
    kept: list[tuple[str, str | None]] = []
    await access.found(ROOT, ACME)

    for name in naughty(third_party_data):
        with pytest.raises(PermissionUnknown):
            await access.allowed(acting(ROOT), Permission(name), RUN)
        if 0 < len(name.encode()) <= 255 and "\x00" not in name:
            await access.deny(acting(ROOT), UserId(name), READ, RUN.model_copy(update={"id": name}))
            kept.append((name, name))
        else:
            with pytest.raises(InvalidIdentifier):
                await access.found(UserId(name), TenantId(name))

    changes = await access.changes(ACME, size=len(kept) + 1)
    assert [(one.user, one.resource) for one in reversed(changes)][1:] == kept


async def keeps(access: Access, acting: Acting, name: str) -> None:
    """Use *name* for a user, a tenant and a resource, and read all of them back."""
    user, tenant = UserId(name), TenantId(name)
    guest = UserId("guest" if name != "guest" else "visitor")
    thing = Resource(kind="run", tenant=tenant, id=name, owner=user)

    await access.found(user, tenant)
    await access.deny(acting(user, tenant), guest, READ, thing)

    denied, founded = await access.changes(tenant)
    assert (founded.actor, founded.user, founded.tenant) == (user, user, tenant)
    assert (denied.user, denied.resource) == (guest, name)
    assert await access.allowed(acting(user, tenant), READ, thing)


def naughty(data: ThirdPartyData) -> list[str]:
    """Read the published strings that break careless code."""
    texts: list[Any] = []
    for file in data.files("bad-inputs", "payloads/sql_injection_*.txt"):
        lines = [line.decode("utf-8", "replace") for line in file.read_bytes().split(b"\n")]
        data.read(file, cases=len(lines))
        texts += lines
    for file in data.files("bad-inputs", "*.json"):
        strings = json.loads(file.read_text(encoding="utf-8"))
        data.read(file, cases=len(strings))
        texts += strings
    return [text for text in dict.fromkeys(texts) if isinstance(text, str)]
