"""Every member can be installed and released alone, typed, without what only tests need."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = [ROOT / "shared", *sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))]
DOMAINS = MEMBERS[1:]
COMPOSES = "workflows"  # the one domain that may ask for its neighbours


def project(member: Path) -> dict[str, Any]:
    """Read what a member says of itself."""
    return dict(tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def asked(domain: Path) -> set[str]:
    """Name what somebody who installs the domain gets along with it."""
    found = (re.match(r"[\w.-]+", requirement) for requirement in project(domain).get("dependencies", []))
    return {name[0].lower() for name in found if name}


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_a_domain_asks_for_no_test_tool(domain: Path) -> None:
    """Who installs a domain for production gets no test kit with it."""
    assert not {name for name in asked(domain) if name.startswith(("netra-fixtures", "pytest", "hypothesis"))}


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_a_domain_asks_for_no_neighbour(domain: Path) -> None:
    """A domain is released alone, so that a change next door can't break it; one composes the others."""
    assert domain.name == COMPOSES or not {name for name in asked(domain) if name.startswith("netra-")}


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_member_tells_type_checkers_that_it_is_typed(member: Path) -> None:
    """A caller's type checker reads the annotations only where this marker is shipped."""
    [package] = (member / "src").iterdir()

    assert package.name == project(member)["name"].replace("-", "_")
    assert (package / "py.typed").is_file()


def test_domains_agree_on_when_a_server_is_absent() -> None:
    """Each domain tells an outage from a mistake by itself; one that learned of another outage alone is found."""
    lists = {
        file: ast.unparse(node.value)
        for file in ROOT.glob("packages/*/src/**/*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_UNREACHABLE"
    }

    assert len(lists) >= 4
    assert len(set(lists.values())) == 1, sorted(map(str, lists))


def test_domains_migrate_alike() -> None:
    """Many processes may start at once with an old schema, whichever domain it is."""
    environments, steps = {}, {}
    for folder in ROOT.glob("packages/*/src/*/migrations"):
        environments[folder] = (folder / "env.py").read_text(encoding="utf-8")
        [migrate] = [
            node
            for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body
            if isinstance(node, ast.AsyncFunctionDef) and node.name == "migrate"
        ]
        steps[folder] = [ast.unparse(node) for node in migrate.body if isinstance(node, ast.AsyncWith)]

    assert len(steps) >= 4
    assert len(set(environments.values())) == 1, sorted(map(str, environments))
    assert len(set(map(tuple, steps.values()))) == 1, sorted(map(str, steps))
