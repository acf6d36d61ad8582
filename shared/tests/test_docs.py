"""What the documentation shows works, and what it names is there."""

import ast
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from netra_fixtures import collecting, fixtures, settings

from .pages import PAGES, ROOT, SPAN, Block, blocks, code, page_id, spans
from .runs import Run

GUIDE = ROOT / "docs" / "testing.md"
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(r"(?:\./)?([\w.-]+/[\w./*-]*)")
MADE_BY_RUNS = {"reports", ".nox"}
EXAMPLES = [block for page in PAGES for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_works(run: Run, example: Block) -> None:
    """Whoever copies the example starts from something that works."""
    for domain in sorted(example.domains):
        if find_spec(domain) is None:
            pytest.skip(f"{domain} isn't installed here; nox -s tests runs this example")

    if example.is_test_module:
        own = (
            ["-o", "netra_migrations="] if example.domains else []
        )  # the domain's schema in place of the shop's
        outcome = run(example.source, *own)
        assert set(outcome.result.parseoutcomes()) == {"passed"}, outcome.text
    else:
        compile(example.source, str(example), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert missing_names(example.source) == []


def missing_names(source: str) -> list[str]:
    """List what a snippet imports and its module doesn't have."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            missing += [alias.name for alias in node.names if not hasattr(module, alias.name)]
    return missing


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    """A reader who looks for the file finds it."""
    text = page.read_text()
    missing = [link for link in LINK.findall(text) if ":" not in link and not (page.parent / link).exists()]
    for piece in code(page):
        for word in piece.partition(" -- ")[0].split():  # what follows is pytest's, and an example
            found = PATH.fullmatch(word.rstrip(",;"))
            top = found[1].partition("/")[0] if found else ""
            if found and top not in MADE_BY_RUNS and (ROOT / top).exists() and not any(ROOT.glob(found[1])):
                missing.append(word)

    assert missing == []


def sessions() -> set[str]:
    """Read the sessions in the noxfile, and those that it makes for each member."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and "nox.session" in decorators(node)
    }
    return functions | {"shared"} | {folder.parent.name for folder in ROOT.glob("packages/*/pyproject.toml")}


def decorators(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Name the decorators of a function, without their arguments."""
    return {ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """A guarantee names the test that holds it, and that test is there to read and to run."""
    named = {name for span in spans(page) for name in re.findall(r"\btest_\w+\b(?!\.py|/)", span)}
    known = "".join(
        file.read_text() for folder in ("shared", "packages") for file in ROOT.glob(f"{folder}/**/test_*.py")
    )

    assert [name for name in sorted(named) if f"def {name}(" not in known] == []


def first_column(heading: str) -> set[str]:
    """Read the names in the first column of the guide's table under *heading*."""
    section = GUIDE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    return {re.split(r"[ =(]", name)[0] for row in rows for name in SPAN.findall(row)}


def test_the_guide_lists_every_fixture_and_no_other() -> None:
    """The table is the one place where a team looks for what it may ask for."""
    made = {
        node.name for node in ast.parse(inspect.getsource(fixtures)).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "pytest.fixture" in decorators(node)
    }  # fmt: skip

    assert first_column("Fixtures") == {name for name in made if not name.startswith(("netra_", "anyio_"))}


def test_the_guide_lists_every_marker_option_and_variable() -> None:
    """A switch that nobody can find is no switch."""
    source = "".join(
        file.read_text()
        for pattern in ("shared/src/**/*.py", "noxfile.py", "compose.yaml", ".ci/run")
        for file in ROOT.glob(pattern)
    )
    markers = {re.split(r"[(:]", marker)[0] for marker in collecting.MARKERS}
    options = set(re.findall(r'(?:add|addini)\(\s*"((?:--|netra_)[\w-]+)"', inspect.getsource(settings)))
    variables = set(re.findall(r"\bNETRA_[A-Z_]*[A-Z]\b", source)) | {"CI", "XDG_CACHE_HOME"}

    assert first_column("Markers") == markers
    assert first_column("Options") == options | variables
