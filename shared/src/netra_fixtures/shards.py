"""A run that is one part of several, as pytest-split parts them: which part it is, and of how many tests.

The number of tests before the split lets the merged report say whether one fell between the parts.
"""

from __future__ import annotations

from typing import Any

import pytest

_TESTS: pytest.StashKey[int] = pytest.StashKey()


@pytest.hookimpl(trylast=True)  # after -m and -k; pytest-split, registered later, comes later still
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count the tests that are parted."""
    config.stash[_TESTS] = len(items)


def shard_of(config: pytest.Config) -> dict[str, Any] | None:
    """Say which part this run is; None where it is the whole."""
    of = config.getoption("splits", None)
    if not of:
        return None
    return {"number": config.getoption("group"), "of": of, "tests": config.stash[_TESTS]}
