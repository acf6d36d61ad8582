"""An environment of its own for a run: some of what this session has installed, and nothing else."""

import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SITE = Path(sysconfig.get_paths()["purelib"])
KIT = "netra-fixtures"


def required(name: str, extras: Iterable[str] = ()) -> Iterator[str]:
    """Yield what a distribution requires here, and what that requires in turn; some of it more than once."""
    chosen = ("", *extras)
    for requirement in map(Requirement, distribution(name).requires or ()):
        if not requirement.marker or any(requirement.marker.evaluate({"extra": one}) for one in chosen):
            yield canonicalize_name(requirement.name)
            yield from required(requirement.name, requirement.extras)


class Environment:
    """A virtual environment in *folder* with what the kit declares, taken from this session, and without the kit.

    Args:
        without: distributions that it lacks all the same.
        pip: whether it can install.
    """

    def __init__(self, folder: Path, *, without: Collection[str] = (), pip: bool = False) -> None:
        make = [sys.executable, "-m", "venv", *(() if pip else ("--without-pip",)), folder]
        subprocess.run(make, check=True, timeout=120, capture_output=True)
        self.python = folder / "bin" / "python"
        (self.site,) = folder.glob("lib/python*/site-packages")
        for name in sorted(set(required(KIT)).difference(without)):
            for top in {file.parts[0] for file in distribution(name).files or ()}:
                if top not in {"..", "__pycache__"}:
                    (self.site / top).symlink_to(SITE / top)

    def bring_kit(self) -> None:
        """Install the kit as this session has it."""
        for entry in SITE.glob("netra_fixtures[-.]*"):
            (self.site / entry.name).symlink_to(entry)

    def run(self, *arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python in *cwd*, with no more variables than those given and a home."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), **variables},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
