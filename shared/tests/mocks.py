"""What tests do with mocks, and what only looks like it: the cases that the guard is held against."""

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
