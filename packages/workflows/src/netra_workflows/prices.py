"""What models cost: prices for their tokens, in the form of LiteLLM's table. A list comes from whoever uploads it."""

import json
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from netra_workflows.errors import BillUnreadable
from netra_workflows.files import lines
from netra_workflows.model import Frozen

LONGEST: Final = 200
LARGEST_TABLE: Final = 16 << 20
MOST: Final = 10**3  # dollars a token; what is more is no price
_TIER: Final = re.compile(r"_above_(\d{1,9})k_tokens$")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
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


def read_prices(path: Path, *, name: str | None = None) -> dict[str, Model]:
    """Read models with prices for their tokens; others, and LiteLLM's `sample_spec`, are left out.

    Raises:
        BillUnreadable: the file is no such table.
    """
    name, raw = name or path.name, bytearray()
    for line in lines(path, name, longest=LARGEST_TABLE):
        raw += line
        if len(raw) > LARGEST_TABLE:
            raise BillUnreadable(name, "it is too large for a price list")
    try:
        table = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise BillUnreadable(name, "it is no JSON") from error
    if not isinstance(table, dict):
        raise BillUnreadable(name, "it is no table of models")
    models = (
        _model(name, entry)
        for name, entry in table.items()
        if isinstance(entry, dict) and name != "sample_spec" and name.isprintable() and len(name) <= LONGEST
    )
    return {model.name: model for model in models if model is not None}


def _model(name: str, entry: Mapping[str, Any]) -> Model | None:
    provider = str(entry.get("litellm_provider") or "")
    if not provider.isprintable() or not 0 < len(provider) <= LONGEST or _price(entry, 0) is None:
        return None
    tiers = {int(found[1]) * 1000 for key in entry if (found := _TIER.search(key))}
    return Model(
        name=name,
        provider=provider,
        mode=str(entry.get("mode", "")),
        prices=tuple(p for tier in (0, *sorted(tiers)) if (p := _price(entry, tier)) is not None),
        max_input=_whole(entry.get("max_input_tokens")),
        max_output=_whole(entry.get("max_output_tokens")),
        deprecated_on=_day(entry.get("deprecation_date")),
    )


def _day(told: Any) -> date | None:
    try:
        return date.fromisoformat(told) if isinstance(told, str) and _DAY.fullmatch(told) else None
    except ValueError:
        return None


def _price(entry: Mapping[str, Any], above: int) -> Price | None:
    def part(key: str) -> Decimal | None:
        value = entry.get(f"{key}_above_{above // 1000}k_tokens") if above else None
        value = entry.get(key) if value is None else value
        return Decimal(value) if isinstance(value, (int, Decimal)) and 0 <= value < MOST else None

    parts = {name: part(key) for name, key in _PARTS.items()}
    if parts["input"] is None or parts["output"] is None:
        return None
    return Price.model_validate({"above": above, **parts})


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, Decimal)) and 0 <= value < 10**12 else None


def model_named(name: str, models: Mapping[str, Model]) -> Model | None:
    """Find the model that an upload of requests is called after: the longest name in it that is a word of its own."""
    told = name.lower()
    found = [
        own
        for own in models
        if own.lower() in told and re.search(rf"(?<![a-z0-9]){re.escape(own.lower())}(?![a-z0-9])", told)
    ]
    return models[max(found, key=lambda own: (len(own), own))] if found else None
