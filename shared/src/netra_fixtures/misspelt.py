"""Variables that nobody reads because a letter is wrong: named once, since what they say is not done."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

KNOWN = (
    "NETRA_POSTGRES_IMAGE",
    "NETRA_POSTGRES_PORT",
    "NETRA_POSTGRES_URL",
    "NETRA_REDIS",
    "NETRA_REDIS_IMAGE",
    "NETRA_REDIS_PORT",
    "NETRA_REDIS_SERVER",
    "NETRA_REDIS_URL",
    "NETRA_SERVICES",
    "NETRA_TEST_DATA",
    "NETRA_TIME_FACTOR",
    "NETRA_WORKERS",
)
ALIKE = 0.85  # one or two letters of such a name; a team's own NETRA_ variables are further away


def misspelt(names: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each name that is almost one of ours."""
    for name in sorted(names):
        if name.startswith("NETRA") and name not in KNOWN:
            for meant in get_close_matches(name, KNOWN, n=1, cutoff=ALIKE):
                yield f"{name} is set and nothing reads it; {meant} may be meant"
