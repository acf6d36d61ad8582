"""The members are read from their folders, and the few lists that name them by hand name all of them."""

import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from .workspaces import ROOT, Workspace


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / ".ci")
    return importlib.import_module("members")


def test_a_new_folder_is_a_new_member(members: ModuleType, workspace: Workspace) -> None:
    """Whoever adds a domain gets its session, its pins and its place in the main job with the folder."""
    workspace.add("billing", "0.1.0")

    found = members.read(workspace.root)

    assert {name: member.folder for name, member in found.items()} == {
        "auth": "packages/auth",
        "billing": "packages/billing",
        "workflows": "packages/workflows",
        "shared": "shared",
    }


def test_what_is_installed_with_a_member_is_found_through_its_neighbours(
    members: ModuleType, workspace: Workspace
) -> None:
    """Its tests need not be installed to use it, so what only they need is left out."""
    workspace.add("portal", "0.1.0", requires=["netra-workflows"], tested_with=["netra-fixtures"])

    found = members.read(workspace.root)

    assert members.needed(found, ["portal"]) == ["portal", "workflows", "auth"]


def modules() -> set[str]:
    domains = {f"netra_{folder.name}" for folder in ROOT.glob("packages/*/")}
    return domains | {"netra_fixtures"}


@pytest.mark.parametrize("tool", ["coverage", "importlinter"])
def test_the_settings_of_a_tool_name_every_member(tool: str) -> None:
    """A package that is left out of a list is a package that nobody checks."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    listed = {
        "coverage": lambda: settings["coverage"]["run"]["source_pkgs"],
        "importlinter": lambda: settings["importlinter"]["root_packages"],
    }

    assert set(listed[tool]()) == modules()


def test_types_are_looked_for_in_every_member() -> None:
    """Types of a package that mypy doesn't find are Any, and Any agrees with everything."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]

    listed = {Path(path).parent.name for path in settings["mypy"]["mypy_path"] if path.endswith("/src")}

    assert listed == {folder.name for folder in ROOT.glob("packages/*/")} | {"shared"}
