"""What the users are told while a tool runs."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol

from pydantic import JsonValue

from netra_tools.store import Claim, Ending

_LOG = logging.getLogger(__name__)


class EventSink(Protocol):
    """Takes events for a user's screens."""

    async def emit(
        self, kind: str, *, user: str, run: str, event_id: str, data: Mapping[str, JsonValue]
    ) -> object:
        """Deliver an event; one that comes twice has the same *event_id*."""


class Announcer:
    """Tells the sink how runs go; a sink that fails or hangs holds no run up for longer than the deadline."""

    def __init__(self, sink: EventSink | None, *, deadline: timedelta) -> None:
        self._sink = sink
        self._deadline = deadline.total_seconds()

    async def executing(self, claim: Claim) -> None:
        """Tell that the tool is about to be called."""
        await self._emit("tool_executing", claim, {})

    async def completed(self, claim: Claim, ending: Ending) -> None:
        """Tell how the run ended."""
        told = {"state": ending.state.value, "error": ending.error, "message": ending.message}
        await self._emit("tool_completed", claim, told)

    async def _emit(self, kind: str, claim: Claim, told: Mapping[str, JsonValue]) -> None:
        if self._sink is None:
            return
        data = {"tool": claim.tool, "version": claim.version, "tool_run": str(claim.id), **told}
        work = claim.caller.work or str(claim.id)
        try:
            async with asyncio.timeout(self._deadline):
                await self._sink.emit(
                    kind, user=claim.caller.user, run=work, event_id=f"{claim.id}:{kind}", data=data
                )
        except Exception as error:
            _LOG.warning("%s of run %s was not delivered (%s)", kind, claim.id, type(error).__name__)
