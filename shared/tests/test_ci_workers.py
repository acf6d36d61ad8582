"""A session of nox starts as many workers as somebody said, and says it where that can't be read."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def workers() -> ModuleType:
    script = Path(__file__).parents[2] / ".ci" / "workers.py"
    spec = importlib.util.spec_from_file_location("workers", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("said", "taken"), [(None, "2"), ("", "2"), ("0", "0"), ("10", "10"), ("auto", "auto")]
)
def test_what_the_variable_says_is_taken(workers: ModuleType, said: str | None, taken: str) -> None:
    """One knob serves a laptop and a large machine."""
    assert workers.count({} if said is None else {"NETRA_WORKERS": said}, 2) == taken


@pytest.mark.parametrize("said", ["many", "-1", "1.5"])
def test_what_is_no_number_is_named_with_its_variable(workers: ModuleType, said: str) -> None:
    """Otherwise xdist complains of an option that nobody typed."""
    with pytest.raises(
        ValueError, match=f"^NETRA_WORKERS: '{said}' is no number of workers; give one such as 2"
    ):
        workers.count({"NETRA_WORKERS": said}, 2)
