"""Where the faults of one test's links draw from, and the note in its failure that gives the same draws again."""

import hashlib

import pytest


class Chance:
    """Chance of one test, which follows from the run's seed and the test's name.

    Args:
        item: the test; its failure says how to have the same draws again, if there were any.
        run_seed: what `--seed` gives.
    """

    def __init__(self, item: pytest.Item, run_seed: int) -> None:
        self._item = item
        self._run_seed = run_seed
        self._noted: set[str] = set()

    def seed(self, link: str) -> int:
        """Give the seed of a link, 64 bits of the test's own."""
        source = f"{self._run_seed}:{self._item.nodeid}:{link}"
        return int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big")

    def note(self, link: str) -> None:
        """Note that a fault on *link* drew; once is enough."""
        if link not in self._noted:
            self._noted.add(link)
            text = f"faults on {link} drew from --seed={self._run_seed} and the test's name"
            self._item.add_report_section("call", f"chance of {link}", text)
