"""Every change is a revision that loads, follows the one it was based on, and can be returned to."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_config import (
    ConfigService,
    Edit,
    Environment,
    FaultKind,
    InputRefused,
    RevisionInvalid,
    RevisionNotFound,
    TenantId,
    VersionConflict,
)
from netra_fixtures import Goal, ThirdPartyData, Tier, business_value

from .shop import LaterShop, Shop, StricterShop

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.STABILITY, Goal.EFFICIENCY},
    impact="no change of an operator gets lost or can't be undone",
)

Open = Callable[..., Awaitable[ConfigService[Any]]]
SIGNED = {"author": "Ada", "reason": "it was asked for"}


async def race(writers: list[ConfigService[Shop]], base: int, round: int) -> list[object]:
    """Let every writer commit on one base at once; return what each got."""
    edits = [Edit(set={f"limits.w{number}": round}) for number in range(len(writers))]
    commits = (one.commit(edit, base=base, **SIGNED) for one, edit in zip(writers, edits, strict=True))
    return await asyncio.gather(*commits, return_exceptions=True)


@pytest.mark.parametrize(
    "races", [200, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(1_800)])]
)
async def test_of_two_writers_one_wins_and_the_other_is_told(open_config: Open, races: int) -> None:
    """Two operators at one moment overwrite nothing of each other's."""
    writers = [await open_config() for _ in range(2)]
    expected: dict[str, int] = {}

    for base in range(races):
        outcomes = await race(writers, base, base)
        [loser] = [number for number, one in enumerate(outcomes) if isinstance(one, VersionConflict)]
        conflict = outcomes[loser]
        assert isinstance(conflict, VersionConflict)
        assert (conflict.base, conflict.current, outcomes[1 - loser].version) == (base, base + 1, base + 1)  # type: ignore[attr-defined]
        expected[f"w{1 - loser}"] = base

    reader = await open_config()
    assert (reader.version, dict(reader.current.limits)) == (races, expected)


async def test_a_version_that_is_not_there_yet_is_no_base(config: ConfigService[Shop]) -> None:
    """History has no gaps."""
    with pytest.raises(VersionConflict) as conflict:
        await config.commit(Edit(set={"retries": 4}), base=7, **SIGNED)

    assert (conflict.value.base, conflict.value.current) == (7, 0)


async def test_a_store_that_went_back_in_time_gets_no_gap(
    config: ConfigService[Shop], engine: AsyncEngine
) -> None:
    """After PostgreSQL was restored from a backup, a process that knows more is told so and guesses nothing."""
    await config.commit(Edit(set={"retries": 4}), base=0, **SIGNED)
    await config.commit(Edit(set={"retries": 5}), base=1, **SIGNED)
    async with engine.begin() as connection:
        await connection.execute(text("set local session_replication_role = replica"))  # past the trigger
        await connection.execute(text("delete from config.revision where version = 2"))

    with pytest.raises(VersionConflict) as conflict:
        await config.commit(Edit(set={"retries": 6}), base=2, **SIGNED)

    assert (conflict.value.base, conflict.value.current) == (2, 1)


async def test_a_rollback_restores_the_former_text_byte_for_byte(open_config: Open) -> None:
    """What ran last week runs again, also when the schema gained and lost fields since."""
    config = await open_config()
    words = {
        "words": {"é": "\u2028 \0 \x7f", "": "🏴‍☠️"},
        "title": "Corner",
        "database.password": "open sesame",
    }
    first = await config.commit(Edit(set=words), base=0, **SIGNED)
    await config.commit(Edit(set={"words.é": "e"}, unset=("title",)), base=1, **SIGNED)
    later = await open_config(schema=LaterShop)
    await later.commit(Edit(set={"currency": "USD"}), base=2, **SIGNED)

    back = await later.rollback(1, base=3, **SIGNED)

    assert back.document.encode() == first.document.encode()
    assert (back.version, back.base, back.restores) == (4, 3, 1)
    assert (later.current.currency, dict(later.current.words)) == ("EUR", words["words"])
    assert later.current.database.password.get_secret_value() == "open sesame"
    with pytest.raises(RevisionNotFound):
        await later.rollback(9, base=4, **SIGNED)


