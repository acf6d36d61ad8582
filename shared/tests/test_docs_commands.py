"""Every command that the documentation shows can be typed as it stands.

A session is *run*, by CI or by the test that is named here, or *checked*: it exists, and what runs it knows its words.
"""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, blocks, code, page_id
from .test_ci_workflows import WORKFLOWS, listed, values
from .test_docs import sessions
from .workspaces import PROGRAMS

sys.path.append(str(ROOT / ".ci"))

import affected
import members
import publish
import release
import shards

Arguments = Sequence[str]
KIT = ROOT / "shared" / "src" / "netra_fixtures"
PROJECTS = {
    file.parent: tomllib.loads(file.read_text())["project"]
    for pattern in ("shared", "packages/*") for file in ROOT.glob(f"{pattern}/pyproject.toml")
}  # fmt: skip
SCRIPTS = {
    program: folder / "src" / begins.partition(":")[0].replace(".", "/")
    for folder, project in PROJECTS.items() for program, begins in project.get("scripts", {}).items()
}  # fmt: skip
COMMAND = re.compile(rf"(?:\./noxw|nox|\.ci/run|export|rm|pip|uv|python -m|{'|'.join(SCRIPTS)})(?: |$)")
COMMENT = re.compile(r"(?:^|\s+)# .*")
PHRASE = re.compile(r"(?<![\w`/-])[a-z]+(?: [a-z]+){2,}(?![\w`/-])")
VARIABLES = re.compile(r"^(?:[A-Z_]+=\S* )+")
# what holds a session that no job of CI runs: a file, and what it runs there
HELD_BY = {
    "affected": ("shared/tests/test_ci_affected.py", "affected.py"),
    "browser": ("shared/tests/test_page_in_browser.py", "mark.browser"),
    "demo": ("packages/workflows/tests/test_demo.py", "demo.py"),
    "release": ("shared/tests/test_ci_release.py", "release.py"),
    "services": ("shared/tests/held.py", "netra_fixtures.standing"),
    "tests": (".ci/run", "./noxw -s tests"),
}


def commands(page: Path) -> Iterator[str]:
    """Find the commands of a page, without the variables before them and the comments behind."""
    shell = {line for block in blocks(page) if block.language == "sh" for line in block.source.splitlines()}
    for piece in code(page):
        bare = COMMENT.sub("", piece).removesuffix("&").strip()
        command = bare if bare.startswith("export ") else VARIABLES.sub("", bare)
        if command and (piece in shell or COMMAND.match(command)) and "…" not in command.split():
            yield command


def declared(program: Path) -> set[str]:
    """Read the options and commands that a program's parser declares, without importing what it needs."""
    calls = [node for node in ast.walk(ast.parse(program.read_text())) if isinstance(node, ast.Call)]
    adding = [one for one in calls if getattr(one.func, "attr", "") in ("add_argument", "add_parser")]
    given = [value for one in adding for value in [*one.args, *(word.value for word in one.keywords)]]
    texts = (node for value in given for node in ast.walk(value) if isinstance(node, ast.Constant))
    return {node.value for node in texts if isinstance(node.value, str)}


def known(arguments: Arguments, to: set[str]) -> None:
    """Make sure that a parser knows each option, and the first word where it takes one of several."""
    assert [one for one in arguments if one.startswith("-") and one.partition("=")[0] not in to] == []


def takes(program: Path, *, command: bool = False) -> Callable[[Arguments, pytest.Config], None]:
    """Hold arguments against the parser of a program; its first word is a *command* that it declares."""

    def hold(arguments: Arguments, _: pytest.Config) -> None:
        words = declared(program)
        known(arguments, words)
        assert not command or arguments[0] in words

    return hold


def pytest_takes(arguments: Arguments, config: pytest.Config) -> None:
    """Let pytest's own parser read them, with the kit's options."""
    _, unknown = config._parser.parse_known_and_unknown_args(arguments)
    assert unknown == []


def release_takes(arguments: Arguments, _: pytest.Config) -> None:
    name, step = arguments
    assert name in members.read(ROOT)
    assert step in release.BUMPS


def lock_takes(arguments: Arguments, _: pytest.Config) -> None:
    said = subprocess.run(
        [PROGRAMS / "uv", "pip", "compile", "--help"], capture_output=True, text=True, check=True
    )
    known(arguments, {"--check", *re.findall(r"--[a-z-]+", said.stdout)})


