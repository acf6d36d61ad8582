"""Call a tool until it answers, its errors are final, or its attempts are used up."""

import asyncio
import random
from typing import Any

from netra_tools.breaker import Breakers
from netra_tools.errors import CircuitOpen, InvalidArguments, ToolError
from netra_tools.payload import Misfit, NotStorable
from netra_tools.retry import RetryBudget
from netra_tools.run import RunState
from netra_tools.store import Claim, Ending
from netra_tools.tool import Context, Tool

_LONGEST = 1000


class AttemptTimedOut(TimeoutError):
    """An attempt took as long as the tool allows."""


class Attempts:
    """Calls tools, with retries, behind their breakers; a call that succeeds at once costs next to nothing."""

    def __init__(self, breakers: Breakers, rng: random.Random, *, limit_bytes: int) -> None:
        self._breakers = breakers
        self._rng = rng
        self._limit_bytes = limit_bytes
        self._budgets: dict[str, RetryBudget] = {}

    async def make(self, tool: Tool[Any, Any], claim: Claim) -> Ending:
        """Call the tool for a run, and tell how the run ended."""
        made = 0

        async def attempt() -> Any:
            nonlocal made
            made += 1
            timeout = asyncio.timeout(tool.timeout.total_seconds())
            try:
                async with timeout:
                    return await tool.call(arguments, Context(claim.caller, claim.id, made))
            except TimeoutError as error:
                if timeout.expired():
                    raise AttemptTimedOut from error
                raise

        try:
            arguments = _read(tool, claim)
            value = await self.call(tool, attempt)
            data = tool.result.write(value, limit_bytes=self._limit_bytes)
            tool.result.read(data)
        except AttemptTimedOut:
            return Ending(RunState.TIMED_OUT, error="TimedOut", message="no answer in time", attempts=made)
        except (NotStorable, Misfit) as error:
            return _failed("ResultRefused", str(error), made)
        except (ToolError, CircuitOpen, InvalidArguments) as error:
            return _failed(type(error).__name__, str(error), made)
        except Exception as error:
            return _failed(type(error).__name__, "it raised what it has no words for", made)
        return Ending(RunState.COMPLETED, result=data, attempts=made)

    async def call(self, tool: Tool[Any, Any], attempt: Any) -> Any:
        """Await *attempt*, and again after transient errors, as the tool's policies allow."""
        breaker = self._breakers.of(tool)
        budget = self._budgets.get(tool.name)
        if budget is None:
            budget = self._budgets[tool.name] = RetryBudget(tool.retry)
        budget.earn()
        number, before = 1, None
        while True:
            try:
                return await (attempt() if breaker is None else breaker.call(attempt))
            except Exception as error:
                if before is not None and isinstance(error, CircuitOpen):
                    raise before from error  # what it failed with is what matters
                before = error
                wait = tool.retry.wait(error, number, self._rng)
                if wait is None or not budget.spend():
                    raise
            await asyncio.sleep(wait.total_seconds())
            number += 1


def _read(tool: Tool[Any, Any], claim: Claim) -> Any:
    try:
        return tool.input.read(claim.arguments)
    except Misfit as error:  # another process, of other code, took them
        raise InvalidArguments(tool.name, error.problems) from None


def _failed(error: str, message: str, attempts: int) -> Ending:
    """Keep what a tool says to users, in characters that every store takes."""
    words = message.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return Ending(RunState.FAILED, error=error[:200], message=words[:_LONGEST], attempts=attempts)
