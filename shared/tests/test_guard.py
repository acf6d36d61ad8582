"""Nothing is mocked in an integration test: a mock is refused, with the line that brought it in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from netra_fixtures import guard

from .mocks import CONFTEST, LIBRARIES, PASSES, REFUSED


@dataclass
class Judged:
    read: list[list[str | int]]
    run: list[list[str | int]]
    other: str | None


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Judged]]:
    """What the guard said to each case, by file and test."""
    root = tmp_path_factory.mktemp("guarded")
    libraries = root / "lib" / "site-packages"
    for name, source in LIBRARIES.items():
        (libraries / name).parent.mkdir(parents=True, exist_ok=True)
        (libraries / name).write_text(textwrap.dedent(source))
    tests = root / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(CONFTEST)
    (tests / "beside.py").write_text("from unittest.mock import Mock\nprice = Mock()\n")
    for title, source in {**REFUSED, **PASSES}.items():
        (tests / _file(title)).write_text(textwrap.dedent(source))
    (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-pno:cacheprovider", "-pmocking_plugin", "-paioresponses", "tests"],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(libraries), *sys.path]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (root / "judged.json").exists(), ran.stdout + ran.stderr
    found: dict[str, dict[str, Judged]] = {}
    for nodeid, said in json.loads((root / "judged.json").read_text()).items():
        file, _, test = nodeid.partition("::")
        found.setdefault(Path(file).name, {})[test] = Judged(**said)
    return found


@pytest.mark.parametrize("title", REFUSED)
def test_a_mock_is_refused_with_its_line(title: str, judged: dict[str, dict[str, Judged]]) -> None:
    """Whoever reads the refusal goes to the line and knows what to write instead."""
    (said,) = judged[_file(title)].values()

    assert [(file, line) for file, line, _, _ in said.read] == _marked(title, "read")
    assert [(file, line) for file, line, _, _ in said.run] == _marked(title, "run")
    assert all(what and remedy for _, _, what, remedy in said.read + said.run)


@pytest.mark.parametrize("title", PASSES)
def test_what_is_no_mock_passes(title: str, judged: dict[str, dict[str, Judged]]) -> None:
    """A guard that cries wolf is switched off."""
    for said in judged[_file(title)].values():
        assert (said.read, said.run, said.other) == ([], [], None)


def test_the_refusal_names_test_line_and_remedy(tmp_path: Path) -> None:
    """One sentence is enough to mend the test."""
    module = tmp_path / "test_prices.py"
    module.write_text("import fakeredis\n")

    refusal = guard.MockRefused("test_prices.py::test_sum", guard.findings(module))

    assert str(refusal).splitlines() == [
        "test_prices.py::test_sum is an integration test and takes no mocks",
        f"{module}:1: imports fakeredis; use the redis_client fixture, which is a real Redis",
    ]


def test_conftests_count_up_to_the_root_and_no_further(tmp_path: Path) -> None:
    """A mock in the conftest of another project does not concern this one."""
    module = tmp_path / "root" / "tests" / "test_prices.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    conftests = [folder / "conftest.py" for folder in (tmp_path, tmp_path / "root", module.parent)]
    for conftest in conftests:
        conftest.write_text("import mock\n")

    found = guard.findings_for(module, tmp_path / "root")

    assert [finding.path for finding in found] == [conftests[2], conftests[1]]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A watcher that runs tests again in one process sees what was mended."""
    module = tmp_path / "test_prices.py"
    module.write_text("import mock\n")
    before = guard.findings(module)

    module.write_text("import mockery\n")

    assert (len(before), guard.findings(module)) == (1, [])


def test_a_watch_loads_no_mocks() -> None:
    """Who uses no mocks does not pay for them."""
    program = """
import sys
from pathlib import Path
from netra_fixtures.guard import MockWatch
before = "unittest.mock" in sys.modules
watch = MockWatch()
watch.start("a test", (Path("test_it.py"), 1))
assert watch.stop() is None
loaded = {"redis", "sqlalchemy", "asyncpg", "pydantic"} & set(sys.modules)
print(before, "unittest.mock" in sys.modules, loaded)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.stdout.split(maxsplit=1)[1].strip() == "False set()"


def test_an_inner_watch_gives_the_outer_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the guard may itself be guarded."""
    outer, inner, after = guard.MockWatch(), guard.MockWatch(), guard.MockWatch()
    redis = pytest.importorskip("redis.asyncio")

    outer.start("outer", (Path(__file__), 1))
    inner.start("inner", (Path(__file__), 2))
    ended = inner.stop()
    with pytest.raises(guard.MockRefused, match="outer is an integration test"):
        monkeypatch.setattr(redis.Redis, "get", None)
    refusal = outer.stop()
    after.start("after", (Path(__file__), 3))

    assert (ended, refusal is not None, after.stop()) == (None, True, None)


def _file(title: str) -> str:
    return "test_" + "_".join("".join(c if c.isalpha() else " " for c in title).split()) + ".py"


def _marked(title: str, word: str) -> list[tuple[str, int]]:
    """Give the lines of a case that carry *word* in a comment of their own, or of a file beside it."""
    elsewhere = {
        "conftest": ("import unittest.mock", "return unittest.mock.MagicMock"),
        "beside": ("from", "from"),
    }
    found = []
    for number, text in enumerate(textwrap.dedent(REFUSED[title]).splitlines(), 1):
        comment = text.partition("  # ")[2]
        place, colon, words = comment.rpartition(": ")
        if word not in words.split(", "):
            continue
        if not colon:
            found.append((_file(title), number))
            continue
        source = (CONFTEST if place == "conftest" else "from").splitlines()
        start = elsewhere[place][word == "run"]
        lines = [number for number, text in enumerate(source, 1) if text.strip().startswith(start)]
        found.append((f"{place}.py", lines[0]))
    return found
