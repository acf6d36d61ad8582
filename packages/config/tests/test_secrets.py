"""A secret opens where it was sealed, and is shown nowhere."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Secret, SecretStr, create_model
from typing_extensions import TypeAliasType

from netra_config import (
    ConfigService,
    Edit,
    Environment,
    ForeignKey,
    FrozenMapping,
    InputRefused,
    Key,
    RevisionInvalid,
    SealBroken,
    UnknownKey,
)
from netra_config.schema import Schema
from netra_config.secrets import Keyring
from netra_fixtures import Goal, Tier, business_value

from .conftest import key
from .shop import Shop

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="a password of production is read in production alone"
)

Password = NewType("Password", SecretStr)


class Model(BaseModel):
    """A team's model written the other way."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Open = Callable[..., Awaitable[ConfigService[Any]]]
SIGNED = {"author": "Ada", "reason": "it was asked for"}
PRODUCTION, TEST = Environment.PRODUCTION, Environment.TEST
SESAME = "open sesame"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_in_its_place_alone(plain: str) -> None:
    """A password that was moved to another field, tenant or environment is of no use there."""
    ring = Keyring(PRODUCTION, [key(PRODUCTION)])

    sealed = ring.seal(plain, ("values", "password"))

    assert ring.open(sealed, ("values", "password")) == plain
    for path in (("values", "other"), ("tenants", "acme", "password")):
        with pytest.raises(SealBroken):
            ring.open(sealed, path)
    with pytest.raises(ForeignKey, match="production/1 does not belong in test"):
        Keyring(TEST, [key(TEST)]).open(sealed, ("values", "password"))
    assert sealed != ring.seal(plain, ("values", "password"))


def test_a_sealed_value_that_was_altered_does_not_open() -> None:
    """Who can write to the store can't choose what a secret says."""
    ring = Keyring(TEST, [key(TEST)])
    sealed = ring.seal(SESAME, ("values", "a"))
    renamed = {**sealed, "key": "test/2"}
    both = Keyring(TEST, [key(TEST), Key("test/2", b"2" * 32)])

    with pytest.raises(SealBroken):
        ring.open({**sealed, "sealed": "A" + str(sealed["sealed"])[1:-2] + "=="}, ("values", "a"))
    with pytest.raises(SealBroken):
        both.open(renamed, ("values", "a"))
    with pytest.raises(UnknownKey, match="test/2"):
        ring.open(renamed, ("values", "a"))


@pytest.mark.parametrize("environment", [TEST, Environment.STAGING])
def test_a_production_key_is_refused_elsewhere_by_name(environment: Environment) -> None:
    """A mistake in a deployment shows before anything is read with it."""
    with pytest.raises(ForeignKey, match="production/1") as refused:
        Keyring(environment, [key(environment), key(PRODUCTION)])

    assert (refused.value.key, refused.value.environment) == ("production/1", environment)


@pytest.mark.parametrize(
    "text", ["", "test/1", "test/1=short", "test/1=" + "A" * 44 + "!", "prod/1=" + "A" * 43 + "="]
)
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    """A key that was pasted wrong stays untold."""
    with pytest.raises(InputRefused) as refused:
        Key.read(text)

    assert "A" * 8 not in str(refused.value)


def test_two_keys_of_one_name_are_refused() -> None:
    """What one of them sealed the other would not open."""
    with pytest.raises(InputRefused):
        Keyring(TEST, [key(TEST), Key("test/1", b"2" * 32)])


async def test_a_key_is_rotated_and_the_old_one_put_away(open_config: Open) -> None:
    """After sealing anew, a process without the old key reads every secret."""
    old, new = key(TEST, "old"), key(TEST, "new")
    before = await open_config(keys=(old,))
    await before.commit(
        Edit(set={"database.password": SESAME, "tokens": ["a", SecretStr("b")]}), base=0, **SIGNED
    )
    await before.commit(Edit(set={"database.password": "acme's"}, tenant="acme"), base=1, **SIGNED)
    both = await open_config(keys=(new, old))

    revision = await both.reseal(base=2, **SIGNED)

    after = await open_config(keys=(new,))
    assert after.current.database.password.get_secret_value() == SESAME
    assert [token.get_secret_value() for token in after.current.tokens] == ["a", "b"]
    assert after.for_tenant("acme").database.password.get_secret_value() == "acme's"
    assert "test/old" not in revision.document
    with pytest.raises(RevisionInvalid, match="key test/old was not given to this process"):
        await after.rollback(1, base=3, **SIGNED)


