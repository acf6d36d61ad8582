"""How many workers a session of nox starts."""

from collections.abc import Mapping

VARIABLE = "NETRA_WORKERS"


def count(environ: Mapping[str, str], otherwise: int) -> str:
    """Take what NETRA_WORKERS says, for pytest's ``-n``; where it says nothing, *otherwise*.

    Raises:
        ValueError: it can't be read; the sentence says what to write.
    """
    said = environ.get(VARIABLE) or str(otherwise)
    if not (said.isdecimal() or said in {"auto", "logical"}):
        raise ValueError(f"{VARIABLE}: {said!r} is no number of workers; give one such as 2, or auto")
    return said
