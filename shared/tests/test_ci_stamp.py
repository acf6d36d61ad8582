"""A session installs again exactly when something that decides its packages has changed."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def stamp() -> ModuleType:
    script = Path(__file__).parents[2] / ".ci" / "stamp.py"
    spec = importlib.util.spec_from_file_location("stamp", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "constraints.txt", tmp_path / "pyproject.toml"]
    for file in found:
        file.write_text(f"the text of {file.name}")
    return found


def test_an_environment_without_a_stamp_is_not_current(stamp: ModuleType, tmp_path: Path) -> None:
    """An installation that was interrupted is done again."""
    assert not stamp.is_current(tmp_path, "a fingerprint")


def test_a_written_stamp_makes_the_environment_current(stamp: ModuleType, tmp_path: Path) -> None:
    """A second run installs nothing, so an answer takes a second."""
    stamp.write(tmp_path, "a fingerprint")

    assert stamp.is_current(tmp_path, "a fingerprint")
    assert not stamp.is_current(tmp_path, "another fingerprint")


def test_a_removed_stamp_makes_the_environment_incomplete(stamp: ModuleType, tmp_path: Path) -> None:
    """While packages change, the environment is neither the old one nor the new one."""
    stamp.write(tmp_path, "a fingerprint")

    stamp.remove(tmp_path)

    assert not stamp.is_current(tmp_path, "a fingerprint")


def test_the_fingerprint_does_not_depend_on_the_order_of_files(stamp: ModuleType, files: list[Path]) -> None:
    """Two calls that name the same files agree."""
    assert stamp.fingerprint(files, ["3.11"]) == stamp.fingerprint(reversed(files), ["3.11"])


def test_a_changed_pin_changes_the_fingerprint(stamp: ModuleType, files: list[Path]) -> None:
    """New pins reach every environment at its next run."""
    before = stamp.fingerprint(files, ["3.11"])

    files[0].write_text("another version")

    assert stamp.fingerprint(files, ["3.11"]) != before


def test_text_that_moves_between_files_changes_the_fingerprint(stamp: ModuleType, files: list[Path]) -> None:
    """A dependency that moves to another member is declared elsewhere, though the sum is the same."""
    files[0].write_text("redis sqlalchemy")
    files[1].write_text(" pydantic")
    before = stamp.fingerprint(files, ["3.11"])

    files[0].write_text("redis")
    files[1].write_text(" sqlalchemy pydantic")

    assert stamp.fingerprint(files, ["3.11"]) != before


@pytest.mark.parametrize("made_with", [["3.12"], ["3.11", "uv"], []])
def test_another_interpreter_or_tool_changes_the_fingerprint(
    stamp: ModuleType, files: list[Path], made_with: list[str]
) -> None:
    """What an interpreter installed is of no use to another."""
    assert stamp.fingerprint(files, made_with) != stamp.fingerprint(files, ["3.11"])
