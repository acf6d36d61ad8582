"""The pins cover every member, have a hash each, and hold for every index."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pins() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pins", ROOT / ".ci" / "pins.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def members(tmp_path: Path) -> list[str]:
    for name in ("auth", "fixtures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text(f'[project]\nname = "netra-{name}"\n')
    return [str(tmp_path / "auth"), str(tmp_path / "fixtures")]


def test_every_member_is_compiled_with_its_test_group_and_pinned_nowhere(
    pins: ModuleType, members: list[str]
) -> None:
    """A dependency left out would be taken at any version; a member that is pinned can't be edited."""
    constraints, _ = pins.commands(members, Path("into"))

    for member, distribution in zip(members, ("netra-auth", "netra-fixtures"), strict=True):
        assert f"{member}/pyproject.toml" in constraints
        assert f"{member}/pyproject.toml:test" in constraints
        assert constraints[constraints.index(distribution) - 1] == "--no-emit-package"


def test_nox_and_uv_are_pinned_as_everything_else_is(pins: ModuleType, members: list[str]) -> None:
    """One run must not use a nox from two versions."""
    constraints, noxw = pins.commands(members, Path("into"))

    assert constraints[constraints.index("-o") + 1] == noxw[noxw.index("-c") + 1] == "into/constraints.txt"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://index.invalid/simple",
        "--extra-index-url=internal",
        "--find-links wheels",
        "-e ./packages/auth",
        "netra-auth @ file:///somewhere",
        "pytest==9.2.0 # from http://index.invalid",
    ],
)
def test_a_line_that_names_an_address_is_found(pins: ModuleType, line: str) -> None:
    """An address in the pins would tie every checkout to one company's network."""
    text = f"nox==1 \\\n    --hash=sha256:00\n{line}\nuv==1\n"

    assert pins.addresses(text) == [line]


@pytest.mark.parametrize("name", ["constraints.txt", "noxw.txt"])
def test_the_pins_of_this_checkout_have_hashes_and_no_address(pins: ModuleType, name: str) -> None:
    """What CI tested is, to the byte, what a fresh machine installs."""
    text = (ROOT / "requirements" / name).read_text()

    requirements = re.split(r"\n(?=\S)", text.strip())
    pinned = [requirement for requirement in requirements if not requirement.startswith("#")]
    assert pins.addresses(text) == []
    assert all("==" in requirement and "--hash=sha256:" in requirement for requirement in pinned)
