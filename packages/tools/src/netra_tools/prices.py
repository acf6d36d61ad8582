"""A tool that reckons what tokens cost: exact decimals, prices by the million."""

from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from netra_tools.errors import ToolError
from netra_tools.tool import Context, Tool

_MILLION: Final = Decimal(1_000_000)
_DIGITS: Final = 100  # more than any price and any number of tokens have together


class TokenPrice(BaseModel):
    """What a model costs, in dollars for a million tokens; cached input costs as much as other, unless given."""

    model_config = ConfigDict(frozen=True)

    input: Decimal = Field(ge=0, max_digits=50, allow_inf_nan=False)
    output: Decimal = Field(ge=0, max_digits=50, allow_inf_nan=False)
    cached_input: Decimal | None = Field(default=None, ge=0, max_digits=50, allow_inf_nan=False)


class TokenUse(BaseModel):
    """Tokens of one model; `cached_input` of the input tokens were read from a cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, max_length=200)
    input: int = Field(default=0, ge=0, le=10**15)
    output: int = Field(default=0, ge=0, le=10**15)
    cached_input: int = Field(default=0, ge=0, le=10**15)


class TokenCost(BaseModel):
    """What tokens cost, in dollars."""

    model_config = ConfigDict(frozen=True)

    input: Decimal
    output: Decimal
    total: Decimal


def token_cost(use: TokenUse, price: TokenPrice) -> TokenCost:
    """Reckon what *use* costs at *price*, without rounding.

    Raises:
        ToolError: more tokens came from a cache than there were.
    """
    if use.cached_input > use.input:
        raise ToolError("cached_input is a part of input and can't exceed it")
    cached = price.input if price.cached_input is None else price.cached_input
    with localcontext(prec=_DIGITS):
        input_cost = (price.input * (use.input - use.cached_input) + cached * use.cached_input) / _MILLION
        output_cost = price.output * use.output / _MILLION
        return TokenCost(input=input_cost, output=output_cost, total=input_cost + output_cost)


def token_cost_tool(
    prices: Mapping[str, TokenPrice], *, name: str = "token_cost", **rules: Any
) -> Tool[TokenUse, TokenCost]:
    """Make a tool that reckons with *prices*, by model."""

    async def reckon(use: TokenUse, _: Context) -> TokenCost:
        price = prices.get(use.model)
        if price is None:
            raise ToolError("no price is known for this model")
        return token_cost(use, price)

    settings = {"description": "Reckon what tokens of a model cost, in dollars.", **rules}
    return Tool.typed(name, reckon, TokenUse, TokenCost, **settings)
