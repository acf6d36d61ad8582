"""A shard is asked for in a word, and parted by what the tests took in the last run."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def shards() -> ModuleType:
    script = Path(__file__).parents[2] / ".ci" / "shards.py"
    spec = importlib.util.spec_from_file_location("shards", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("words", [["--shard", "2/5"], ["--shard=2/5"]])
def test_a_shard_is_taken_out_of_what_pytest_gets(shards: ModuleType, words: list[str]) -> None:
    """The rest still selects: a shard of one domain, or of what -k names."""
    assert shards.asked(["-k", "rotate", *words, "-x"]) == ((2, 5), ["-k", "rotate", "-x"])


def test_without_a_shard_nothing_is_parted(shards: ModuleType) -> None:
    """The main job is the whole."""
    assert shards.asked(["-k", "rotate"]) == (None, ["-k", "rotate"])


@pytest.mark.parametrize("said", ["6/5", "0/5", "2", "2/0", "-1/5", "two/five", ""])
def test_a_shard_that_is_no_part_of_a_whole_is_refused(shards: ModuleType, said: str) -> None:
    """A mistyped shard must not run nothing and look well."""
    with pytest.raises(ValueError, match=f"^--shard: '{said}' is no part of a whole; give one such as 2/5$"):
        shards.asked(["--shard", said])


def test_a_shard_that_is_left_out_is_refused(shards: ModuleType) -> None:
    """The option alone says nothing."""
    with pytest.raises(ValueError, match=r"^--shard: '' is no part of a whole"):
        shards.asked(["--shard"])


def test_the_durations_are_those_of_the_last_report(shards: ModuleType, tmp_path: Path) -> None:
    """All phases count: a test that waits in its setup takes as long as one that waits in its body."""
    latest = tmp_path / "reports" / "latest"
    latest.mkdir(parents=True)
    test = {
        "nodeid": "packages/auth/tests/test_a.py::test_one",
        "setup_s": 1.0,
        "call_s": 0.5,
        "teardown_s": 0.25,
    }
    (latest / "report.json").write_text(json.dumps({"tests": [test]}))

    shards.record(tmp_path, tmp_path / "durations.json")

    assert json.loads((tmp_path / "durations.json").read_text()) == {test["nodeid"]: 1.75}


@pytest.mark.parametrize("text", [None, "", "{}", "[half"])
def test_without_a_report_that_can_be_read_all_tests_count_alike(
    shards: ModuleType, tmp_path: Path, text: str | None
) -> None:
    """The first run of a new checkout can be parted too."""
    latest = tmp_path / "reports" / "latest"
    latest.mkdir(parents=True)
    if text is not None:
        (latest / "report.json").write_text(text)

    shards.record(tmp_path, tmp_path / "durations.json")

    assert json.loads((tmp_path / "durations.json").read_text()) == {}