async def test_a_text_that_another_release_wrote_is_restored_as_it_was(
    open_config: Open, engine: AsyncEngine, namespace: str
) -> None:
    """Spaces and order are theirs to keep, so that two releases never disagree on what ran."""
    theirs = '{"values": {"title": "Corner", "retries": 4}, "tenants": {}, "flags": {}}'
    values = {"namespace": namespace, "document": theirs}
    row = "(:namespace, 'test', 1, 0, 'they', 'before', now(), null, '[]', :document)"
    async with engine.begin() as connection:
        await connection.execute(text(f"insert into config.revision values {row}"), values)
    config = await open_config()
    await config.commit(Edit(set={"retries": 5}), base=1, **SIGNED)

    back = await config.rollback(1, base=2, **SIGNED)

    assert (back.document, config.current.retries) == (theirs, 4)


async def test_a_revision_that_would_not_load_is_never_committed(
    open_config: Open, engine: AsyncEngine
) -> None:
    """A mistake stops at whoever made it, for tenants, flags and rollbacks too."""
    config = await open_config()
    await config.commit(Edit(set={"retries": 9}), base=0, **SIGNED)
    await config.commit(Edit(set={"retries": 2}), base=1, **SIGNED)
    later = await open_config(schema=LaterShop)
    stricter = await open_config(schema=StricterShop, values={"region": "eu"})
    mute = await open_config(keys=())
    acme = TenantId("acme")
    flag = {"variants": {"on": True}, "default": "off"}

    for service, change in (
        (config, config.commit(Edit(set={"retries": 11}), base=2, **SIGNED)),
        (config, config.commit(Edit(set={"retries": 11}, tenant=acme), base=2, **SIGNED)),
        (config, config.commit(Edit(flags={"new": flag}), base=2, **SIGNED)),
        (config, config.commit(Edit(set={"colour": "red"}), base=2, **SIGNED)),
        (config, config.commit(Edit(set={"words": {"a": "x" * 1_100_000}}), base=2, **SIGNED)),
        (later, later.rollback(1, base=2, **SIGNED)),
        (stricter, stricter.commit(Edit(set={"region": None}), base=2, **SIGNED)),
        (mute, mute.commit(Edit(set={"database.password": "x"}), base=2, **SIGNED)),
    ):
        with pytest.raises(RevisionInvalid):
            await change
        assert service.version == 2

    async with engine.connect() as connection:
        assert await connection.scalar(text("select max(version) from config.revision")) == 2


async def test_every_fault_is_named_at_once_and_none_shows_what_was_typed(
    config: ConfigService[Shop],
) -> None:
    """An operator corrects a change once, and a password typed in the wrong place stays untold."""
    typed = {
        "retries": 11, "db.password": "sesame 1", "database.password": 17, "database.pool_size": "sesame 2",
        "words": {"half": "\ud800"},
    }  # fmt: skip

    proposal = await config.propose(Edit(set=typed))
    corrected = await config.propose(Edit(set={**typed, "words": {}}))

    assert [(fault.kind, fault.path) for fault in proposal.faults] == [(FaultKind.INVALID, "/values/words")]
    assert {(fault.kind, fault.path) for fault in corrected.faults} == {
        (FaultKind.INVALID, "/values/retries"),
        (FaultKind.UNKNOWN, "/values/db"),
        (FaultKind.INVALID, "/values/database/password"),
        (FaultKind.INVALID, "/values/database/pool_size"),
    }
    assert "sesame" not in str(RevisionInvalid(corrected.faults))
    assert "sesame 1" not in str(corrected)
    assert "17" not in str([one for one in corrected.differences if "password" in one.path])


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ({"database.password": "sesame"}, "/values/database/password"),
        ({"database.password": "sesame", "database.pool_size": 13}, "/values/database/password"),
        ({"database.password": "open sesame", "database.pool_size": 13}, "/values/database"),
    ],
    ids=["a field's check", "both", "a model's check"],
)
async def test_what_a_check_of_the_team_quotes_is_not_passed_on(
    config: ConfigService[Shop], typed: dict[str, Any], path: str
) -> None:
    """A team's own words about a password it refuses could hold the password."""
    proposal = await config.propose(Edit(set=typed))

    assert [fault.path for fault in proposal.faults] == [path]
    assert "sesame" not in str(proposal)


