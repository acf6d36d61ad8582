"""A way to a real server that a test can spoil."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from netra_fixtures.faults import Link
from netra_fixtures.passage import Fault
from netra_fixtures.services.endpoint import Endpoint

E = TypeVar("E", bound=Endpoint)


@dataclass(frozen=True)
class ServiceLink(Generic[E]):
    """What is reached over `endpoint` passes the link and its faults; everything else goes past them."""

    link: Link
    endpoint: E

    def fault(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        """Spoil the link until the block is left; see `netra_fixtures.faults`."""
        return self.link.fault(fault)


@contextlib.asynccontextmanager
async def link_to(endpoint: E, *, seed: int) -> AsyncIterator[ServiceLink[E]]:
    """Open a link to the server at *endpoint*."""
    async with Link(endpoint.target, seed=seed) as link:
        yield ServiceLink(link, endpoint.at(*link.endpoint))
