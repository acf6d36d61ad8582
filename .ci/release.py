"""Release one member: move its version, gather its fragments, name the dependants to look at and the tag.

usage: release.py MEMBER major|minor|patch|VERSION
"""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.version import InvalidVersion, Version

import members
from members import Member

BUMPS = ("major", "minor", "patch")
KINDS = ("added", "changed", "fixed", "removed", "security")
FRAGMENT = re.compile(rf"[^.]+\.(?:{'|'.join(KINDS)})\.md")
START = "Each release gathers its fragments from `changes/` here, newest first."
NONE_YET = " Nothing has been released yet."
USAGE = f"say which member and how far: nox -s release -- auth minor ({', '.join(BUMPS)} or a version)"


class Refused(Exception):
    """Nothing was changed, for the reason given."""


def main(arguments: Sequence[str], root: Path) -> None:
    """Release the member named first, as far as said second.

    Raises:
        Refused: nothing was changed, for the reason given.
    """
    workspace = members.read(root)
    if len(arguments) != 2:
        raise Refused(USAGE)
    name, step = arguments
    if name not in workspace:
        raise Refused(f"there is no member {name!r}; take one of {', '.join(workspace)}")
    member = workspace[name]
    version = next_version(member, step, root)
    gathered = fragments(root / member.folder)
    gather(member, version, root)
    run("uv", "version", "--package", member.distribution, "--frozen", version, root=root)
    print(f"{member.distribution} {member.version} -> {version}, {len(gathered)} changes gathered")
    for line in dependants(workspace, name, version):
        print(line)
    print(f"look at it, then: git commit -am '{name}: release {version}' && ", end="")
    print(f"git tag {member.distribution}-v{version}")


def next_version(member: Member, step: str, root: Path) -> str:
    """Say which version comes next."""
    if step in BUMPS:
        bump = ("uv", "version", "--package", member.distribution, "--frozen", "--dry-run", "--short")
        return run(*bump, "--bump", step, root=root).strip()
    try:
        wanted = Version(step)
    except InvalidVersion:
        raise Refused(f"{step!r} is no version; give {', '.join(BUMPS)} or one such as 1.4.0") from None
    if wanted < Version(member.version):
        raise Refused(f"{member.distribution} is at {member.version} already; give a later version")
    return str(wanted)


def fragments(folder: Path) -> list[Path]:
    """List the fragments of a member; what is misnamed would be left out of the changelog unseen."""
    found = sorted(file for file in (folder / "changes").glob("*") if not file.name.startswith("."))
    misnamed = [file.name for file in found if not FRAGMENT.fullmatch(file.name)]
    if misnamed:
        raise Refused(f"{folder.name}/changes/{misnamed[0]}: name it <slug>.<{'|'.join(KINDS)}>.md")
    if not found:
        raise Refused(f"{folder.name}/changes holds no fragment, so there is nothing to release")
    return found


def gather(member: Member, version: str, root: Path) -> None:
    """Move a member's fragments into its changelog."""
    changelog = root / member.folder / "CHANGELOG.md"
    text = changelog.read_text()
    if START not in text:
        raise Refused(f"{member.folder}/CHANGELOG.md lacks the sentence that releases follow: {START}")
    if re.search(rf"^## {re.escape(version)} ", text, re.MULTILINE):
        raise Refused(f"{member.folder}/CHANGELOG.md has {version} already; give a later version")
    changelog.write_text(text.replace(START + NONE_YET, START))
    build = ("towncrier", "build", "--yes", "--config", "pyproject.toml", "--dir", member.folder)
    try:
        run(*build, "--name", member.distribution, "--version", version, root=root)
    except Refused:
        changelog.write_text(text)
        raise


def dependants(workspace: Mapping[str, Member], name: str, version: str) -> list[str]:
    """Say of each member that needs this one, which lower bound it has now."""
    lines = []
    for other in workspace.values():
        for requirement in other.requires:
            if members.named(workspace, [requirement]) == [name] and other.name != name:
                wanted = f"{workspace[name].distribution}>={version}"
                lines.append(
                    f"{other.folder}/pyproject.toml asks for {requirement}: {wanted} if it uses what is new"
                )
    return lines


def run(*command: str, root: Path) -> str:
    """Run a tool and give what it printed.

    Raises:
        Refused: it failed; the reason is what it said.
    """
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Path.cwd())
    except Refused as refused:
        sys.exit(f"release: {refused}")
