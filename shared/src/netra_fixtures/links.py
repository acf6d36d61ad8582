"""Ways to real servers that a test can spoil."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from netra_fixtures.chance import Chance
from netra_fixtures.evidence import Tap
from netra_fixtures.faults import Link
from netra_fixtures.passage import Fault
from netra_fixtures.relay import Address
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


@dataclass(frozen=True)
class WebSocketLink:
    """What connects to `uri` passes the link and its faults; everything else goes past them."""

    link: Link
    uri: str

    def fault(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        """Spoil the link until the block is left; see `netra_fixtures.faults`."""
        return self.link.fault(fault)


class WebSocketLinkFactory:
    """Opens links to WebSocket servers, and has their frames counted."""

    def __init__(self, tap: Tap, chance: Chance) -> None:
        self._tap = tap
        self._chance = chance
        self._numbers = itertools.count(1)

    @contextlib.asynccontextmanager
    async def __call__(self, uri: str) -> AsyncIterator[WebSocketLink]:
        """Open a link to the server at *uri*, closed when the block is left.

        Args:
            uri: ``ws://host:port/path``, where a server listens.

        Raises:
            ValueError: it is no such URI; over ``wss://`` frames can't be counted.
        """
        target = _target(uri)
        name = f"ws-{secrets.token_hex(4)}"
        path = self._tap.link(name, "websocket", target)
        try:
            async with _opened(path, self._chance, f"websocket_link {next(self._numbers)}") as link:
                yield WebSocketLink(link, _at(uri, *link.endpoint))
        finally:
            self._tap.drop(name)
            path.parent.rmdir()


@contextlib.asynccontextmanager
async def link_to(endpoint: E, chance: Chance, name: str) -> AsyncIterator[ServiceLink[E]]:
    """Open a link to the server at *endpoint*."""
    async with _opened(endpoint.target, chance, name) as link:
        yield ServiceLink(link, endpoint.at(*link.endpoint))


def _opened(target: Address, chance: Chance, name: str) -> Link:
    return Link(target, seed=chance.seed(name), drawn=lambda: chance.note(name))


def _target(uri: str) -> tuple[str, int]:
    parts = urlsplit(uri)
    if parts.scheme != "ws" or not parts.hostname:
        raise ValueError("a WebSocket link leads to ws://host:port/path; what passes wss:// can't be counted")
    return parts.hostname, parts.port or 80


def _at(uri: str, host: str, port: int) -> str:
    parts = urlsplit(uri)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{host}:{port}").geturl()
