"""What files and variables say is one layer, read once and typed by the schema."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from netra_config import ConfigService, Edit, InputRefused, read_environment
from netra_config.schema import Schema
from netra_fixtures import Goal, IsolatedEnvironment, Tier, business_value

from .shop import Shop

Open = Callable[..., Awaitable[ConfigService[Any]]]
SIGNED = {"author": "Ada", "reason": "it was asked for"}
TOML = 'retries = 4\ntitle = "file"\ntimeout = "PT1M"\n[database]\npool_size = 7\n'


class Model(BaseModel):
    """A team's model written the other way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retries: int = 3
    password: SecretStr = SecretStr("")


@business_value(
    tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="a deployment says what differs, and nothing twice"
)
async def test_layers_lie_on_one_another(
    open_config: Open, environment: IsolatedEnvironment, tmp_path: Path
) -> None:
    """Defaults, then files in their order, then variables, then revisions, then the tenant."""
    first, second = tmp_path / "shop.toml", tmp_path / "more.json"
    first.write_text(TOML)
    second.write_text('{"limits": {"a": 1, "b": 2}}')
    (tmp_path / "last.env").write_text("NETRA_DATABASE__PASSWORD=from a file\n")
    environment.set("NETRA_TITLE", "variable")
    environment.set("NETRA_LIMITS__b", "3")
    files = (first, second, tmp_path / "last.env")

    values = read_environment(Shop, files=files, variables=environment.as_mapping())
    config = await open_config(values=values)
    await config.commit(Edit(set={"retries": 6}), base=0, **SIGNED)
    await config.commit(Edit(set={"retries": 7}, tenant="acme"), base=1, **SIGNED)

    now = config.current
    assert (now.title, now.retries, now.timeout, now.database.pool_size) == (
        "variable",
        6,
        timedelta(minutes=1),
        7,
    )
    assert (dict(now.limits), now.database.password.get_secret_value()) == ({"a": 1, "b": 3}, "from a file")
    assert (config.for_tenant("acme").retries, config.for_tenant("acme").title) == (7, "variable")
    layers = {one.path: one.layer for one in config.layers("acme")}
    assert [layers[path] for path in ("/retries", "/title", "/tokens")] == [
        "tenant",
        "environment",
        "default",
    ]


@business_value(
    tier=Tier.FREE, goals={Goal.STABILITY}, impact="settings change by a revision, and by nothing else"
)
async def test_what_a_caller_changes_afterwards_changes_nothing(open_config: Open) -> None:
    """The layer of the environment is what it was when the process started."""
    values: dict[str, Any] = {"retries": 4, "database": {"pool_size": 7}}
    config = await open_config(values=values)

    values["retries"], values["database"]["pool_size"] = 5, 8
    await config.commit(Edit(set={"title": "New"}), base=0, **SIGNED)

    assert (config.current.retries, config.current.database.pool_size) == (4, 7)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "retries ="), ("a.json", "{"), ("a.json", '["x"]'), ("a.yaml", "a: 1"), ("a.env", None)],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    """A deployment with a broken file stops with its name, and shows none of it."""
    if text is not None:
        (tmp_path / name).write_text(text)

    with pytest.raises(InputRefused, match=name):
        read_environment(Shop, files=(tmp_path / name,))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"words":' + "[" * 100_000),
        ("a.toml", "words = " + "[" * 100_000),
        ("x" * 300 + ".toml", None),
    ],
    ids=["deep JSON", "deep TOML", "a name too long"],
)
def test_a_file_that_breaks_its_reader_is_refused(tmp_path: Path, name: str, text: str | None) -> None:
    """A broken file ends a deployment with a sentence, and not with a crash."""
    if text is not None:
        (tmp_path / name).write_text(text)

    with pytest.raises(InputRefused, match="the file"):
        read_environment(Shop, files=(tmp_path / name,))


@business_value(tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="a team keeps the models that it has")
async def test_a_frozen_model_of_pydantic_serves_as_well(open_config: Open) -> None:
    """Who has models already need not write them anew."""
    config = await open_config(schema=Model)

    await config.commit(Edit(set={"retries": 4, "password": "sesame"}), base=0, **SIGNED)

    assert config.current == Model(retries=4, password=SecretStr("sesame"))


@pytest.mark.parametrize(
    "loose", [{"frozen": True}, {"extra": "forbid"}, {}], ids=["lax", "not frozen", "neither"]
)
def test_a_model_that_could_change_or_takes_any_name_is_refused(loose: ConfigDict) -> None:
    """A schema that lets anything in says nothing."""

    class Loose(BaseModel):
        model_config = loose
        retries: int = 3

    with pytest.raises(TypeError, match="Loose is not frozen or allows unknown names"):
        Schema(Loose)