@pytest.mark.parametrize(
    "wrong",
    [{"author": ""}, {"author": "a\0b"}, {"reason": "\ud800"}, {"reason": "x" * 2_001}, {"author": " "}],
    ids=["empty", "NUL", "half a character", "long", "blank"],
)
async def test_a_change_says_who_and_why(config: ConfigService[Shop], wrong: dict[str, str]) -> None:
    """A history without a reason answers no question."""
    with pytest.raises(InputRefused):
        await config.commit(Edit(set={"retries": 4}), base=0, **{**SIGNED, **wrong})

    assert await config.history() == ()


@pytest.mark.parametrize("tenant", ["", "a\0b", "\udc80", "x" * 201])
async def test_a_tenant_that_can_not_be_kept_is_refused(config: ConfigService[Shop], tenant: str) -> None:
    """An overlay that nobody could find again is not made."""
    with pytest.raises(InputRefused):
        await config.commit(Edit(set={"retries": 4}, tenant=TenantId(tenant)), base=0, **SIGNED)


async def test_a_message_names_what_was_typed_briefly_and_harmlessly(config: ConfigService[Shop]) -> None:
    """A log line stays one line, of a length that can be read, whatever somebody typed."""
    with pytest.raises(RevisionInvalid) as refused:
        await config.commit(Edit(set={"/\x1b[2J\nroot: ok": 1, "x" * 500_000: 1}), base=0, **SIGNED)

    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 2_000
    assert "/values/\x1b[2J\nroot: ok" in {fault.path for fault in refused.value.faults}


async def test_a_number_that_no_text_holds_is_refused(config: ConfigService[Shop]) -> None:
    """What Python can't write down is a mistake in the change, and not a crash."""
    proposal = await config.propose(
        Edit(set={"retries": 10**5_000}, flags={"new": {"variants": {"a": -(10**5_000)}}})
    )

    assert [fault.path for fault in proposal.faults] == ["/values/retries", "/flags/new"]


async def test_what_was_read_can_be_set_again(config: ConfigService[Shop]) -> None:
    """Settings go from one tenant to another as they are in memory, secrets too."""
    typed = {
        "limits": {"a": 1},
        "tokens": [SecretStr("open sesame")],
        "database": {"password": SecretStr("x")},
    }
    await config.commit(Edit(set=typed), base=0, **SIGNED)
    now = config.current

    copied = {"limits": now.limits, "tokens": now.tokens, "database": {"password": now.database.password}}
    await config.commit(Edit(set=copied, tenant=TenantId("acme")), base=1, **SIGNED)

    assert config.for_tenant(TenantId("acme")) == now
    assert "sesame" not in (await config.history())[0].document