async def test_a_secret_that_did_not_change_keeps_its_text(open_config: Open) -> None:
    """A diff names the secrets that changed, and no others."""
    config = await open_config()
    first = await config.commit(Edit(set={"database.password": SESAME}), base=0, **SIGNED)

    second = await config.commit(Edit(set={"database.password": SESAME, "title": "New"}), base=1, **SIGNED)

    assert [one.path for one in second.differences] == ["/values/title"]
    assert [one.after for one in first.differences] == ["‹sealed with test/1›"]


async def test_nothing_secret_is_shown(open_config: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is printed, logged or raised, a secret is not in it."""
    caplog.set_level(logging.DEBUG, logger="netra_config")
    values = {"database": {"password": SESAME + " of the file"}}
    config = await open_config(values=values)
    edit = Edit(
        set={"database.password": SESAME, "tokens": [SESAME], "passwrd": SESAME, "database.pool_size": SESAME}
    )

    proposal = await config.propose(edit)
    with pytest.raises(RevisionInvalid) as refused:
        await config.commit(edit, base=0, **SIGNED)
    revision = await config.commit(Edit(set={"database.password": SESAME}), base=0, **SIGNED)

    faults_alone = proposal.model_copy(update={"differences": ()})
    shown = [
        revision,
        config,
        config.current,
        config.snapshot,
        config._resolver,
        config.health(),
        refused.value,
    ]
    shown += [
        await config.history(),
        await config.compare(0, 1),
        await config.drift(),
        faults_alone,
        edit,
        key(TEST),
    ]
    secret_paths = [one for one in proposal.differences if one.path != "/values/database/pool_size"]
    assert SESAME not in f"{shown} {secret_paths} {revision.document} {caplog.text}"
    assert isinstance(config.current, Shop)


def test_a_secret_that_would_not_be_found_is_refused() -> None:
    """A password is sealed wherever the schema says it stands, or the schema is refused."""

    class Named(NamedTuple):
        password: SecretStr

    @dataclass(frozen=True)
    class Plain:
        password: SecretStr

    for kind in (
        Named,
        Plain,
        Secret[str],
        tuple[Plain, ...],
        FrozenMapping[str, Named],
        FrozenMapping[SecretStr, int],
    ):
        model = create_model("Model", __config__=Model.model_config, hidden=(kind, ...))
        with pytest.raises(TypeError, match="/hidden"):
            Schema(model)


@pytest.mark.parametrize("kind", [Password, TypeAliasType("Alias", SecretStr), Password | None])
async def test_a_secret_by_another_name_is_sealed(open_config: Open, kind: Any) -> None:
    """A team's own word for a password makes it no less a password."""
    model = create_model("Model", __config__=Model.model_config, word=(kind, SecretStr("")))
    config = await open_config(schema=model)

    revision = await config.commit(Edit(set={"word": SESAME}), base=0, **SIGNED)

    assert SESAME not in f"{revision} {revision.document}"
    assert config.current.word.get_secret_value() == SESAME


async def test_a_sealed_value_opens_for_secrets_alone(open_config: Open) -> None:
    """What was sealed is not shown because somebody put it where it is no secret."""
    ring = Keyring(TEST, [key(TEST)])
    config = await open_config()
    sealed = ring.seal(SESAME, ("values", "title"))

    with pytest.raises(RevisionInvalid, match="/values/title: it is sealed"):
        await config.commit(Edit(set={"title": sealed}), base=0, **SIGNED)
    for path, plain in (("title", SESAME), ("database.password", "\ud800"), ("nowhere", SESAME)):
        with pytest.raises(InputRefused):
            config.seal(path, plain)


async def test_a_secret_is_sealed_for_a_file(open_config: Open) -> None:
    """A deployment's file holds no password that its readers could use."""
    sealed = (await open_config()).seal("database.password", SESAME)

    config = await open_config(values={"database": {"password": sealed}})

    assert config.current.database.password.get_secret_value() == SESAME
