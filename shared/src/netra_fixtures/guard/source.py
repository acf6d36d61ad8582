"""Find mocks by reading: the test's module, the modules it imports relatively, and the conftests above."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netra_fixtures.guard.refusal import (
    CLIENT_FIXTURES,
    CLIENTS,
    REMEDIES,
    USE_POSTGRES,
    USE_REAL,
    Finding,
    MockRefused,
    is_memory_sqlite,
    makes_mocks,
    refused_module,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
_WORTH_READING = re.compile(
    "|".join(["sqlite", "setattr", "delattr", *CLIENTS, *(name.rpartition(".")[2] for name in REMEDIES)])
)
_IMPORTERS = frozenset(["import_module", "importorskip", "__import__"])
_ENGINES = frozenset(["create_engine", "create_async_engine"])
_CONNECTS = frozenset(["sqlite3.connect", "aiosqlite.connect"])
_READ = pytest.StashKey[dict[Path, list[Finding]]]()


def refusal_at_collection(item: pytest.Item) -> MockRefused | None:
    """Judge an integration test by its source: what stands in its module and conftests, in the fixtures
    that it asks for, and in itself. What stands in other tests, or in their fixtures, is theirs.
    """
    function = getattr(item, "function", None)
    own = getattr(function, "__qualname__", "")
    asked = frozenset(getattr(item, "fixturenames", ()))
    read = item.session.stash.setdefault(_READ, {})
    if item.path not in read:
        read[item.path] = findings_for(item.path, item.config.rootpath)
    found = [
        finding
        for finding in read[item.path]
        if finding.test in ("", own) and (not finding.fixture or finding.fixture in asked)
    ]
    if not found:
        found = list(_mocking_fixtures(item, asked))
    return MockRefused(item.nodeid, found) if found else None


def findings_for(module_path: Path, rootpath: Path) -> list[Finding]:
    """Read a test module, the modules it imports relatively, and the conftest.py files up to the root."""
    folders = [module_path.parent]
    while rootpath in folders[-1].parents:
        folders.append(folders[-1].parent)
    found: list[Finding] = []
    seen: set[Path] = set()
    waiting = [module_path, *(folder / "conftest.py" for folder in folders)]
    for path in waiting:
        if path not in seen and path.is_file():
            seen.add(path)
            facts, neighbours = _read(path)
            found += facts
            waiting += neighbours
    return found


def findings(path: Path) -> list[Finding]:
    """Read one file."""
    return list(_read(path)[0])


def _mocking_fixtures(item: pytest.Item, asked: frozenset[str]) -> Iterator[Finding]:
    """Look at who made each fixture, for those that no source of ours names."""
    info = getattr(item, "_fixtureinfo", None)
    made = getattr(info, "name2fixturedefs", {})
    for name in sorted(asked):
        maker = refused_module(made[name][-1].func.__module__) if made.get(name) else None
        if maker or makes_mocks(name):
            line = (item.location[1] or 0) + 1
            yield Finding(
                item.path, line, f"asks for the fixture {name!r}", REMEDIES.get(maker or "", USE_REAL)
            )


def _read(path: Path) -> tuple[tuple[Finding, ...], tuple[Path, ...]]:
    state = path.stat()
    return _read_once(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=512)
def _read_once(path: Path, _mtime_ns: int, _size: int) -> tuple[tuple[Finding, ...], tuple[Path, ...]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if not _WORTH_READING.search(text) and "from ." not in text:
        return (), ()
    try:
        tree = ast.parse(text, filename=str(path))
    except SyntaxError:  # pytest reports it better
        return (), ()
    reader = _Reader(path)
    reader.visit(tree)
    return tuple(reader.findings()), tuple(reader.neighbours)


class _Reader(ast.NodeVisitor):
    """Walk one module; remember what its names were imported as, and inside which test or fixture it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.neighbours: list[Path] = []
        self._imports: list[Finding] = []
        self._uses: list[Finding] = []
        self._origins: dict[str, str] = {}
        self._scope: list[str] = []
        self._test = ""
        self._fixture = ""

    def findings(self) -> list[Finding]:
        """Give what was found, by line; a use of what was imported here counts once, at its import."""
        mock_imported = any(finding.what == "imports unittest.mock" for finding in self._imports)
        uses = [use for use in self._uses if not (mock_imported and use.what == "uses unittest.mock")]
        return sorted([*self._imports, *uses], key=lambda finding: finding.line)

    def visit_If(self, node: ast.If) -> None:
        """Pass over what only type checkers import."""
        if (_dotted(node.test) or "").rpartition(".")[2] == "TYPE_CHECKING":
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            origin = alias.name if alias.asname else alias.name.partition(".")[0]
            self._origins[alias.asname or origin] = origin
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.neighbours += self._relative(node)
            return
        module = node.module or ""
        for alias in node.names:
            self._origins[alias.asname or alias.name] = f"{module}.{alias.name}"
        for name in dict.fromkeys([module, *(f"{module}.{alias.name}" for alias in node.names)]):
            if self._imported(node, name):
                return

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._call(node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        origin = self._origin(node)
        if origin == "unittest.mock":
            self._use(node, "uses unittest.mock", USE_REAL)
        if isinstance(node.ctx, ast.Store | ast.Del) and origin and _is_client(origin):
            self._use(node, f"patches {origin}", USE_REAL)
        self.generic_visit(node)

    def _function(self, node: Function) -> None:
        outer = self._test, self._fixture
        self._scope.append(node.name)
        if outer == ("", ""):
            self._fixture = _fixture_name(node)
            if node.name.startswith("test") and not self._fixture:
                self._test = ".".join(self._scope)
            if self._test or self._fixture:
                self._arguments(node)
        self.generic_visit(node)
        self._scope.pop()
        self._test, self._fixture = outer

    def _arguments(self, node: Function) -> None:
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            if makes_mocks(argument.arg):
                self._use(argument, f"asks for the fixture {argument.arg!r}", USE_REAL)

    def _call(self, node: ast.Call) -> None:
        called = self._origin(node.func) or _dotted(node.func) or str(getattr(node.func, "attr", ""))
        name = called.rpartition(".")[2]
        named = [
            keyword.value for keyword in node.keywords if keyword.arg in ("url", "database", "name", "target")
        ]
        first = next(iter([*node.args, *named]), None)
        text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
        if name in _IMPORTERS and refused_module(text):
            self._imported(node, text)
        elif name == "getfixturevalue" and makes_mocks(text):
            self._use(node, f"asks for the fixture {text!r}", USE_REAL)
        elif (name in _ENGINES or called in _CONNECTS) and is_memory_sqlite(text):
            self._use(node, f"opens the in-memory database {text!r}", USE_POSTGRES)
        elif name in ("setattr", "delattr") and first is not None:
            self._setattr(node, first, text)

    def _setattr(self, node: ast.Call, first: ast.expr, text: str) -> None:
        target = text or self._origin(first) or ""
        root = (_dotted(first) or "").partition(".")[0]
        if _is_client(target) or root in CLIENT_FIXTURES:
            self._use(node, f"patches {target or _dotted(first)}", USE_REAL)

    def _imported(self, node: ast.stmt | ast.expr, name: str) -> bool:
        module = refused_module(name)
        if module:
            self._imports.append(self._finding(node, f"imports {module}", REMEDIES[module]))
        return module is not None

    def _use(self, node: ast.expr | ast.arg, what: str, remedy: str) -> None:
        self._uses.append(self._finding(node, what, remedy))

    def _finding(self, node: ast.stmt | ast.expr | ast.arg, what: str, remedy: str) -> Finding:
        return Finding(self.path, node.lineno, what, remedy, test=self._test, fixture=self._fixture)

    def _origin(self, node: ast.expr) -> str | None:
        """Give the full dotted name of what *node* names, where an import of this module tells."""
        dotted = _dotted(node)
        if dotted is None:
            return None
        root, dot, rest = dotted.partition(".")
        return f"{self._origins[root]}{dot}{rest}" if root in self._origins else None

    def _relative(self, node: ast.ImportFrom) -> Iterator[Path]:
        folder = self.path.parents[node.level - 1]
        base = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
        names = [base] if node.module else []
        for target in [*names, *(base / alias.name for alias in node.names)]:
            yield target.with_suffix(".py")
            yield target / "__init__.py"


def _is_client(dotted: str) -> bool:
    return dotted.partition(".")[0] in CLIENTS


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else None
    return None


def _fixture_name(node: Function) -> str:
    """Give the name that tests ask for; "" where the function is no fixture."""
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        if (_dotted(call.func if call else decorator) or "").rpartition(".")[2] != "fixture":
            continue
        for keyword in call.keywords if call else []:
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
        return node.name
    return ""
