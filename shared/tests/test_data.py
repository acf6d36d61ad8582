"""Tests that read third-party data find it where they are told, and the report says what they read."""

import hashlib
from pathlib import Path

import pytest

from .runs import Run

READS = """
def test_words(third_party_data):
    for file in third_party_data.files("words", "*.txt"):
        third_party_data.read(file, cases=len(file.read_text().split()))

async def test_service(redis_client):
    await redis_client.ping()
"""


def test_without_a_folder_the_test_is_skipped_with_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lacks the data can still run everything else, and is told what was left out."""
    monkeypatch.delenv("NETRA_TEST_DATA", raising=False)

    outcome = run(READS, "-rs")

    outcome.result.assert_outcomes(passed=1, skipped=1)
    assert "NETRA_TEST_DATA is not set; point it at a folder" in outcome.text


def test_a_folder_that_lacks_a_part_fails(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Data that was meant to be there and isn't must not look like data that nobody has."""
    monkeypatch.setenv("NETRA_TEST_DATA", str(tmp_path))

    outcome = run(READS)

    outcome.result.assert_outcomes(passed=1, failed=1)
    assert "names a folder without 'words'" in outcome.text


def test_the_report_lists_each_file_with_its_hash_and_cases(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proof on data is worth as much as the knowledge of which data it was."""
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("one two three")
    monkeypatch.setenv("NETRA_TEST_DATA", str(tmp_path))

    outcome = run(READS)

    digest = hashlib.sha256(b"one two three").hexdigest()
    assert outcome.report["run"]["data"] == [{"file": "words/a.txt", "sha256": digest, "cases": 3}]
