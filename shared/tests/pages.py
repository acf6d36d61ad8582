"""The pages of the documentation, and what they show as code."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "shared" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "packages").glob("*/README.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block, in which language, and where it begins."""

    page: Path
    line: int
    language: str
    source: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_test_module(self) -> bool:
        return re.search(r"^(?:async )?def test_|^class Test", self.source, re.MULTILINE) is not None

    @property
    def domains(self) -> set[str]:
        """The domains it imports, which a member that is tested alone doesn't have."""
        return set(re.findall(r"^(?:from|import) (netra_\w+)", self.source, re.MULTILINE)) - {
            "netra_fixtures"
        }


def blocks(page: Path) -> Iterator[Block]:
    """Find the fenced blocks of a page, also those that are part of a list."""
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(page, line, found[2], textwrap.dedent(found[3]))


def spans(page: Path) -> list[str]:
    """Find what a page shows as code in the middle of a line."""
    return SPAN.findall(FENCE.sub("", page.read_text()))


def code(page: Path) -> Iterator[str]:
    """Find what can be typed or looked for: the spans, and the lines of the blocks for the shell."""
    yield from spans(page)
    for block in blocks(page):
        if block.language == "sh":
            yield from block.source.splitlines()


def page_id(page: Path) -> str:
    """Name a page from the root."""
    return str(page.relative_to(ROOT))
