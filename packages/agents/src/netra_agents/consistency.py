"""Whether Redis shows of runs what PostgreSQL says, and how that is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from netra_agents.run import Run, RunId
from netra_agents.store import RunStore
from netra_agents.view import View

_PAGE: Final = 200
_FIRST: Final = UUID(int=0)


@dataclass(frozen=True)
class Difference:
    """Where the view of a run is not what PostgreSQL says: `what` is missing, behind, ahead, other or orphaned."""

    run: RunId
    what: str


class Consistency:
    """Holds the views of all runs of one installation against the record."""

    def __init__(self, store: RunStore, view: View) -> None:
        self._store = store
        self._view = view

    async def rebuild(self) -> int:
        """Make the view of every run again, and remove those of no run; returns how many there are.

        Safe while workers work.
        """
        count, last = 0, _FIRST
        while page := await self._store.views(last, most=_PAGE):
            await self._view.show(page)
            shown = await self._view.read([run for run, _ in page])
            await self._mend([run for (run, kept), view in zip(page, shown, strict=True) if view != kept])
            count, last = count + len(page), page[-1][0]
        await self._view.drop(await self._orphans())
        return count

    async def check(self) -> list[Difference]:
        """Compare PostgreSQL and Redis, run by run; what changes meanwhile may be behind for a moment."""
        found: list[Difference] = []
        last = _FIRST
        while page := await self._store.views(last, most=_PAGE):
            shown = await self._view.read([run for run, _ in page])
            for (run, kept), view in zip(page, shown, strict=True):
                if view != kept:
                    found.append(Difference(run, _compared(kept, view)))
            last = page[-1][0]
        return found + [Difference(run, "orphaned") for run in await self._orphans()]

    async def _mend(self, runs: Sequence[RunId]) -> None:
        """Replace views that are ahead of the record, which a worker's can't be."""
        truth = await self._store.views_of(runs) if runs else {}
        for run, kept in truth.items():
            [view] = await self._view.read([run])
            if view is not None and _compared(kept, view) == "ahead":
                await self._view.drop([run])
                await self._view.show([(run, kept)])

    async def _orphans(self) -> list[RunId]:
        """Find views of no run."""
        shown = [run async for run in self._view.all()]
        orphans: set[RunId] = set()
        for start in range(0, len(shown), _PAGE):
            some = shown[start : start + _PAGE]
            orphans |= set(some) - (await self._store.views_of(some)).keys()
        return sorted(orphans)


def read_view(view: str) -> Run | None:
    """Read a view; None where it is garbled."""
    try:
        return Run.model_validate_json(view)
    except ValidationError:
        return None


def _compared(kept: str, view: str | None) -> str:
    if view is None:
        return "missing"
    there, truth = read_view(view), Run.model_validate_json(kept)
    if there is None or there.revision == truth.revision:
        return "other"
    return "behind" if there.revision < truth.revision else "ahead"
