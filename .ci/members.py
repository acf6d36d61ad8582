"""The members of the workspace, read from their folders: versions, and who needs whom."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PLACEHOLDER = "0.0.0"  # holds a package's place, and is neither released nor published


@dataclass(frozen=True)
class Member:
    """One package of the workspace.

    Attributes:
        name: of its folder and of its session: auth, shared.
        folder: relative to the root, with slashes.
        requires: what is published with it, its extras' requirements included.
        tested_with: what only its tests need.
        description: what it is, in a sentence.
    """

    name: str
    folder: str
    distribution: str
    version: str
    requires: tuple[Requirement, ...]
    tested_with: tuple[Requirement, ...]
    description: str = ""

    @property
    def module(self) -> str:
        """The name under which it is imported."""
        return self.distribution.replace("-", "_")

    @property
    def tag(self) -> str:
        """The name of its version in git."""
        return f"{self.distribution}-v{self.version}"


def folders(root: Path) -> dict[str, str]:
    """Give the members' folders by name, the domains first, relative to *root*."""
    found = sorted(pyproject.parent for pyproject in root.glob("packages/*/pyproject.toml"))
    return {folder.name: folder.relative_to(root).as_posix() for folder in (*found, root / "shared")}


def read(root: Path) -> dict[str, Member]:
    """Read every member's pyproject.toml."""
    return {name: _member(name, folder, root) for name, folder in folders(root).items()}


def _member(name: str, folder: str, root: Path) -> Member:
    pyproject = tomllib.loads((root / folder / "pyproject.toml").read_text())
    project = pyproject["project"]
    extras = project.get("optional-dependencies", {}).values()
    return Member(
        name=name,
        folder=folder,
        distribution=project["name"],
        version=project["version"],
        requires=tuple(map(Requirement, _flat([project.get("dependencies", []), *extras]))),
        tested_with=tuple(map(Requirement, pyproject.get("dependency-groups", {}).get("test", []))),
        description=project.get("description", ""),
    )


def _flat(lists: Iterable[Iterable[str]]) -> Iterator[str]:
    for some in lists:
        yield from some


def named(members: Mapping[str, Member], requirements: Iterable[Requirement]) -> list[str]:
    """Name the members among *requirements*."""
    names = {canonicalize_name(member.distribution): member.name for member in members.values()}
    wanted = (canonicalize_name(requirement.name) for requirement in requirements)
    return list(dict.fromkeys(names[name] for name in wanted if name in names))


def needed(members: Mapping[str, Member], first: Iterable[str]) -> list[str]:
    """Name the *first* members and all that is installed with them, each once."""
    found = dict.fromkeys(first)
    waiting = list(found)
    while waiting:
        for name in named(members, members[waiting.pop()].requires):
            if name not in found:
                found[name] = None
                waiting.append(name)
    return list(found)
