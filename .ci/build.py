"""Build every member into dist, twice to the same bytes, and import each from an empty environment."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import members
from members import Member

CONSTRAINTS = "requirements/constraints.txt"
IMPORT = """
import importlib, importlib.metadata, sys
importlib.import_module(sys.argv[2])
for point in importlib.metadata.distribution(sys.argv[1]).entry_points:
    point.load()
"""


class Refused(Exception):
    """What was built is not to be handed out, for the reason given."""


def main(root: Path) -> None:
    """Build, and prove that what was built can be built again and used.

    Raises:
        Refused: a build failed or gave other bytes the second time, or a member can't be installed and imported.
    """
    workspace = members.read(root)
    made = build(root, root / "dist", umask=0o022)
    with tempfile.TemporaryDirectory() as folder:
        again = build(root, Path(folder), umask=0o077)
    for name in sorted(made.keys() | again.keys()):
        if made.get(name) != again.get(name):
            raise Refused(
                f"{name} came out with other bytes when it was built again; find what changes in it"
            )
        print(f"{made[name]}  dist/{name}")
    for member in workspace.values():
        use(workspace, member, root)
        print(
            f"{member.distribution} {member.version} installs into an empty environment and is imported there"
        )


def build(root: Path, into: Path, umask: int) -> dict[str, str]:
    """Build all members afresh, and give the SHA-256 of each file by its name."""
    shutil.rmtree(into, ignore_errors=True)
    command = ["uv", "build", "--all-packages", "--no-sources", "--quiet", "--out-dir", str(into)]
    run(*command, "--build-constraints", CONSTRAINTS, cwd=root, umask=umask)
    files = [file for file in into.iterdir() if file.name.endswith((".whl", ".tar.gz"))]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def files(member: Member, dist: Path) -> list[Path]:
    """Name the wheel and the sdist of a member's version in *dist*."""
    named = f"{member.module}-{member.version}"
    return [dist / f"{named}-py3-none-any.whl", dist / f"{named}.tar.gz"]


def use(workspace: Mapping[str, Member], member: Member, root: Path) -> None:
    """Install a member's wheel, with what it declares, where nothing else is, and import it."""
    wheels = [files(workspace[name], root / "dist")[0] for name in members.needed(workspace, [member.name])]
    with tempfile.TemporaryDirectory() as folder:
        run("uv", "venv", "--quiet", "--no-project", "--python", sys.executable, "env", cwd=Path(folder))
        python = Path(folder, "env", "bin", "python")
        install = ("uv", "pip", "install", "--quiet", "--python", str(python), "--constraints", CONSTRAINTS)
        run(*install, *map(str, wheels), cwd=root)
        run(str(python), "-I", "-c", IMPORT, member.distribution, member.module, cwd=Path(folder))


def run(*command: str, cwd: Path, umask: int = -1) -> None:
    """Run a program.

    Raises:
        Refused: it failed; the reason is what it said.
    """
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        command, cwd=cwd, umask=umask, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Refused(f"{' '.join(command[:3])} failed: {done.stderr.strip() or done.stdout.strip()}")


if __name__ == "__main__":
    try:
        main(Path.cwd())
    except Refused as refused:
        sys.exit(f"build: {refused}")
