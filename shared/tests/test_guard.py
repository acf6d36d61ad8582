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

# Every case below is a test file of its own in one inner run. `# read` stands on a line that reading must
# refuse, `# run` on one that running must refuse; nothing else may be refused. A test that asks for `real`
# plays the integration test.
CONFTEST = """
import json, os, pathlib, pytest
from netra_fixtures import guard

JUDGED = {}

def lines(refusal):
    found = refusal.findings if refusal else ()
    return [[finding.path.name, finding.line, finding.what, finding.remedy] for finding in found]

def judged(item):
    return JUDGED.setdefault(item.nodeid, {"read": [], "run": [], "other": None})

def pytest_collection_modifyitems(items):
    for item in items:
        if "real" in item.fixturenames:
            judged(item)["read"] = lines(guard.refusal_at_collection(item))

def phase(item, name):
    if "real" not in item.fixturenames:
        return (yield)
    try:
        with guard.guarding(item, name):
            return (yield)
    except guard.MockRefused as refusal:
        judged(item)["run"] += lines(refusal)

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    return (yield from phase(item, "setup"))

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    return (yield from phase(item, "call"))

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    return (yield from phase(item, "teardown"))

def pytest_runtest_logreport(report):
    if report.outcome != "passed":
        JUDGED.setdefault(report.nodeid, {"read": [], "run": []})["other"] = report.longreprtext

def pytest_sessionfinish():
    pathlib.Path("judged.json").write_text(json.dumps(JUDGED))

@pytest.fixture
def real():
    return "a service"

@pytest.fixture
def redis_client():
    from redis.asyncio import Redis
    return Redis()

@pytest.fixture
def cached_prices():
    import unittest.mock
    return unittest.mock.MagicMock()
"""

# Stand for installed packages: they lie in a folder named site-packages.
LIBRARIES = {
    "fakeredis/__init__.py": "class FakeRedis:\n    def __init__(self, *args): self.args = args\n",
    "busy.py": "from unittest.mock import Mock\nready = Mock()\n",
    "late.py": """
        def work():
            import unittest.mock
            return unittest.mock.sentinel
        def cache():
            import birdisle
    """,
    "mocking_plugin.py": """
        import pytest
        class MockerFixture:
            def patch(self, name, new):
                import unittest.mock
                return unittest.mock.patch(name, new).start()
        @pytest.fixture
        def class_mocker():
            import unittest.mock
            yield MockerFixture()
            unittest.mock.patch.stopall()
    """,
    "aioresponses.py": """
        import pytest
        @pytest.fixture
        def routes():
            return {}
    """,
}

