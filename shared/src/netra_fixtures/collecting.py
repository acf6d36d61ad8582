"""What collection decides: which tests are integration tests, what they are worth, which are refused."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator, Mapping

import pytest

from netra_fixtures.errors import ValueMissing

MARKERS = (
    "business_value(tier, goals, impact): for whom the test matters and why",
    "fresh_database: a database of the test's own, whose tables it may change",
    "integration: set by the plugin on every test that asks for a service",
    "soak: a long proof, left out of the default run",
)
SERVICES = {  # the fixtures that stand on a server, whichever others stand on them
    "postgres": ("postgres_endpoint", "private_postgres"),
    "redis": ("redis_endpoint", "private_redis"),
    "websocket": ("websocket_link",),  # the server is the test's own, the frames are evidence all the same
}
ABOUT = {  # the service that the tests of a class in cases.py are about
    "DatabaseIntegrationTest": "postgres",
    "CacheIntegrationTest": "redis",
    "WebSocketIntegrationTest": "websocket",
}
SERVICE_FIXTURES = frozenset(name for names in SERVICES.values() for name in names)


def register_markers(config: pytest.Config) -> None:
    """Make the kit's markers known."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def is_integration(item: pytest.Item) -> bool:
    """Tell whether a test asks for a service, itself or through its fixtures."""
    return not SERVICE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def services_asked(item: pytest.Item) -> tuple[str, ...]:
    """Name the services that a test asks for."""
    asked = getattr(item, "fixturenames", ())
    return tuple(service for service, fixtures in SERVICES.items() if not set(fixtures).isdisjoint(asked))


def services_untouched(item: pytest.Item, passed: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    """Name the services that a test had to send something, and didn't.

    That is each service its class is about, and at least one of those it asks for.

    Args:
        passed: what passed in the test, counters by protocol.
    """
    touched = {service for service, counts in passed.items() if any(counts.values())}
    lineage = getattr(getattr(item, "cls", None), "__mro__", ())
    about = {ABOUT.get(one.__name__) for one in lineage if one.__module__ == "netra_fixtures.cases"}
    silent = tuple(service for service in SERVICES if service in about - touched)
    return silent or (() if touched else services_asked(item))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is imported and collected from being looked through for garbage: all of it lives to the end."""
    looking = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        if looking:
            gc.enable()


def pytest_unconfigure() -> None:
    """Let it be garbage in the end: extensions complain of what is never let go."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Mark the integration tests among what was collected; fail the collection where one breaks a rule."""
    report = yield
    broken: dict[object, str] = {}
    for item in report.result or ():
        if isinstance(item, pytest.Item) and is_integration(item):
            item.add_marker(pytest.mark.integration)
            broken = dict(_rules_broken(item)) | broken
    if broken:
        report.outcome = "failed"
        report.longrepr = "\n".join(broken.values())
        report.result = []
    return report


def _rules_broken(item: pytest.Item) -> Iterator[tuple[object, str]]:
    """Yield what is wrong with a test, under a key: what several tests share is said once."""
    from netra_fixtures.guard import refusal_at_collection
    from netra_fixtures.value import ValueMarkerInvalid, value_of

    try:
        if value_of(item) is None and item.config.getini("netra_require_value"):
            raise ValueMissing(item.nodeid)
    except ValueMarkerInvalid as error:
        yield error.reason, str(error)
    except ValueMissing as error:
        yield str(error), str(error)
    refusal = refusal_at_collection(item)
    if refusal is not None:
        yield tuple(refusal.findings), str(refusal)
