"""AI spend: requests times prices, and what batches, prompt caches or a smaller model would make of it.

Usage is read as lengths of requests. All amounts are exact dollars. The requests of one file and model are one group,
and a group has at most one finding, so that no request counts twice.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import Field

from netra_workflows.errors import BillUnreadable, UnknownColumns
from netra_workflows.files import lines
from netra_workflows.model import Certainty, Frozen
from netra_workflows.prices import Model

BLOCK_TOKENS: Final = 512
MOST_REQUESTS: Final = 1_000_000
NOTICE: Final = timedelta(days=90)
WEIGHT: Final[Mapping[Certainty, Decimal]] = {
    Certainty.HIGH: Decimal("0.9"), Certainty.MEDIUM: Decimal("0.6"), Certainty.LOW: Decimal("0.3")
}  # fmt: skip


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
    provider: str
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


def read_requests(path: Path, *, name: str | None = None, most: int = MOST_REQUESTS) -> Iterator[Request]:
    """Read lengths of requests: CSV of ContextTokens and GeneratedTokens, or JSON lines of input_length, output_length.

    Raises:
        BillUnreadable: the file can't be read to its end, or has more than *most* requests.
        UnknownColumns: it is neither.
    """
    name = name or path.name
    text = (line.decode("utf-8-sig") for line in lines(path, name))
    try:
        first = next(text, "")
        whole = chain([first], text)
        for request in _lines(name, whole) if first.lstrip().startswith("{") else _table(name, whole):
            if request.record > most:
                raise BillUnreadable(name, f"it has more than {most:,} requests")
            yield request
    except (TypeError, ValueError, csv.Error, RecursionError) as error:
        raise BillUnreadable(name, "a request has no lengths, or the file is cut off") from error


def _table(name: str, text: Iterable[str]) -> Iterator[Request]:
    rows = csv.DictReader(text)
    if not {"ContextTokens", "GeneratedTokens"} <= set(rows.fieldnames or ()):
        raise UnknownColumns(name, ["usage lacks ContextTokens or GeneratedTokens"])
    for record, row in enumerate(rows, start=1):
        yield Request(record, _length(row["ContextTokens"]), _length(row["GeneratedTokens"]), None)


def _lines(name: str, text: Iterable[str]) -> Iterator[Request]:
    """Of a prompt those blocks repeat that begin it and were seen before."""
    seen: set[int] = set()
    for record, line in enumerate(text, start=1):
        row = json.loads(line)
        if not isinstance(row, dict) or not {"input_length", "output_length"} <= row.keys():
            raise UnknownColumns(name, ["usage lacks input_length or output_length"])
        input, blocks = _length(row["input_length"]), row.get("hash_ids")
        repeated = None
        if blocks is not None:
            new = next((place for place, block in enumerate(blocks) if block not in seen), len(blocks))
            repeated = min(new * BLOCK_TOKENS, input)
            seen.update(blocks)
        yield Request(record, input, _length(row["output_length"]), repeated)


def _length(told: object) -> int:
    """Read a number of tokens; nobody sends a thousand million at once."""
    length = int(told) if isinstance(told, (int, str)) else -1
    if not 0 <= length < 10**9:
        raise ValueError
    return length


def token_spend(
    source: str, requests: Iterable[Request], model: Model, models: Mapping[str, Model], *, as_of: date
) -> TokenSpend:
    """Price requests, and find what they would have cost in other ways.

    Args:
        models: what could be used in place of *model*: its provider's, not deprecated, for prompts as long.
        as_of: the day on which a model is deprecated or not; a notice is given 90 days before.
    """
    asked = list(requests)
    cost = cost_of(asked, model)
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
        provider=model.provider,
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


def cost_of(asked: Iterable[Request], model: Model) -> Decimal:
    """Price requests, one after another."""
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
    cost, name = min((cost_of(asked, other), other.name) for other in fit)
    return _way("token_model", "FinOps Foundation: FinOps for AI, model selection", Certainty.LOW, cost, name)


def _way(
    rule: str, published: str, certainty: Certainty, cost: Decimal, model: str | None = None
) -> Alternative:
    return Alternative(
        rule=rule, published=published, certainty=certainty, cost=cost, saving=Decimal(0), model=model
    )