REFUSED = {
    "a mock imported by the module": """
        from unittest.mock import AsyncMock, Mock  # read

        def test_it(real):
            Mock()  # run
    """,
    "a mock imported by the test": """
        def test_it(real):
            from unittest import mock as m  # read
            m.create_autospec(dict)  # run
    """,
    "a mock that someone else imported": """
        import unittest

        def test_it(real):
            unittest.mock.NonCallableMock()  # read, run
    """,
    "a mock imported under a computed name": """
        import importlib

        def test_it(real):
            importlib.import_module("unittest" + ".mock").AsyncMock()  # run
    """,
    "a mock imported by a name in a call": """
        import importlib

        def test_it(real):
            importlib.import_module("unittest.mock").MagicMock()  # read, run
    """,
    "a patch that builds no mock": """
        import importlib
        patch = importlib.import_module("unittest" + ".mock").patch

        def test_it(real):
            with patch("os.getcwd", lambda: "/"):  # run
                pass
    """,
    "a patch as a decorator": """
        import importlib
        patch = importlib.import_module("unittest" + ".mock").patch

        class TestIt:
            @patch.dict("os.environ", {"A": "1"})  # run
            def test_it(self, real):
                pass
    """,
    "a fixture of pytest-mock": """
        def test_it(real, class_mocker):  # read
            class_mocker.patch("os.getcwd", lambda: "/")  # run
    """,
    "a fixture of pytest-mock, asked for by name": """
        def test_it(real, request):
            request.getfixturevalue("class_mocker").patch("os.getcwd", None)  # read, run
    """,
    "a fixture that a library of mocks brings": """
        def test_it(real, routes):  # read
            assert routes == {}
    """,
    "a fixture of the conftest": """
        def test_it(real, cached_prices):  # conftest: read, run
            pass
    """,
    "a fixture of the module": """
        import pytest

        @pytest.fixture(name="prices")
        def make_prices():
            import mock  # read, run
            return mock.Mock()

        def test_it(real, prices):
            pass
    """,
    "a fake server imported while the test runs": """
        import importlib

        def test_it(real):
            importlib.import_module("mongo" + "mock")  # run
    """,
    "a fake server, imported in silence": """
        def test_it(real):
            try:
                import httpretty  # read, run
            except Exception:
                pass
    """,
    "a fake server, and then another failure": """
        import pytest

        def test_it(real):
            try:
                import flexmock  # read, run
            except Exception:
                pytest.skip("nothing to try")
    """,
    "a fake server that a library loads for the test": """
        import late

        def test_it(real):
            late.cache()  # run
    """,
    "a fake server that was loaded before": """
        import sys
        import fakeredis  # read
        loaded = fakeredis

        def test_it(real):
            loaded.FakeRedis()  # run
    """,
    "a skip that depends on a fake": """
        import pytest

        def test_it(real):
            pytest.importorskip("responses")  # read, run
    """,
    "a database in memory": """
        import sqlite3

        def test_it(real):
            sqlite3.connect(":memory:")  # read, run
    """,
    "a shared database in memory": """
        import sqlite3
        where = "file:shop?mode=memory&cache=shared"

        def test_it(real):
            sqlite3.connect(where, uri=True)  # run
    """,
    "a database in memory, opened by a library in a thread": """
        import concurrent.futures, sqlite3

        def test_it(real):  # run
            with concurrent.futures.ThreadPoolExecutor() as threads:
                threads.submit(sqlite3.connect, ":memory:").result()
    """,
    "an engine on a database in memory": """
        from sqlalchemy import create_engine, pool

        def test_it(real):
            engine = create_engine("sqlite://")  # read
            engine.connect()  # run
    """,
    "an async engine on a database in memory": """
        from sqlalchemy.ext.asyncio import create_async_engine as make

        def engine():
            return make(url="sqlite+aiosqlite:///:memory:")  # read

        def test_it(real):
            pass
    """,
    "a client class patched by monkeypatch": """
        from redis.asyncio import Redis

        def test_it(real, monkeypatch):
            monkeypatch.setattr(Redis, "get", None)  # read, run
    """,
    "a client class patched by its name": """
        def test_it(real, monkeypatch):
            monkeypatch.setattr("redis.asyncio.Redis.get", lambda self, key: b"1")  # read, run
    """,
    "a client class patched by assignment": """
        import pytest
        import redis.asyncio

        @pytest.fixture
        def clean():
            yield
            del redis.asyncio.Redis.get  # read

        def test_it(real, clean):
            redis.asyncio.Redis.get = lambda self, key: b"1"  # read, run
    """,
    "a client class patched behind a name": """
        import pytest
        from redis.asyncio import Redis

        @pytest.fixture
        def clean():
            kept = vars(Redis)["pipeline"]
            yield
            type.__setattr__(Redis, "pipeline", kept)

        def test_it(real, clean):
            def fake(*args):  # run
                return None
            type.__setattr__(Redis, "pipeline", fake)
    """,
    "a way to connect, replaced": """
        import pytest, sys

        async def connect(*args):  # run
            return "no connection"

        @pytest.fixture
        def clean():
            import asyncpg
            kept = asyncpg.connect
            yield
            vars(asyncpg)["connect"] = kept

        def test_it(real, clean):
            vars(sys.modules["asyncpg"])["connect"] = connect
    """,
    "a client patched by monkeypatch": """
        def test_it(real, redis_client, monkeypatch):
            with monkeypatch.context() as patches:
                patches.setattr(redis_client, "get", lambda key: b"1")  # read, run
    """,
    "a client patched by assignment": """
        def test_it(real, redis_client):
            async def get(key):  # run
                return b"1"
            redis_client.get = get
    """,
    "a client inside an object, patched by assignment": """
        import pytest
        from redis.asyncio import Redis

        class Prices:
            def __init__(self, client):
                self._client = client

        @pytest.fixture
        def prices():
            return Prices(Redis())

        def test_it(real, prices):
            prices._client.get = lambda key: b"1"  # run
    """,
    "a client taken out of a module": """
        import late
        from redis.asyncio import Redis

        def test_it(real, monkeypatch):
            monkeypatch.setattr(late, "Client", Redis, raising=False)
            monkeypatch.setattr("late.Client", dict)  # run
    """,
    "a client's library taken away": """
        import sys

        def test_it(real, monkeypatch):
            monkeypatch.setitem(sys.modules, "redis", None)  # run
    """,
    "a mock in a module beside": """
        from .beside import price

        def test_it(real):  # beside: read
            pass
    """,
}

