"""Agents that compute on what they are given, and plans made of them."""

from pydantic import BaseModel

from netra_agents import Agent, Plan, Step, TransientError, Turn


class Number(BaseModel):
    """A number."""

    n: int


class Maybe(BaseModel):
    """A number, if there is one."""

    first: Number | None = None


class Numbers(BaseModel):
    """Numbers, as many as there are."""

    all: list[Number]


class Flaky:
    """An agent that adds to its input; it fails as often as it is told before it answers.

    *fails* is how often: for good, where it is None. Every call is counted.
    """

    def __init__(self, name: str, *, adds: int = 1, fails: int | None = 0) -> None:
        self.name = name
        self.adds = adds
        self.fails = fails
        self.calls = 0

    def failing(self) -> bool:
        """Count a call, and tell whether it fails."""
        self.calls += 1
        return self.fails is None or self.calls <= self.fails

    async def number(self, given: Number, turn: Turn) -> Number:
        """Add to the number."""
        return self._answer(given.n)

    async def maybe(self, given: Maybe, turn: Turn) -> Number:
        """Add to the number, or to nothing."""
        return self._answer(given.first.n if given.first else 0)

    async def numbers(self, given: Numbers, turn: Turn) -> Number:
        """Add to the sum of the numbers."""
        return self._answer(sum(one.n for one in given.all))

    def _answer(self, n: int) -> Number:
        if self.failing():
            raise TransientError(f"{self.name} can't")
        return Number(n=n + self.adds)


async def _add(given: Number, turn: Turn) -> Number:
    await turn.think(f"{given.n} is to be one more")
    return Number(n=given.n + 1)


async def _sum(given: Numbers, turn: Turn) -> Number:
    await turn.think(f"{len(given.all)} numbers are to be summed up")
    return Number(n=sum(one.n for one in given.all))


ADD = Agent("add", _add, Number, Number)
SUM = Agent("sum", _sum, Numbers, Number)


def fan(width: int) -> Plan[Number, Number]:
    """Plan one step, so many side by side after it, and one that joins them."""
    names = tuple(f"side{number}" for number in range(width))
    sides = [Step(name, ADD, "first") for name in names]
    return Plan("fan", Number, Number, [Step("first", ADD), *sides, Step("join", SUM, {"all": names})])
