"""Decide where each service comes from, and say why."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.services import engine
from netra_fixtures.settings import Settings

SERVICES = ("postgres", "redis")


class Choice(NamedTuple):
    """A backend, and the reason in words for the report.

    Attributes:
        url: of a server that the workers share, whoever brought it.
        start_s: seconds that its start took.
    """

    backend: str
    reason: str
    url: str = ""
    start_s: float = 0.0

    @property
    def shared(self) -> bool:
        """Whether the run's workers, if nobody else, use the same server."""
        return self.backend != "embedded"

    @property
    def stays(self) -> bool:
        """Whether the server is there when the run is over."""
        return self.backend == "external"


def choose(
    settings: Settings, service: str, ask: Callable[..., dict[str, Any]], *, both: bool = False
) -> Choice:
    """Choose for ``postgres`` or ``redis``; containers are up then.

    Args:
        ask: has the run's supervisor do something.
        both: the other service is wanted next, and may start meanwhile.

    Raises:
        ServicesUnavailable: the backend asked for by name can't bring the service.
    """
    variable, url = f"NETRA_{service.upper()}_URL", _url(settings, service)
    if settings.backend == "external" and not url:
        raise ServicesUnavailable(service, f"{variable} is not set", "set it, or drop --services=external")
    if url:
        return Choice("external", f"{variable} is set", url)
    if settings.backend == "embedded":
        return Choice("embedded", "asked for by name")
    others = [other for other in SERVICES if other != service and not _url(settings, other)]
    start = [service, *(others if both else ())]
    if settings.backend == "compose":
        return _composed("asked for by name", ask, start=start, images=start, auto=False, pull=True)
    if not engine.in_sight(os.environ):
        return Choice("embedded", f"{variable} is not set and there is no Docker")
    reason = f"{variable} is not set and Docker is there"
    try:
        return _composed(reason, ask, start=start, images=[service, *others], auto=True, pull=settings.strict)
    except ServicesUnavailable as error:
        reason = f"{variable} is not set and {error.service} can't bring it: {error.reason}"
        return Choice("embedded", reason)


def _composed(reason: str, ask: Callable[..., dict[str, Any]], **wanted: Any) -> Choice:
    answer = ask("compose", **wanted)
    return Choice("compose", reason, answer["url"], answer["start_s"])


def _url(settings: Settings, service: str) -> str | None:
    return settings.postgres_url if service == "postgres" else settings.redis_url
