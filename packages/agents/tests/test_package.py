"""netra_agents installs by itself, typed, and brings no neighbour along."""

import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files

import netra_agents

NEIGHBOURS = {
    "netra_auth",
    "netra_config",
    "netra_sessions",
    "netra_tools",
    "netra_workflows",
}


def test_importing_the_package_imports_no_neighbour() -> None:
    """A domain can be installed and released alone, so a change next door cannot break it."""
    listing = subprocess.run(
        [sys.executable, "-c", "import netra_agents, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )

    assert "netra_agents" in listing.stdout.split()
    assert NEIGHBOURS.isdisjoint(listing.stdout.split())


def test_the_package_asks_for_no_test_tool() -> None:
    """Who installs the package for production gets no test kit with it."""
    asked = requires("netra-agents") or []

    assert not [requirement for requirement in asked if requirement.startswith(("netra-fixtures", "pytest"))]


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    """A caller's type checker reads the annotations only where this marker is shipped."""
    assert files(netra_agents).joinpath("py.typed").is_file()