PASSES = {
    "a unit test with a mock of its own, beside": """
        def test_unit():
            from unittest.mock import Mock
            assert Mock()

        def test_unit_with_patch(class_mocker, cached_prices):
            class_mocker.patch("os.getcwd", lambda: "/")

        def test_it(real):
            pass
    """,
    "environment and objects of the test's own": """
        import os
        from redis.asyncio import Redis

        class Shop:
            open = False
            name = "corner"
            client = Redis

        def test_it(real, monkeypatch):
            monkeypatch.setenv("A_NAME", "1")
            monkeypatch.setattr(Shop, "open", True)
            monkeypatch.setattr(Shop(), "name", "other")
            monkeypatch.setattr(Shop, "client", dict)
            monkeypatch.setitem({}, "redis", 1)
            setattr(Shop, "name", "third")
            monkeypatch.chdir("/")
            assert os.environ["A_NAME"] == "1"
    """,
    "a class written by hand": """
        class Clock:
            def now(self): return 1

        class Mailbox:
            def __init__(self): self.sent = []
            def patch(self, what): self.sent.append(what)

        def test_it(real):
            Mailbox().patch(Clock().now())
    """,
    "a client with a class of its own": """
        from redis.asyncio import Redis

        class Counting(Redis):
            calls = 0
            async def get(self, name):
                self.calls += 1
                return await super().get(name)

        def test_it(real, redis_client):
            client = Counting()
            client.response_callbacks["GET"] = bytes
            redis_client.note = lambda: "of the test"
    """,
    "a database in a file": """
        import sqlite3
        from sqlalchemy import create_engine

        def test_it(real, tmp_path):
            sqlite3.connect(tmp_path / "a.db").close()
            create_engine(f"sqlite:///{tmp_path}/b.db").connect().close()
    """,
    "the address of a database in memory, as a value": """
        def test_it(real):
            assert "sqlite://".startswith("sqlite")
    """,
    "a library that uses mocks while it loads": """
        def test_it(real):
            import busy
            assert busy.ready
    """,
    "a library that loads mocks late": """
        import late

        def test_it(real):
            late.work()
    """,
    "types that only a checker imports": """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from unittest.mock import Mock

        def test_it(real):
            pass
    """,
    "events of an engine": """
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        def test_it(real):
            def seen(*args): ...
            event.listen(Engine, "before_cursor_execute", seen)
            event.remove(Engine, "before_cursor_execute", seen)
    """,
    "words that look alike": """
        from types import SimpleNamespace as responses
        http = responses(patch=lambda path: path)

        def test_it(real):
            http.patch("/prices")
            setattr(http, "redis", 1)
    """,
}


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
