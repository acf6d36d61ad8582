"""Calls that must type-check; never executed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_type

from openfeature import api
from pydantic import Field, SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_config import (
    ConfigPolicy,
    ConfigProvider,
    ConfigService,
    Decision,
    Difference,
    Drift,
    Edit,
    Environment,
    FrozenMapping,
    Health,
    Key,
    Proposal,
    Revision,
    Running,
    TenantId,
    read_environment,
    settings,
)


@settings
class Shop:
    retries: int = Field(default=3, le=10)
    password: SecretStr = SecretStr("")
    limits: FrozenMapping[str, int] = Field(default_factory=dict)


async def calls(engine: AsyncEngine, redis: Redis) -> None:
    values = read_environment(Shop, files=(Path("shop.toml"),), variables={"NETRA_RETRIES": "4"})
    policy = ConfigPolicy(poll_every=timedelta(seconds=1))
    async with ConfigService(
        Shop, environment=Environment.TEST, engine=engine, redis=redis, namespace="netra", values=values,
        keys=[Key("test/1", b"0" * 32)], policy=policy, clock=lambda: datetime.now(UTC), process="one",
    ) as config:  # fmt: skip
        assert_type(config.current, Shop)
        assert_type(config.current.retries, int)
        assert_type(config.current.limits, Mapping[str, int])
        assert_type(config.for_tenant(TenantId("acme")), Shop)
        assert_type(config.health(), Health)
        edit = Edit(set={"retries": 4, "password": SecretStr("x")}, unset=("limits",), flags={"new": None})
        assert_type(await config.propose(edit), Proposal)
        assert_type(await config.commit(edit, base=0, author="Ada", reason="asked for"), Revision)
        assert_type(await config.rollback(1, base=2, author="Ada", reason="asked for"), Revision)
        assert_type(await config.history(limit=3), tuple[Revision, ...])
        assert_type(await config.compare(1, 2), tuple[Difference, ...])
        assert_type(await config.drift(against=Environment.STAGING), tuple[Drift, ...])
        assert_type(await config.running(), tuple[Running, ...])
        assert_type(config.decide("new", "alice", {"tier": "MID"}), Decision)
        assert_type(await config.exposures("new"), Mapping[str, int])
        api.set_provider(ConfigProvider(config.decide))
        config.current.retries = 4  # type: ignore[misc]  # frozen
        Shop(retriez=3)  # type: ignore[call-arg]
