"""The pytest plugin: options, and the two objects whose methods are its hooks.

`Worker` stands in each process that runs tests, `Controller` in the one that a person started; without xdist that is
the same process.
"""

from __future__ import annotations

import pytest

from netra_fixtures import collecting, settings
from netra_fixtures.controller import Controller
from netra_fixtures.worker import Worker

pytest_plugins = (
    "netra_fixtures.fixtures",
    "netra_fixtures.collecting",
    "netra_fixtures.cut_short",
    "netra_fixtures.shards",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    settings.add_options(parser)


@pytest.hookimpl(tryfirst=True)  # before junitxml looks where to write
def pytest_configure(config: pytest.Config) -> None:
    collecting.register_markers(config)
    if hasattr(config, "workerinput"):
        told, name = config.workerinput["netra"], config.workerinput["workerid"]
    else:
        controller = Controller.begin(config)
        config.pluginmanager.register(controller, "netra-controller")
        told, name = controller.told(), "main"
    config.pluginmanager.register(Worker.begin(config, told, name), "netra-worker")