async def test_a_revision_that_is_no_document_can_be_left_behind(
    open_config: Open, engine: AsyncEngine, namespace: str
) -> None:
    """A hand that wrote nonsense past this package keeps nobody from going back."""
    config = await open_config()
    await config.commit(Edit(set={"retries": 4}), base=0, **SIGNED)
    row = f"('{namespace}', 'test', %d, %d, 'x', 'x', now(), null, '[]', '%s')"
    async with engine.begin() as connection:
        await connection.execute(text("insert into config.revision values " + row % (2, 1, "nonsense")))

    for call in (config.propose(Edit()), config.compare(1, 2), config.commit(Edit(), base=2, **SIGNED)):
        with pytest.raises(RevisionInvalid, match="it is no document of settings"):
            await call
    await config.rollback(1, base=2, **SIGNED)

    assert (config.version, config.current.retries) == (3, 4)
    deep = '{"values":{"words":' + '{"a":' * 600 + "1" + "}" * 602
    async with engine.begin() as connection:
        await connection.execute(
            text("insert into config.revision values " + (row % (4, 3, deep)).replace(":", "\\:"))
        )
    await config.refresh()
    assert config.health().refused is not None


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 201])
@pytest.mark.parametrize("what", ["namespace", "process"])
def test_a_name_that_no_store_keeps_is_refused_at_once(what: str, name: str) -> None:
    """A deployment with such a name stops as it starts, and asks no store."""
    engine = create_async_engine("postgresql+asyncpg://nowhere")
    names = {"namespace": "n", what: name}

    with pytest.raises(InputRefused, match=f"the name of the {what}"):
        ConfigService(Shop, environment=Environment.TEST, engine=engine, redis=Redis(), **names)


@pytest.fixture
def naughty(third_party_data: ThirdPartyData) -> list[str]:
    """Read the published strings that break careless code."""
    texts: list[str] = []
    for file in third_party_data.files("bad-inputs", "payloads/*.txt"):
        lines = [line.decode("utf-8", "surrogateescape") for line in file.read_bytes().split(b"\n")]
        third_party_data.read(file, cases=len(lines))
        texts += lines
    for file in third_party_data.files("bad-inputs", "*.json"):
        strings = [text for text in json.loads(file.read_text(encoding="utf-8")) if isinstance(text, str)]
        third_party_data.read(file, cases=len(strings))
        texts += strings
    return list(dict.fromkeys(texts))


@pytest.mark.timeout(300)  # a round trip for each of hundreds of strings
async def test_naughty_strings_come_back_exactly_or_are_refused(
    open_config: Open, naughty: list[str]
) -> None:
    """Whatever people type as a name or a value is kept as typed, or refused before it is stored."""
    config = await open_config()
    kept: dict[str, str] = {}
    for string in naughty:
        proposal = await config.propose(Edit(set={"words": {string: string}}))
        if proposal.faults:
            assert any("\ud800" <= character <= "\udfff" for character in string)
        else:
            kept[string] = string

    await config.commit(Edit(set={"words": kept}), base=0, **SIGNED)

    assert dict((await open_config()).current.words) == kept


async def test_json_that_is_refused_or_kept_exactly(
    open_config: Open, third_party_data: ThirdPartyData
) -> None:
    """A flag's value is any JSON that comes back equal, whatever a parser makes of odd texts."""
    config = await open_config()
    variants: dict[str, Any] = {}
    for file in third_party_data.files("bad-inputs", "json_test_suite.jsonl"):
        cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        third_party_data.read(file, cases=len(cases))
        variants |= {
            case["name"]: value for case in cases if (value := parsed(case["bytes_base64"])) is not None
        }
    good: dict[str, Any] = {}
    for name, value in variants.items():
        flag = {"variants": {"only": value}, "default": "only"}
        if not (await config.propose(Edit(flags={"odd": flag}))).faults:
            good[name] = value

    flag = {"variants": {**good, "-": None}, "default": "-"}
    await config.commit(Edit(flags={"odd": flag}), base=0, **SIGNED)

    stored = json.loads((await config.history())[0].document)["flags"]["odd"]["variants"]
    assert stored == {**good, "-": None}


def parsed(encoded: str) -> Any:
    """Parse a case the way a program's reader of files does; None where that fails."""
    try:
        return json.loads(base64.b64decode(encoded))
    except (ValueError, RecursionError):
        return None
