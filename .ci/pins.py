"""Compile the pins of every member, its tests and the tools, and hold them to having no address."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

CONSTRAINTS = Path("requirements/constraints.txt")
NOXW = Path("requirements/noxw.txt")  # nox and uv alone: older pips take hashes from no constraints
ADDRESS = re.compile(
    r"^.*(?:https?|file)://.*$|^(?:-e |-i |-f |--(?:extra-)?index-url|--find-links).*$", re.MULTILINE
)
COMPILE = (
    *("uv", "pip", "compile", "-q", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-annotate", "--no-emit-index-url", "--custom-compile-command", "nox -s lock"),
)


def commands(members: Iterable[str], into: Path) -> Iterator[list[str]]:
    """Give the commands that write both files of pins, to be run one after another at the root.

    Args:
        members: their folders, relative to the root.
        into: where to write; what stands there already is kept as far as it still holds.
    """
    pyprojects = [Path(folder, "pyproject.toml") for folder in members]
    groups = ["pyproject.toml:dev", *(f"{pyproject}:test" for pyproject in pyprojects)]
    constraints, noxw = into / CONSTRAINTS.name, into / NOXW.name
    yield [
        *(*COMPILE, "--all-extras", *map(str, pyprojects), "requirements/tooling.in", "-o", str(constraints)),
        *(argument for group in groups for argument in ("--group", group)),
        *(argument for file in pyprojects for argument in ("--no-emit-package", distribution(file))),
    ]
    yield [*COMPILE, "-c", str(constraints), "requirements/noxw.in", "-o", str(noxw)]


def distribution(pyproject: Path) -> str:
    """Read the name under which a member is published."""
    name = tomllib.loads(pyproject.read_text())["project"]["name"]
    assert isinstance(name, str)
    return name


def addresses(text: str) -> list[str]:
    """Find the lines of a file of pins that name an index, a file or a page: pins hold for every index."""
    return [match.group() for match in ADDRESS.finditer(text)]
