"""Say whether an environment still holds what the pins and the members' pyprojects ask for."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

NAME = "netra-stamp"


def fingerprint(files: Iterable[Path], made_with: Iterable[str]) -> str:
    """Hash the *files* and the names and versions an environment is *made_with*.

    Args:
        files: those that decide what is installed; one that appears or disappears changes the result.
        made_with: the interpreter, the tools, the command: whatever else decides it.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(repr((str(file), file.read_bytes())).encode())
    digest.update(repr(tuple(made_with)).encode())
    return digest.hexdigest()


def is_current(environment: Path, expected: str) -> bool:
    """Tell whether *environment* was completed with the *expected* fingerprint."""
    try:
        return (environment / NAME).read_text() == expected
    except FileNotFoundError:
        return False


def remove(environment: Path) -> None:
    """Make *environment* count as incomplete, as it is while its packages change."""
    (environment / NAME).unlink(missing_ok=True)


def write(environment: Path, reached: str) -> None:
    """Record that *environment* is complete, with the fingerprint *reached*."""
    (environment / NAME).write_text(reached)
