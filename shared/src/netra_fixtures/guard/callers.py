"""Tell the user's code from that of Python and of installed packages, and find its line on the stack."""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path
from types import FrameType

Line = tuple[Path, int]

_KIT = str(Path(__file__).parents[1])
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
_LIBRARIES = tuple(f"{path}/" for path in {*(sysconfig.get_path(name) for name in _PATHS), _KIT})
_PASSES_ON = frozenset(["importlib", "pkgutil", "_pytest.outcomes"])


@functools.lru_cache(maxsize=4096)
def is_users(filename: str) -> bool:
    """Tell whether a file is the user's own code; text that was compiled from no file is not."""
    if filename.startswith(("<", *_LIBRARIES)):
        return False
    return not {"site-packages", "dist-packages"} & set(Path(filename).parts)


def users_line(frame: FrameType | None, otherwise: Line) -> Line | None:
    """Give the innermost line of user's code at or above *frame*; *otherwise* where pytest called a library.

    None where a library's module stands between: while it is imported, it answers for itself.
    """
    while frame is not None:
        code = frame.f_code
        if is_users(code.co_filename):
            return Path(code.co_filename), frame.f_lineno
        if code.co_name == "<module>" and not code.co_filename.startswith("<"):
            return None
        if str(frame.f_globals.get("__name__")).startswith("pluggy."):
            break
        frame = frame.f_back
    return otherwise


def importers_line(frame: FrameType | None) -> Line | None:
    """Give the line that imports, where that is user's code and not a library's."""
    while frame is not None and _passes_on(frame):
        frame = frame.f_back
    if frame is None or not is_users(frame.f_code.co_filename):
        return None
    return Path(frame.f_code.co_filename), frame.f_lineno


def _passes_on(frame: FrameType) -> bool:
    return (
        frame.f_code.co_filename.startswith("<frozen importlib")
        or frame.f_globals.get("__name__") in _PASSES_ON
    )
