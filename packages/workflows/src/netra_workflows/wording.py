"""What people write, held against what every store and every screen keeps unchanged; pure."""

from typing import Final

from netra_workflows.errors import InvalidText

LONGEST_NAME: Final = 100
LONGEST_SAYING: Final = 4_000


def check_text(said: str, what: str, *, longest: int = LONGEST_SAYING, lines: bool = False) -> str:
    """Return *said* if it can be kept; with *lines* it may have several.

    Raises:
        InvalidText: it is blank, too long, or holds what can't be printed.
    """
    plain = said.replace("\n", " ").replace("\t", " ") if lines and isinstance(said, str) else said
    if not isinstance(said, str) or len(said) > longest or not plain.strip() or not plain.isprintable():
        raise InvalidText(what, longest)
    return said
