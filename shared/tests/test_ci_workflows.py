"""The jobs of CI do what a person can do: they call sessions of nox, and bring nothing of their own."""

import re
import tomllib
from pathlib import Path

import pytest

from .test_docs import sessions
from .workspaces import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SESSION = re.compile(r'\./noxw -s ("?\$SESSION"?|[a-z]+)(?: -- [^&|;`]*)?(?: #.*)?')


def values(workflow: Path, key: str) -> list[str]:
    """Find what stands behind a key, wherever it stands."""
    return re.findall(rf"^\s*(?:- )?{key}: *(.+)$", workflow.read_text(), re.MULTILINE)


def listed(workflow: Path) -> list[str]:
    """Find the sessions that a matrix lists, each with what follows it."""
    found = re.search(r"^ +session:(?: *\[(.*)\]|\n((?: +- .*\n)+))", workflow.read_text(), re.MULTILINE)
    if not found:
        return []
    return found[1].split(", ") if found[1] else re.findall(r"- (.*)", found[2])


def test_there_are_workflows() -> None:
    """What follows says something."""
    assert {workflow.stem for workflow in WORKFLOWS} == {"tests", "weekly", "release"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda one: one.stem)
def test_a_job_runs_sessions_of_nox_and_nothing_else(workflow: Path) -> None:
    """What fails on a machine far away can be run by hand on this one."""
    commands = values(workflow, "run")

    called = [SESSION.fullmatch(command) for command in commands]
    named = {match[1] for match in called if match and "SESSION" not in match[1]}
    in_matrix = {name for one in listed(workflow) for name in one.partition(" -- ")[0].split()}
    assert commands
    assert all(called), commands
    assert named | in_matrix <= sessions()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda one: one.stem)
def test_an_action_is_pinned_to_a_commit_and_says_its_version(workflow: Path) -> None:
    """A tag can be moved to other code overnight."""
    uses = values(workflow, "uses")

    assert uses
    assert [one for one in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


def test_all_shards_are_run() -> None:
    """The number of shards stands in the matrix, in the command and in the names of what they leave."""
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text()

    found = re.search(r"shard: \[(.*)\]", text)
    assert found is not None
    numbers = [int(number) for number in found[1].split(", ")]
    totals = {int(total) for total in re.findall(r"matrix\.shard \}\}(?:/|-of-| of )(\d+)", text)}
    assert numbers == [*range(1, len(numbers) + 1)]
    assert totals == {len(numbers)}


def test_the_jobs_of_a_change_cover_the_gate() -> None:
    """Spread over machines it must not be less than what a person runs before it lands."""
    workflow = ROOT / ".github" / "workflows" / "tests.yml"

    done = {*listed(workflow), *values(workflow, "run")}
    assert {"lint typing", "lock -- --check", "shared", "integration -- --redis=redis"} <= done
    assert './noxw -s integration -- --shard "$SHARD"' in done


def test_compat_is_run_on_every_python_that_it_names() -> None:
    """An interpreter that a machine lacks is skipped, and here none may be."""
    weekly = (ROOT / ".github" / "workflows" / "weekly.yml").read_text()
    named = re.search(r"^PYTHONS = \((.*)\)$", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    lowest = {
        tomllib.loads(file.read_text())["project"]["requires-python"]
        for file in (*ROOT.glob("packages/*/pyproject.toml"), ROOT / "shared" / "pyproject.toml")
    }

    assert named is not None
    pythons = re.findall(r"[\d.]+", named[1])
    assert re.findall(r"^ {12}(3\.\d+)$", weekly, re.MULTILINE) == pythons
    assert lowest == {f">={pythons[0]}"}
