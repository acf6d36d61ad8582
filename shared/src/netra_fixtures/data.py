"""Third-party data that tests read: found where NETRA_TEST_DATA says, noted for the report."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netra_fixtures.errors import NetraFixturesError

VARIABLE = "NETRA_TEST_DATA"


class DataPartMissing(NetraFixturesError):
    """The folder of third-party data lacks a part that a test reads."""

    def __init__(self, part: str) -> None:
        super().__init__(
            f"{VARIABLE} names a folder without {part!r}; point it at a complete one, or unset it to skip"
        )
        self.part = part


class ThirdPartyData:
    """A folder of parts, each a folder of files.

    Args:
        note: is handed what the report says of each file read: ``file``, ``sha256``, ``cases``.
    """

    def __init__(self, root: Path, note: Callable[[dict[str, Any]], None]) -> None:
        self.root = root
        self._note = note

    def files(self, part: str, pattern: str) -> list[Path]:
        """Give the files of a part that match, sorted; a pattern may match none.

        Raises:
            DataPartMissing: there is no such part.
        """
        __tracebackhide__ = True
        folder = self.root / part
        if not folder.is_dir():
            raise DataPartMissing(part)
        return sorted(path for path in folder.glob(pattern) if path.is_file())

    def read(self, file: Path, *, cases: int) -> None:
        """Note that a test read *file* and how many cases it took from it."""
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        self._note({"file": file.relative_to(self.root).as_posix(), "sha256": digest, "cases": cases})
