"""netra_workflows installs by itself, typed, and brings no test tool along."""

import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files

import netra_workflows

TEST_TOOLS = {"netra_fixtures", "pytest"}


def test_importing_the_package_imports_no_test_tool() -> None:
    """What runs in production starts without the code that only tests need."""
    listing = subprocess.run(
        [sys.executable, "-c", "import netra_workflows, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )

    assert "netra_workflows" in listing.stdout.split()
    assert TEST_TOOLS.isdisjoint(listing.stdout.split())


def test_the_package_asks_for_no_test_tool() -> None:
    """Who installs the package for production gets no test kit with it."""
    asked = requires("netra-workflows") or []

    assert not [requirement for requirement in asked if requirement.startswith(("netra-fixtures", "pytest"))]


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    """A caller's type checker reads the annotations only where this marker is shipped."""
    assert files(netra_workflows).joinpath("py.typed").is_file()
