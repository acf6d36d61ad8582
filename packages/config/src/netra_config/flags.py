"""Feature flags: rules over tenant, tier and attributes, and shares by a stable hash; pure."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from netra_config.layers import Values, canonical, pointer
from netra_config.revision import Fault, FaultKind
from netra_config.schema import FrozenMapping

Attribute = str | int | float | bool
_NOBODY: Mapping[str, Attribute] = MappingProxyType({})
_WHOLE = 2**64


class Reason(StrEnum):
    """Why a flag gave the variant it gave; the words are OpenFeature's."""

    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"


class Decision(NamedTuple):
    """What a flag says to one subject."""

    value: Any
    variant: str
    reason: Reason


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Condition(_Frozen):
    """A subject's attribute, ``tenant`` and ``tier`` among them, is one of the values, or none of them."""

    attribute: str = Field(min_length=1)
    any_of: tuple[Attribute, ...] = ()
    none_of: tuple[Attribute, ...] = ()
    at_least: float | None = None


class Share(_Frozen):
    """A variant for so many percent."""

    variant: str
    percent: float = Field(ge=0, le=100)


class Rule(_Frozen):
    """Serve one variant, or shares of several, where every condition holds.

    Shares lie one after another from 0: while those before it stand, a share that grows keeps all whom it had.
    Whom no share holds goes on to the next rule.

    Args:
        by: the attribute by which shares are drawn; the subject's own key without one.
    """

    when: tuple[Condition, ...] = ()
    serve: str | None = None
    shares: tuple[Share, ...] = ()
    by: str | None = None

    @model_validator(mode="after")
    def _serves_something(self) -> Self:
        if (self.serve is None) == (not self.shares):
            raise ValueError("a rule serves one variant, or has shares")
        if sum(share.percent for share in self.shares) > 100 + 1e-9:  # thirds are no binary numbers
            raise ValueError("shares are at most 100 percent together")
        return self


class Flag(_Frozen):
    """A flag: its variants, the rules that choose one, and the one that is served otherwise.

    Args:
        salt: what shares are drawn with; two flags with one salt give a subject the same share.
    """

    variants: FrozenMapping[str, JsonValue]
    default: str
    rules: tuple[Rule, ...] = ()
    enabled: bool = True
    salt: str | None = None

    @model_validator(mode="after")
    def _names_its_variants(self) -> Self:
        named = {self.default, *(rule.serve for rule in self.rules if rule.serve is not None)}
        named |= {share.variant for rule in self.rules for share in rule.shares}
        if named - self.variants.keys():
            raise ValueError("a rule, or the default, names no variant of the flag")
        return self


_FLAG: TypeAdapter[Flag] = TypeAdapter(Flag)
Holds = Callable[[str, Mapping[str, Attribute]], bool]
Decide = Callable[[str, Mapping[str, Attribute]], Decision]
Step = Callable[[str, Mapping[str, Attribute]], Decision | None]


def bucket(salt: str, key: str) -> int:
    """Place *key* between 0 and 2**64, evenly, and at the same place in every process and for ever."""
    return int.from_bytes(
        blake2b(f"{salt}\n{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def compiled(name: str, flag: Flag) -> Decide:
    """Turn *flag* into a function of a subject's key and attributes."""
    otherwise = _decision(flag, flag.default, Reason.DEFAULT)
    if not flag.enabled:
        disabled = _decision(flag, flag.default, Reason.DISABLED)
        return lambda key, attributes: disabled
    steps = tuple(_step(flag, rule, flag.salt or name) for rule in flag.rules)

    def decide(key: str, attributes: Mapping[str, Attribute] = _NOBODY) -> Decision:
        for step in steps:
            if (decision := step(key, attributes)) is not None:
                return decision
        return otherwise

    return decide


def _decision(flag: Flag, variant: str, reason: Reason) -> Decision:
    return Decision(_unchangeable(flag.variants[variant]), variant, reason)


def _step(flag: Flag, rule: Rule, salt: str) -> Step:
    tests = tuple(_test(condition) for condition in rule.when)
    if rule.serve is not None:
        served = _decision(flag, rule.serve, Reason.TARGETING_MATCH)

        def serve(key: str, attributes: Mapping[str, Attribute]) -> Decision | None:
            for holds in tests:
                if not holds(attributes):
                    return None
            return served

        return serve
    bounds, upto = [], 0.0
    for share in rule.shares:
        upto += share.percent
        bounds.append((int(upto / 100 * _WHOLE), _decision(flag, share.variant, Reason.SPLIT)))
    by = rule.by

    def split(key: str, attributes: Mapping[str, Attribute]) -> Decision | None:
        for holds in tests:
            if not holds(attributes):
                return None
        drawn = key if by is None else attributes.get(by)
        if drawn is None or drawn == "":
            return None  # nobody in particular is in no share
        place = bucket(salt, str(drawn))
        for bound, decision in bounds:
            if place < bound:
                return decision
        return None

    return split


def _test(condition: Condition) -> Callable[[Mapping[str, Attribute]], bool]:
    attribute, least = condition.attribute, condition.at_least
    wanted, unwanted = frozenset(condition.any_of), frozenset(condition.none_of)

    def is_wanted(attributes: Mapping[str, Attribute]) -> bool:
        try:
            return attributes.get(attribute) in wanted
        except TypeError:  # OpenFeature's attributes may be lists, which are no value of a rule
            return False

    if wanted and not unwanted and least is None:
        return is_wanted

    def holds(attributes: Mapping[str, Attribute]) -> bool:
        value = attributes.get(attribute)
        try:
            if (wanted and value not in wanted) or value in unwanted:
                return False
        except TypeError:
            return False
        return least is None or (isinstance(value, int | float) and value >= least)

    return holds


def _unchangeable(value: JsonValue) -> Any:
    match value:
        case list():
            return tuple(map(_unchangeable, value))
        case dict():
            return MappingProxyType({key: _unchangeable(one) for key, one in value.items()})
    return value


def read_flags(flags: Values) -> tuple[dict[str, Decide], list[Fault]]:
    """Read flags by name, or list all that is wrong with them."""
    read, faults = dict[str, Decide](), list[Fault]()
    for name, value in flags.items():
        try:
            read[name] = compiled(name, _FLAG.validate_json(canonical(value)))
        except ValidationError as error:
            for one in error.errors(include_input=False, include_url=False, include_context=False):
                path = pointer(("flags", name, *map(str, one["loc"])))
                faults.append(Fault(kind=FaultKind.INVALID, path=path, problem=one["msg"]))
    return read, faults