READERS: dict[str, Callable[[Arguments, pytest.Config], object]] = {
    "integration": lambda given, config: pytest_takes(shards.asked(given)[1], config),
    "affected": lambda given, config: pytest_takes(affected.asked(given)[1], config),
    "services": takes(KIT / "standing.py", command=True),
    "report": takes(KIT / "report" / "__main__.py", command=True),
    "demo": takes(ROOT / ".ci" / "demo.py"),
    "bench": lambda given, _: known(
        [f"--{one}" for one in given], {f"--{one.stem}" for one in ROOT.glob("bench/*.py")}
    ),
    "release": release_takes,
    "publish": lambda given, _: publish.chosen(members.read(ROOT), given),
    "lock": lock_takes,
}


def test_nothing_is_shown_that_no_test_looks_at() -> None:
    """A block in a language that nobody reads here would grow stale unseen."""
    strange = [str(block) for page in PAGES for block in blocks(page)
               if block.language not in ("python", "sh", "toml", "text")]  # fmt: skip
    fences = sum(page.read_text().count("```") for page in PAGES)

    assert strange == []
    assert fences == 2 * sum(1 for page in PAGES for _ in blocks(page)), "a fence that is no block"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_command_is_understood_by_what_runs_it(page: Path, pytestconfig: pytest.Config) -> None:
    """Who copies it is not told that there is no such session, option or program."""
    for command in dict.fromkeys(commands(page)):
        try:
            hold(command, pytestconfig)
        except Exception as error:
            error.add_note(f"{page_id(page)} shows: {command}")
            raise


def hold(command: str, config: pytest.Config) -> None:
    """Make sure that what runs a command knows its words."""
    program, *words = shlex.split(command)
    if program in ("./noxw", "nox"):
        hold_session(command, config)
    elif program in SCRIPTS:
        takes(SCRIPTS[program].with_suffix(".py"))(words, config)
    elif program == "python":
        package, module = words[1].split(".")
        [file] = ROOT.glob(f"*/**/src/{package}/{module}.py")
        takes(file)(words[2:], config)
    elif program == "export":
        assert all(re.match(r"NETRA_[A-Z_]+=.", word) for word in words)
    elif program in ("pip", "uv"):
        assert words[-1] in {project["name"] for project in PROJECTS.values()}
    else:
        assert command in ("rm -rf .nox", ".ci/run")


def hold_session(command: str, config: pytest.Config) -> None:
    """Make sure that nox has the session, and that what follows is understood."""
    own, _, rest = command.partition(" -- ")
    option, *named = shlex.split(own)[1:]
    assert (option, named) == ("-l", []) or (option == "-s" and named), "say -l, or -s and sessions"
    assert set(named) <= sessions()
    if rest:
        [session] = named
        READERS.get(session, pytest_takes)(shlex.split(rest), config)


def test_a_session_that_a_page_shows_is_run_by_ci_or_by_a_test() -> None:
    """What nobody runs stops to work unseen."""
    shown = {
        name
        for page in PAGES for one in commands(page)
        for name in one.partition(" -s ")[2].partition(" -- ")[0].split()
    }  # fmt: skip
    called = [one.partition("-s ")[2] for workflow in WORKFLOWS for one in values(workflow, "run")]
    called += [one for workflow in WORKFLOWS for one in listed(workflow)]
    by_ci = {name for one in called for name in one.partition(" -- ")[0].split()}
    in_all = {folder.name for folder in ROOT.glob("packages/*")}  # integration runs each domain's tests

    assert shown - by_ci - in_all == set(HELD_BY) & shown
    assert [file for file, held in HELD_BY.values() if held not in (ROOT / file).read_text()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_settings_that_a_page_shows_can_be_read(page: Path) -> None:
    """A file that is copied into a project is one that its tools accept."""
    for block in blocks(page):
        if block.language == "toml":
            assert tomllib.loads(block.source)


def test_what_is_shown_as_printed_is_in_the_words_of_the_kit() -> None:
    """A reader who compares finds the same sentences, whatever the figures."""
    printed = singular(" ".join(file.read_text() for file in KIT.rglob("*.py")))
    shown = {
        phrase: str(block)
        for page in PAGES for block in blocks(page) if block.language == "text"
        for phrase in PHRASE.findall(block.source)
    }  # fmt: skip

    assert shown
    assert {
        one: where for one, where in shown.items() if not any(part in printed for part in parts(one))
    } == {}


def parts(phrase: str) -> list[str]:
    """Give each three words of a phrase, which may be put together of several."""
    words = singular(phrase).split()
    return [" ".join(words[place : place + 3]) for place in range(len(words) - 2)]


def singular(text: str) -> str:
    """Write words one space apart and without the s of the plural."""
    return re.sub(r"s\b", "", " ".join(text.split()))
