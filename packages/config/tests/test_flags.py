"""A flag says the same to the same subject, in every process, and what it said can be counted."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason as OpenFeatureReason
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_config import (
    Condition,
    ConfigPolicy,
    ConfigProvider,
    ConfigService,
    Edit,
    Flag,
    FlagNotFound,
    Reason,
    RevisionInvalid,
    Rule,
    Share,
    StoreUnavailable,
)
from netra_config.flags import compiled
from netra_fixtures import Cut, Goal, PostgresEndpoint, ServiceLink, Tier, business_value, eventually, within

from .shop import Shop

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.REVENUE, Goal.STABILITY},
    impact="a feature is shown to those it is for, and its effect measured",
)

Open = Callable[..., Awaitable[ConfigService[Any]]]
SIGNED = {"author": "Ada", "reason": "it was asked for"}
PEOPLE = [f"user-{number}" for number in range(2_000)]


def rollout(percent: float, **more: Any) -> Flag:
    share = Rule(shares=(Share(variant="on", percent=percent),), **more)
    return Flag(variants={"on": True, "off": False}, default="off", rules=(share,))


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_share_that_grows_keeps_all_whom_it_had(one: float, other: float) -> None:
    """Nobody who was given a feature loses it when more people get it."""
    smaller, larger = (compiled("new", rollout(percent)) for percent in sorted((one, other)))

    had = {person for person in PEOPLE[:200] if smaller(person, {}).value}

    assert had <= {person for person in PEOPLE[:200] if larger(person, {}).value}


def test_shares_are_as_large_as_they_say_and_drawn_anew_for_each_flag() -> None:
    """Ten percent of the people are ten percent, and not the same ones in every experiment."""
    first, second = (compiled(name, rollout(10)) for name in ("first", "second"))

    in_first, in_second = ({one for one in PEOPLE if decide(one, {}).value} for decide in (first, second))

    assert 0.07 < len(in_first) / len(PEOPLE) < 0.13
    assert len(in_first & in_second) < len(in_first) / 2


def test_several_shares_lie_side_by_side() -> None:
    """Each variant of an experiment gets its own people, and who is in none gets the default."""
    shares = (Share(variant="a", percent=10), Share(variant="b", percent=20), Share(variant="c", percent=30))
    decide = compiled(
        "new", Flag(variants=dict.fromkeys("abc-", 1), default="-", rules=(Rule(shares=shares),))
    )

    drawn = [decide(one, {}).variant for one in PEOPLE]

    for variant, percent in {"a": 10, "b": 20, "c": 30, "-": 40}.items():
        assert abs(drawn.count(variant) / len(PEOPLE) - percent / 100) < 0.04


def test_a_draw_stays_the_same_for_ever() -> None:
    """A release of this package moves nobody from one variant to another."""
    decide = compiled("new", rollout(50))

    drawn = [decide(one, {}).variant for one in PEOPLE[:8]]
    assert drawn == ["off", "on", "on", "off", "off", "on", "on", "on"]


def test_rules_look_at_tenant_tier_and_attributes_in_their_order() -> None:
    """Who a feature is for can be said in the words of the business."""
    late = Condition(attribute="seats", at_least=10)
    others = Condition(attribute="tenant", none_of=("acme",))
    paying = Condition(attribute="tier", any_of=("MID", "ENTERPRISE"))
    flag = Flag(
        variants={"on": 1, "off": 0, "beta": 2}, default="off",
        rules=(
            Rule(when=(others, paying), serve="on"),
            Rule(when=(late,), shares=(Share(variant="beta", percent=100),), by="tenant"),
        ),
    )  # fmt: skip
    decide = compiled("new", flag)

    said = [
        decide("u", attributes).variant
        for attributes in (
            {"tenant": "b", "tier": "MID"}, {"tenant": "acme", "tier": "MID"}, {"tenant": "acme", "seats": 10},
            {"tenant": "acme", "seats": "10"}, {"seats": 12}, {},
            {"tenant": "b", "tier": ["MID"]},
        )
    ]  # fmt: skip

    assert said == ["on", "off", "beta", "off", "off", "off", "off"]


@pytest.mark.parametrize(
    "flag",
    [
        {"variants": {"on": 1}, "default": "off"},
        {"variants": {"on": 1}, "default": "on", "rules": [{"serve": "off"}]},
        {"variants": {"on": 1}, "default": "on", "rules": [{}]},
        {
            "variants": {"on": 1},
            "default": "on",
            "rules": [{"shares": [{"variant": "on", "percent": 60}] * 2}],
        },
        {"variants": {"on": 1}, "default": "on", "rulez": []},
        17,
    ],
    ids=["no default", "no variant", "serves nothing", "more than all", "unknown name", "no flag"],
)
async def test_a_flag_that_could_not_decide_is_refused(config: ConfigService[Shop], flag: Any) -> None:
    """A slip in a rule shows to its author, and not to users."""
    with pytest.raises(RevisionInvalid, match="/flags/new"):
        await config.commit(Edit(flags={"new": flag}), base=0, **SIGNED)


async def test_exposures_are_counted_by_variant_once_a_subject(open_config: Open) -> None:
    """An experiment's groups are as large as the people in it, however often they came."""
    halves = Rule(shares=(Share(variant="a", percent=50), Share(variant="b", percent=50)))
    flag = Flag(variants={"a": "A", "b": "B"}, default="a", rules=(halves,))
    one, other = await open_config(), await open_config()
    await one.commit(Edit(flags={"test": flag.model_dump(mode="json")}), base=0, **SIGNED)
    await other.refresh()

    said = {person: one.decide("test", person).variant for person in PEOPLE[:300]}
    again = {person: other.decide("test", person).variant for person in PEOPLE[:300]}
    one.decide("test", "can't be \0 kept")
    await other.exposures("test")

    variants = list(said.values())
    assert said == again
    assert await one.exposures("test") == {"a": variants.count("a"), "b": variants.count("b")}
    assert one.lost_exposures == 1
    with pytest.raises(FlagNotFound):
        one.decide("no such flag", "user")


