"""Decide where each service comes from, and say why."""

from typing import NamedTuple

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.settings import Settings


class Choice(NamedTuple):
    """A backend, and the reason in words for the report."""

    backend: str
    reason: str


def choose(settings: Settings, service: str) -> Choice:
    """Choose for ``postgres`` or ``redis``.

    Raises:
        ServicesUnavailable: the backend asked for by name can't bring the service.
    """
    variable = f"NETRA_{service.upper()}_URL"
    url = settings.postgres_url if service == "postgres" else settings.redis_url
    if settings.backend == "external" and not url:
        raise ServicesUnavailable(service, f"{variable} is not set", "set it, or drop --services=external")
    if settings.backend == "compose":
        raise ServicesUnavailable(
            service, "compose is not a backend yet", "start compose.yaml by hand and use --services=external"
        )
    if url:
        return Choice("external", f"{variable} is set")
    if settings.backend == "embedded":
        return Choice("embedded", "asked for by name")
    return Choice("embedded", f"{variable} is not set")
