"""A small workspace with the root's own settings, in which the scripts of `.ci` are run as nox runs them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
CHANGELOG = """# Changelog of netra-{name}

Each release gathers its fragments from `changes/` here, newest first. Nothing has been released yet.
"""
PYPROJECT = """[project]
name = "netra-{name}"
version = "{version}"
requires-python = ">=3.11"
dependencies = {requires}

[dependency-groups]
test = {tested_with}

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"
"""


@dataclass(frozen=True)
class Workspace:
    """A workspace in *root*."""

    root: Path

    def add(
        self, name: str, version: str, requires: Sequence[str] = (), tested_with: Sequence[str] = ()
    ) -> Path:
        """Add a member, and give its folder."""
        folder = self.root / ("shared" if name == "fixtures" else f"packages/{name}")
        (folder / "changes").mkdir(parents=True)
        (folder / "CHANGELOG.md").write_text(CHANGELOG.format(name=name))
        wanted = {"requires": list(requires), "tested_with": list(tested_with)}
        (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name, version=version, **wanted))
        source = folder / "src" / f"netra_{name}"
        source.mkdir(parents=True)
        (source / "__init__.py").write_text(f"NAME = {name!r}\n")
        return folder

    def run(
        self, *command: str | Path, deadline_s: int = 50, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program at the root, without this session's variables of an index."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NETRA_", "UV_PUBLISH_"))
        }
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=self.root, env={**inherited, "PATH": path, **variables},
            capture_output=True, text=True, timeout=deadline_s, check=False,
        )  # fmt: skip

    def build(self, *options: str, **variables: str) -> None:
        """Build all members, or what the *options* say, into dist, and prove nothing."""
        command = ("uv", "build", "-q", "--no-sources", "-o", "dist", *(options or ("--all-packages",)))
        done = self.run(*command, **variables)
        assert done.returncode == 0, done.stderr

    def script(
        self, name: str, *arguments: str, deadline_s: int = 50, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of `.ci`."""
        return self.run(sys.executable, ROOT / ".ci" / name, *arguments, deadline_s=deadline_s, **variables)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Make a workspace of three: auth, workflows that needs it, and the kit, with which both are tested."""
    made = Workspace(tmp_path / "a check out")
    (made.root / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", made.root)
    shutil.copy(ROOT / "requirements" / "constraints.txt", made.root / "requirements")
    made.add("auth", "0.1.0", tested_with=["netra-fixtures"])
    made.add("workflows", "0.3.1", requires=["netra-auth>=0.1"], tested_with=["netra-fixtures"])
    made.add("fixtures", "1.0.0")
    return made
