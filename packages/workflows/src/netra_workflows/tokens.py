"""AI spend: requests times prices, and what batches, prompt caches or a smaller model would make of it.

Prices are read in the form of LiteLLM's table, usage as lengths of requests. All amounts are exact dollars. The
requests of one file and model are one group, and a group has at most one finding, so that no request counts twice.
"""

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import Field

from netra_workflows.errors import BillUnreadable, UnknownColumns
from netra_workflows.model import Certainty, Frozen

BLOCK_TOKENS: Final = 512
NOTICE: Final = timedelta(days=90)
WEIGHT: Final[Mapping[Certainty, Decimal]] = {
    Certainty.HIGH: Decimal("0.9"), Certainty.MEDIUM: Decimal("0.6"), Certainty.LOW: Decimal("0.3")
}  # fmt: skip
_TIER: Final = re.compile(r"_above_(\d+)k_tokens$")
_PARTS: Final = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "read": "cache_read_input_token_cost",
    "write": "cache_creation_input_token_cost",
    "batch_input": "input_cost_per_token_batches",
    "batch_output": "output_cost_per_token_batches",
}


class Price(Frozen):
    """What a model costs a token, from so many tokens of input on."""

    above: int = 0
    input: Decimal
    output: Decimal
    read: Decimal | None = None
    write: Decimal | None = None
    batch_input: Decimal | None = None
    batch_output: Decimal | None = None


class Model(Frozen):
    """A model that tokens can be bought of; `prices` by tier, the lowest first."""

    name: str
    provider: str
    mode: str
    prices: tuple[Price, ...]
    max_input: int | None = None
    max_output: int | None = None
    deprecated_on: date | None = None

    def price(self, input: int) -> Price:
        """Give the price of a request of so many tokens of input."""
        return next(price for price in reversed(self.prices) if input > price.above or price.above == 0)


class Request(NamedTuple):
    """A request: `repeated` of its tokens of input were the beginning of an earlier one."""

    record: int
    input: int
    output: int
    repeated: int | None


class Alternative(Frozen):
    """What the same requests cost in another way."""

    rule: str
    published: str
    certainty: Certainty
    cost: Decimal
    saving: Decimal
    model: str | None = None


class TokenSpend(Frozen):
    """What one file's requests cost with one model, and the ways in which they would cost less, the best first."""

    source: str
    model: str
    requests: int
    input: int
    output: int
    repeated: int | None = Field(description="tokens that a prompt cache would have held; None where unknown")
    cost: Decimal
    alternatives: tuple[Alternative, ...]
    deprecated_on: date | None = None
    warning: str | None = None

    @property
    def finding(self) -> Alternative | None:
        """The one alternative that counts: that with the largest saving, weighed by how certain it is."""
        return self.alternatives[0] if self.alternatives else None


def read_prices(path: Path) -> dict[str, Model]:
    """Read models with prices for their tokens; others, and LiteLLM's `sample_spec`, are left out.

    Raises:
        BillUnreadable: the file is no such table.
    """
    try:
        raw = path.read_bytes()
        table = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw, parse_float=Decimal)
    except (OSError, EOFError, ValueError) as error:
        raise BillUnreadable(path.name, "it is no JSON") from error
    if not isinstance(table, dict):
        raise BillUnreadable(path.name, "it is no table of models")
    models = (
        _model(name, entry)
        for name, entry in table.items()
        if isinstance(entry, dict) and name != "sample_spec"
    )
    return {model.name: model for model in models if model is not None}


def _model(name: str, entry: Mapping[str, Any]) -> Model | None:
    if not entry.get("litellm_provider") or _price(entry, 0) is None:
        return None
    tiers = {int(found[1]) * 1000 for key in entry if (found := _TIER.search(key))}
    day = entry.get("deprecation_date")
    return Model(
        name=name,
        provider=str(entry["litellm_provider"]),
        mode=str(entry.get("mode", "")),
        prices=tuple(p for tier in (0, *sorted(tiers)) if (p := _price(entry, tier)) is not None),
        max_input=_whole(entry.get("max_input_tokens")),
        max_output=_whole(entry.get("max_output_tokens")),
        deprecated_on=date.fromisoformat(day)
        if isinstance(day, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", day)
        else None,
    )


def _price(entry: Mapping[str, Any], above: int) -> Price | None:
    def part(key: str) -> Decimal | None:
        value = entry.get(f"{key}_above_{above // 1000}k_tokens") if above else None
        value = entry.get(key) if value is None else value
        return Decimal(value) if isinstance(value, (int, Decimal)) and value >= 0 else None

    parts = {name: part(key) for name, key in _PARTS.items()}
    if parts["input"] is None or parts["output"] is None:
        return None
    return Price.model_validate({"above": above, **parts})


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, Decimal)) else None