async def test_exposures_wait_while_postgresql_is_out_of_reach(
    open_config: Open, linked_engine: AsyncEngine, postgres_link: ServiceLink[PostgresEndpoint]
) -> None:
    """An outage takes nobody out of an experiment."""
    writing = await open_config()
    await writing.commit(Edit(flags={"new": rollout(100).model_dump(mode="json")}), base=0, **SIGNED)
    config = await open_config(engine=linked_engine, policy=ConfigPolicy(deadline=timedelta(seconds=5)))

    async with postgres_link.fault(Cut()):
        decisions = [config.decide("new", person) for person in PEOPLE[:5]]

    assert {decision.reason for decision in decisions} == {Reason.SPLIT}

    async def written() -> None:
        try:
            assert await config.exposures("new") == {"on": 5}
        except StoreUnavailable as error:  # the connection that was cut is found out
            raise AssertionError from error

    await eventually(written, seconds=20)


async def test_an_exposure_that_can_not_be_kept_takes_no_other_with_it(open_config: Open) -> None:
    """One odd name leaves the counts of an experiment whole."""
    config = await open_config()
    halves = Rule(shares=(Share(variant="a\0", percent=50), Share(variant="b" * 1_500, percent=50)))
    odd = Flag(variants={"a\0": 1, "b" * 1_500: 2}, default="a\0", rules=(halves,))
    flags = {"new": rollout(100).model_dump(mode="json"), "odd": odd.model_dump(mode="json")}
    await config.commit(Edit(flags=flags), base=0, **SIGNED)
    long = "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(990))

    for person in ("first", long, "half \ud800", "last"):
        config.decide("new", person)
    for person in PEOPLE[:40]:
        config.decide("odd", person + "".join(reversed(long[:300])))

    assert await config.exposures("new") == {"on": 2}
    assert config.lost_exposures == 42


async def test_a_count_waits_for_what_is_being_written(
    open_config: Open, engine: AsyncEngine, namespace: str
) -> None:
    """An experiment is read with everybody who was in it, also while the upkeep writes."""
    config = await open_config()
    await config.commit(Edit(flags={"new": rollout(100).model_dump(mode="json")}), base=0, **SIGNED)
    config.decide("new", "alice")
    values = f"('{namespace}', 'test', 'new', 'alice', 'on', 1, now())"

    async with engine.connect() as other:
        await other.execute(text(f"insert into config.exposure values {values}"))  # not committed: ours waits
        writing = asyncio.create_task(config.exposures("new"))

        async def waits() -> None:
            async with engine.connect() as asking:
                found = await asking.scalar(text("select count(*) from pg_locks where not granted"))
            assert found == 1

        await eventually(waits, seconds=20)
        counting = asyncio.create_task(config.exposures("new"))
        done, _ = await asyncio.wait({counting}, timeout=0.3)
        await other.rollback()

    assert done == set()
    async with within(seconds=30):
        assert await writing == await counting == {"on": 1}


def test_an_attribute_that_is_no_value_is_nobodys() -> None:
    """Whatever a caller passes along, a rule holds or does not."""
    most = Condition(attribute="seats", at_least=1, none_of=("x",))
    decide = compiled(
        "new", Flag(variants={"on": 1, "off": 0}, default="off", rules=(Rule(when=(most,), serve="on"),))
    )

    assert [decide("u", {"seats": value}).variant for value in ({1}, [2], {"a": 1}, None, "9", 2)] == [  # type: ignore[dict-item]
        *["off"] * 5,
        "on",
    ]


async def test_openfeature_clients_get_what_the_direct_way_gives(config: ConfigService[Shop]) -> None:
    """Code that is written against the standard needs no change."""
    texts = Flag(
        variants={"x": "X", "list": [1, {"a": 2}]},
        default="x",
        rules=(Rule(when=(Condition(attribute="tier", any_of=("MID",)),), serve="list"),),
    )
    flags = {"new": rollout(50).model_dump(mode="json"), "text": texts.model_dump(mode="json")}
    await config.commit(Edit(flags=flags), base=0, **SIGNED)
    api.set_provider(ConfigProvider(config.decide), "config")
    client = api.get_client("config")

    for person in PEOPLE[:20]:
        direct = config.decide("new", person)
        details = client.get_boolean_details("new", False, EvaluationContext(person))
        assert (details.value, details.variant, details.reason) == (
            direct.value,
            direct.variant,
            direct.reason.value,
        )
    mid = EvaluationContext("u", {"tier": "MID"})
    assert client.get_object_value("text", {}, mid) == [1, {"a": 2}]
    assert client.get_string_details("text", "fallback", mid).error_code == "TYPE_MISMATCH"
    assert client.get_string_details("none", "fallback").error_code == "FLAG_NOT_FOUND"
    assert client.get_string_details("text", "fallback").reason == OpenFeatureReason.DEFAULT
    await api_shutdown()


async def api_shutdown() -> None:
    """Let go of the providers that the SDK keeps for the process."""
    api.clear_providers()
