"""Settings are what the schema says they are, in every environment, for everybody, at once."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asyncpg import InvalidPasswordError
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from netra_config import (
    ConfigService,
    DriftKind,
    Edit,
    Environment,
    ForeignKey,
    NotPermitted,
    RevisionInvalid,
    TenantId,
    VersionConflict,
)
from netra_fixtures import Goal, PostgresEndpoint, Tier, business_value, eventually

from .conftest import PATIENT, Installation, key
from .shop import LaterShop, Shop, StricterShop

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.SECURITY},
    impact="what operators set is what runs, in one environment and in no other",
)

Open = Callable[..., Awaitable[ConfigService[Any]]]
SIGNED = {"author": "Ada", "reason": "it was asked for"}


@pytest.fixture
def opened(installation: Installation, open_config: Open) -> Open:
    """Open the installation's settings: as who only reads them, unless told otherwise."""

    async def open_one(**more: Any) -> ConfigService[Any]:
        defaults = {"engine": installation.reader, "environment": installation.environment}
        return await open_config(**{**defaults, **more})

    return open_one


async def test_environment_isolation_and_config_integrity(installation: Installation, opened: Open) -> None:
    """No environment sees another's values or opens its secrets, and no one rewrites what was set."""
    here = installation.environment
    there = Environment.STAGING if here is Environment.PRODUCTION else Environment.PRODUCTION
    editing = await opened(engine=installation.editor)
    neighbour = await opened(engine=installation.editor, environment=there)
    secret = Edit(set={"database.password": SecretStr("open sesame"), "title": "Here"})

    revision = await editing.commit(secret, base=0, **SIGNED)

    stolen = editing.snapshot.document.values["database"]["password"]
    with pytest.raises(RevisionInvalid, match=f"key {here}/1 does not belong in {there}"):
        await neighbour.commit(Edit(set={"database.password": stolen}), base=0, **SIGNED)
    with pytest.raises(ForeignKey, match=f"{here}/1"):
        ConfigService(
            Shop,
            environment=there,
            engine=installation.reader,
            redis=Redis(),
            namespace="n",
            keys=[key(here)],
        )
    with pytest.raises(RevisionInvalid, match="does not open in this place"):
        await editing.commit(Edit(set={"tokens": [stolen]}), base=1, **SIGNED)
    for statement in ("update config.revision set document = '{}'", "delete from config.revision"):
        for role in (installation.editor, installation.reader):
            with pytest.raises(DBAPIError, match=r"permission denied|revisions are never changed"):
                async with role.begin() as connection:
                    await connection.execute(text(statement))
    async with installation.administrator.connect() as connection:
        stored = str((await connection.execute(text("select * from config.revision"))).all())
    assert "open sesame" not in f"{stored} {revision!r} {editing.snapshot!r} {editing.current!r} {secret!r}"
    assert editing.current.database.password.get_secret_value() == "open sesame"
    later = await opened(environment=there)
    for other in (neighbour, later):
        assert (other.version, other.current.title, await other.history()) == (0, "Shop", ())


async def test_dynamic_configuration_updates_and_validation(installation: Installation, opened: Open) -> None:
    """A change reaches running processes whole or not at all, names every mistake at once, and can be undone."""
    reading, editing = await opened(), await opened(engine=installation.editor)
    acme = TenantId("acme")
    await editing.commit(Edit(set={"retries": 4, "limits.orders": 10}), base=0, **SIGNED)
    await editing.commit(Edit(set={"retries": 7}, tenant=acme), base=1, **SIGNED)

    wrong = Edit(set={"retries": 11, "database.pool_size": "many", "colour": "red"})
    proposal = await editing.propose(wrong)
    with pytest.raises(RevisionInvalid) as refused:
        await editing.commit(wrong, base=2, **SIGNED)
    with pytest.raises(VersionConflict) as conflict:
        await editing.commit(Edit(set={"retries": 5}), base=1, **SIGNED)

    async def arrived() -> None:
        assert (reading.version, reading.current.retries, reading.for_tenant(acme).retries) == (2, 4, 7)

    await eventually(arrived, seconds=20)
    mistaken = {"/values/retries", "/values/database/pool_size", "/values/colour"}
    assert (
        {fault.path for fault in refused.value.faults}
        == {fault.path for fault in proposal.faults}
        == mistaken
    )
    assert (conflict.value.base, conflict.value.current) == (1, 2)
    await editing.rollback(1, base=2, **SIGNED)

    async def undone() -> None:
        assert (reading.version, reading.for_tenant(acme).retries, dict(reading.current.limits)) == (
            3,
            4,
            {"orders": 10},
        )

    await eventually(undone, seconds=20)
    assert [(one.version, one.restores, one.author) for one in await editing.history()] == [
        (3, 1, "Ada"), (2, None, "Ada"), (1, None, "Ada"),
    ]  # fmt: skip


