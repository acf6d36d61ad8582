"""What ASVS.md says of each requirement can be looked up, and what it calls met has tests."""

import csv
import re
from collections import Counter
from pathlib import Path

from netra_fixtures.data import ThirdPartyData

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "ASVS.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (V[\d.]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
STATES = {"met", "not met", "caller's", "does not apply", "in part"}
CHAPTERS = {"V6", "V7", "V8", "V9"}


def test_every_requirement_of_the_chapters_is_answered_once(third_party_data: ThirdPartyData) -> None:
    """A buyer who goes through the standard finds an answer to each requirement, and to none that isn't there."""
    published: list[str] = []
    for file in third_party_data.files("owasp-asvs-5.0", "*.csv"):
        with file.open(encoding="utf-8", newline="") as opened:
            ids = [row["req_id"] for row in csv.DictReader(opened) if row["chapter_id"] in CHAPTERS]
        third_party_data.read(file, cases=len(ids))
        published += ids

    assert Counter(id for id, _, _ in ROWS) == Counter(published)
    assert set(re.findall(r"\bV\d+\.\d+\.\d+", PAGE)) == set(published)


def test_every_test_that_the_page_names_exists() -> None:
    """Who doubts an answer can run what shows it."""
    written = "".join(file.read_text(encoding="utf-8") for file in TESTS.glob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", written, re.MULTILINE))

    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert named
    assert named - there == set()


def test_every_answer_is_one_of_five_and_what_is_met_names_its_tests() -> None:
    """Nobody can call a requirement met without showing it."""
    assert {state for _, state, _ in ROWS} <= STATES
    assert len(ROWS) == len(re.findall(r"^\| V", PAGE, re.MULTILINE))
    for _, state, shown in ROWS:
        assert state not in {"met", "in part"} or "`test_" in shown or "in the source" in shown