def read_requests(path: Path) -> Iterator[Request]:
    """Read lengths of requests: CSV of ContextTokens and GeneratedTokens, or JSON lines of input_length, output_length.

    Raises:
        BillUnreadable: the file can't be read to its end.
        UnknownColumns: it is neither.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as text:
            if ".jsonl" in path.suffixes:
                yield from _lines(path.name, text)
            else:
                yield from _table(path.name, text)
    except (OSError, EOFError, ValueError) as error:
        raise BillUnreadable(path.name, "a request has no lengths, or the file is cut off") from error


def _table(name: str, text: Iterable[str]) -> Iterator[Request]:
    rows = csv.DictReader(text)
    if not {"ContextTokens", "GeneratedTokens"} <= set(rows.fieldnames or ()):
        raise UnknownColumns(name, ["usage lacks ContextTokens or GeneratedTokens"])
    for record, row in enumerate(rows, start=1):
        yield Request(record, int(row["ContextTokens"]), int(row["GeneratedTokens"]), None)


def _lines(name: str, text: Iterable[str]) -> Iterator[Request]:
    """Of a prompt those blocks repeat that begin it and were seen before."""
    seen: set[int] = set()
    for record, line in enumerate(text, start=1):
        row = json.loads(line)
        if not {"input_length", "output_length"} <= row.keys():
            raise UnknownColumns(name, ["usage lacks input_length or output_length"])
        blocks = row.get("hash_ids")
        repeated = None
        if blocks is not None:
            new = next((place for place, block in enumerate(blocks) if block not in seen), len(blocks))
            repeated = min(new * BLOCK_TOKENS, row["input_length"])
            seen.update(blocks)
        yield Request(record, row["input_length"], row["output_length"], repeated)


def token_spend(
    source: str, requests: Iterable[Request], model: Model, models: Mapping[str, Model], *, as_of: date
) -> TokenSpend:
    """Price requests, and find what they would have cost in other ways.

    Args:
        models: what could be used in place of *model*: its provider's, not deprecated, for prompts as long.
        as_of: the day on which a model is deprecated or not; a notice is given 90 days before.
    """
    asked = list(requests)
    cost = _cost(asked, model)
    known = [request.repeated for request in asked if request.repeated is not None]
    ways = [
        way
        for way in (_cached(asked, model), _batched(asked, model), _smaller(asked, model, models, as_of))
        if way
    ]
    better = [way.model_copy(update={"saving": cost - way.cost}) for way in ways if way.cost < cost]
    leaving = model.deprecated_on is not None and model.deprecated_on <= as_of + NOTICE
    return TokenSpend(
        source=source,
        model=model.name,
        requests=len(asked),
        input=sum(request.input for request in asked),
        output=sum(request.output for request in asked),
        repeated=sum(known) if known else None,
        cost=cost,
        alternatives=tuple(sorted(better, key=lambda way: (-way.saving * WEIGHT[way.certainty], way.rule))),
        deprecated_on=model.deprecated_on,
        warning=f"{model.name} is withdrawn on {model.deprecated_on}: move to another model"
        if leaving
        else None,
    )


def _cost(asked: Sequence[Request], model: Model) -> Decimal:
    total = Decimal(0)
    for request in asked:
        price = model.price(request.input)
        total += price.input * request.input + price.output * request.output
    return total


def _cached(asked: Sequence[Request], model: Model) -> Alternative | None:
    """Read what repeats at the cache's price; what is new is written to it, at the price of that where there is one."""
    total = Decimal(0)
    for request in asked:
        price = model.price(request.input)
        if price.read is None or request.repeated is None:
            return None
        fresh = price.input if price.write is None else price.write
        total += price.read * request.repeated + fresh * (request.input - request.repeated)
        total += price.output * request.output
    return _way("token_cache", "providers' price lists: prompt caching", Certainty.HIGH, total)


def _batched(asked: Sequence[Request], model: Model) -> Alternative | None:
    total = Decimal(0)
    for request in asked:
        price = model.price(request.input)
        if price.batch_input is None or price.batch_output is None:
            return None
        total += price.batch_input * request.input + price.batch_output * request.output
    return _way(
        "token_batch", "providers' price lists: batches, answered within a day", Certainty.MEDIUM, total
    )


def _smaller(
    asked: Sequence[Request], model: Model, models: Mapping[str, Model], as_of: date
) -> Alternative | None:
    """Take the cheapest model of the same provider and kind that takes prompts and answers as long."""
    longest = max((request.input for request in asked), default=0)
    answer = max((request.output for request in asked), default=0)
    fit = [
        other
        for other in models.values()
        if (other.provider, other.mode) == (model.provider, model.mode)
        and other.name != model.name
        and (other.max_input or 0) >= longest
        and (other.max_output or 0) >= answer
        and 0 < other.prices[0].input < model.prices[0].input
        and other.prices[0].output > 0
        and not (other.deprecated_on and other.deprecated_on <= as_of + NOTICE)
    ]
    if not fit:
        return None
    cost, name = min((_cost(asked, other), other.name) for other in fit)
    return _way("token_model", "FinOps Foundation: FinOps for AI, model selection", Certainty.LOW, cost, name)


def _way(
    rule: str, published: str, certainty: Certainty, cost: Decimal, model: str | None = None
) -> Alternative:
    return Alternative(
        rule=rule, published=published, certainty=certainty, cost=cost, saving=Decimal(0), model=model
    )
