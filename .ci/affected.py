"""Which members a change touches, which need those, and why.

usage: affected.py [--since REF]
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import members
from members import Member

TRUNKS = ("origin/HEAD", "origin/main", "main")
READ_BY_USERS = ("src", "pyproject.toml")  # of a member: what those see that need it
READ_BY_SHARED = ("docs", ".ci", ".github", "noxw", "README.md", "CONTRIBUTING.md")  # its tests hold them
READ_BY_NO_TEST = ("bench", ".gitignore")


class NothingToCompareWith(Exception):
    """Git can't say what changed."""


def main(arguments: Sequence[str], root: Path) -> None:
    """Print what `told` says of the change that stands in *root*."""
    since, _ = asked(arguments)
    workspace = members.read(root)
    print(*told(workspace, reasons(workspace, changed(root, since))), sep="\n")


def asked(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take --since out of the arguments; the rest is pytest's."""
    parser = argparse.ArgumentParser(prog="nox -s affected --", add_help=False, allow_abbrev=False)
    parser.add_argument("--since", metavar="REF")
    known, rest = parser.parse_known_args(arguments)
    return known.since, rest


def changed(root: Path, since: str | None = None) -> list[str]:
    """List the files that differ from where this branch left the trunk, or from *since*; uncommitted ones too.

    Raises:
        NothingToCompareWith: git has no such commit, or *root* is no checkout.
    """
    refs = [since] if since else TRUNKS
    bases = (_git(root, "merge-base", ref, "HEAD") for ref in refs)
    base = next((base for base in bases if base is not None), None)
    if base is None:
        raise NothingToCompareWith(
            f"git finds no commit that this checkout has in common with {' or '.join(refs)}; "
            "name one that it has: nox -s affected -- --since HEAD~1"
        )
    differing = _git(root, "diff", "--name-only", "--no-renames", "-z", base.strip()) or ""
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z") or ""
    return sorted(filter(None, {*differing.split("\0"), *untracked.split("\0")}))


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(("git", *arguments), cwd=root, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout


def reasons(workspace: Mapping[str, Member], files: Iterable[str]) -> dict[str, list[str]]:
    """Give the affected members, in their order, each with its reasons."""
    why: dict[str, list[str]] = {name: [] for name in workspace}
    touched: set[str] = set()
    for file in files:
        readers, seen_by_users = _readers(workspace, file)
        for name in readers:
            why[name].append(f"{file} changed")
        touched |= seen_by_users
    for member in workspace.values():
        needs = members.needed(workspace, [member.name])[1:]
        tested = members.needed(workspace, members.named(workspace, member.tested_with))
        why[member.name] += [f"it needs {name}" for name in needs if name in touched]
        only_tested = (name for name in tested if name not in {member.name, *needs})
        why[member.name] += [f"its tests need {name}" for name in only_tested if name in touched]
    return {name: reasons for name, reasons in why.items() if reasons}


def _readers(workspace: Mapping[str, Member], file: str) -> tuple[set[str], set[str]]:
    """Name the members whose tests read a file, and the one whose users see it, if it is of one."""
    path = PurePosixPath(file)
    for member in workspace.values():
        if path.is_relative_to(member.folder):
            inside = path.relative_to(member.folder)
            readers = {member.name, "shared"} if inside.name == "README.md" else {member.name}
            return readers, {member.name} if inside.parts[0] in READ_BY_USERS else set()
    if path.parts[0] in READ_BY_NO_TEST:
        return set(), set()
    if path.parts[0] in READ_BY_SHARED:
        return {"shared"}, set()
    return set(workspace), set()  # the settings, the pins, and whatever nobody thought of


def told(workspace: Mapping[str, Member], why: Mapping[str, Sequence[str]]) -> list[str]:
    """Say in a line for each member why it is tested, and in one which are not."""
    lines = []
    for name, given in why.items():
        more = f", and {len(given) - 1} reasons more" if len(given) > 1 else ""
        lines.append(f"{name}: {given[0]}{more}")
    spared = [name for name in workspace if name not in why]
    return [*lines, *([f"not affected: {', '.join(spared)}"] if spared else [])]


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Path.cwd())
    except NothingToCompareWith as error:
        sys.exit(f"affected: {error}")