async def test_ssot_configuration_compliance_validation(
    installation: Installation, opened: Open, redis_client: Redis, namespace: str
) -> None:
    """Whatever disagrees with the schema, in store, files or processes, is found and named, value by value."""
    here = installation.environment
    editing = await opened(engine=installation.editor, process="old release")
    await editing.commit(
        Edit(set={"title": "Corner", "retries": 9, "database.password": "hidden"}), base=0, **SIGNED
    )
    other = Environment.STAGING if here is Environment.TEST else Environment.TEST
    elsewhere = await opened(engine=installation.editor, environment=other)
    await elsewhere.commit(Edit(set={"title": "Elsewhere"}), base=0, **SIGNED)

    def looking(schema: type, **values: Any) -> ConfigService[Any]:
        return ConfigService(
            schema, environment=here, engine=installation.reader, redis=redis_client, namespace=namespace,
            keys=[key(here)], values=values, policy=PATIENT,
        )  # fmt: skip

    async def clean() -> None:
        assert await looking(Shop).drift() == ()

    await eventually(clean, seconds=20)
    later = await looking(LaterShop, retries=2, database={"password": "another"}).drift(against=other)
    stricter = await looking(StricterShop).drift()

    found = {(one.kind, one.where) for one in later}
    assert found == {
        (DriftKind.UNKNOWN, "/values/title"),
        (DriftKind.INVALID, "/values/retries"),
        (DriftKind.OVERRIDDEN, "/values/retries"),
        (DriftKind.OVERRIDDEN, "/values/database/password"),
        (DriftKind.OTHER_SCHEMA, "old release"),
        (DriftKind.DIFFERENT, "/values/title"),
        (DriftKind.ONLY_HERE, "/values/retries"),
        (DriftKind.ONLY_HERE, "/values/database/password"),
    }
    assert (DriftKind.MISSING, "/values/region") in {(one.kind, one.where) for one in stricter}
    assert not re.search("hidden|another", str(later))


@pytest.mark.parametrize(
    "environment_of_installation", [Environment.PRODUCTION], ids=["production"], indirect=True
)
async def test_in_production_a_role_does_what_it_was_granted_and_needs_its_password(
    installation: Installation, opened: Open, server: PostgresEndpoint
) -> None:
    """Who takes over a process that reads settings can change none."""
    reading = await opened()
    nobody = create_async_engine(PostgresEndpoint(**{**server.told(), "user": "config_reader"}).url())

    with pytest.raises(NotPermitted):
        await reading.commit(Edit(set={"title": "Taken"}), base=0, **SIGNED)
    with pytest.raises(DBAPIError, match="permission denied"):
        async with installation.reader.begin() as connection:
            await connection.execute(text("select * from config.exposure"))
    with pytest.raises((DBAPIError, InvalidPasswordError)):
        await nobody.connect()

    await nobody.dispose()
    assert await reading.history() == ()
    async with installation.administrator.begin() as connection:
        await connection.execute(text("revoke insert on config.exposure from config_reader"))
    flag = {
        "variants": {"on": 1},
        "default": "on",
        "rules": [{"shares": [{"variant": "on", "percent": 100}]}],
    }
    await (await opened(engine=installation.editor)).commit(Edit(flags={"new": flag}), base=0, **SIGNED)
    await reading.refresh()
    reading.decide("new", "alice")
    await reading.__aexit__(None, None, None)
    assert reading.lost_exposures == 1
