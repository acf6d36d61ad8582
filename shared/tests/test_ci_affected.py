"""Only what a change can break is tested, and the reason stands beside it."""

import shutil

import pytest

from .workspaces import Workspace

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.invalid", "-c", "init.defaultBranch=main")


@pytest.fixture
def branch(workspace: Workspace) -> Workspace:
    """Commit the workspace to main, with a domain that nobody needs, and leave main for a branch."""
    if shutil.which("git") is None:
        pytest.skip("git isn't installed here; install it to test what it says of a change")
    workspace.add("billing", "0.1.0", tested_with=["netra-auth", "netra-fixtures"])
    workspace.add("portal", "0.1.0", tested_with=["netra-workflows", "netra-fixtures"])
    commands = [("init", "-q"), ("add", "-A"), ("commit", "-qm", "all"), ("checkout", "-qb", "change")]
    for command in commands:
        assert workspace.run(*GIT, *command).returncode == 0
    return workspace


def change(workspace: Workspace, path: str) -> None:
    file = workspace.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("changed")


def affected(workspace: Workspace, *arguments: str) -> dict[str, str]:
    done = workspace.script("affected.py", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_a_changed_source_affects_its_member_and_whoever_needs_it(branch: Workspace) -> None:
    """A neighbour that uses it, or whose tests do, may break; others can't."""
    change(branch, "packages/auth/src/netra_auth/tokens.py")

    assert affected(branch) == {
        "auth": "packages/auth/src/netra_auth/tokens.py changed",
        "billing": "its tests need auth",
        "workflows": "it needs auth",
        "portal": "its tests need auth",
        "not affected": "shared",
    }


def test_whoever_only_tests_with_a_member_passes_nothing_on(branch: Workspace) -> None:
    """What stands in a test is seen by no user of the package."""
    change(branch, "packages/workflows/src/netra_workflows/plan.py")

    assert affected(branch) == {
        "portal": "its tests need workflows",
        "workflows": "packages/workflows/src/netra_workflows/plan.py changed",
        "not affected": "auth, billing, shared",
    }


def test_a_changed_test_affects_its_own_member_alone(branch: Workspace) -> None:
    """Nobody imports a neighbour's tests."""
    change(branch, "packages/auth/tests/test_tokens.py")

    assert set(affected(branch)) == {"auth", "not affected"}


def test_a_changed_kit_affects_everybody(branch: Workspace) -> None:
    """All tests stand on it."""
    change(branch, "shared/src/netra_fixtures/plugin.py")

    assert affected(branch)["billing"] == "its tests need shared"
    assert "not affected" not in affected(branch)


@pytest.mark.parametrize("path", ["pytest.toml", "requirements/constraints.txt", "pyproject.toml", "new.cfg"])
def test_what_concerns_all_or_nobody_knows_affects_everybody(branch: Workspace, path: str) -> None:
    """Where it isn't known who reads a file, all are tested."""
    change(branch, path)

    assert set(affected(branch)) == {"auth", "billing", "portal", "workflows", "shared"}


@pytest.mark.parametrize("path", ["docs/testing.md", "README.md", ".github/workflows/tests.yml"])
def test_a_changed_page_affects_the_tests_that_hold_it(branch: Workspace, path: str) -> None:
    """The examples of the documentation run in the kit's tests."""
    change(branch, path)

    assert affected(branch)["shared"] == f"{path} changed"
    assert set(affected(branch)) == {"shared", "not affected"}


def test_the_readme_of_a_member_is_held_by_its_own_tests_and_the_kits(branch: Workspace) -> None:
    """Both read it: the one for its example, the other for what it names."""
    change(branch, "packages/auth/README.md")

    assert set(affected(branch)) == {"auth", "shared", "not affected"}


def test_commits_of_the_branch_and_changes_not_committed_count_alike(branch: Workspace) -> None:
    """A person asks before a commit, and a machine after it."""
    change(branch, "packages/auth/tests/test_one.py")
    branch.run(*GIT, "add", "-A")
    branch.run(*GIT, "commit", "-qm", "one")
    (branch.root / "packages/workflows/CHANGELOG.md").unlink()
    change(branch, "packages/billing/tests/test_two.py")

    assert set(affected(branch)) == {"auth", "billing", "workflows", "not affected"}


def test_what_the_trunk_did_meanwhile_is_not_of_the_branch(branch: Workspace) -> None:
    """Others' changes were tested by others."""
    change(branch, "packages/auth/tests/test_one.py")
    branch.run(*GIT, "add", "-A")
    branch.run(*GIT, "commit", "-qm", "one")
    branch.run(*GIT, "checkout", "-q", "main")
    change(branch, "packages/billing/tests/test_two.py")
    branch.run(*GIT, "add", "-A")
    branch.run(*GIT, "commit", "-qm", "two")
    branch.run(*GIT, "checkout", "-q", "change")

    assert set(affected(branch)) == {"auth", "not affected"}


def test_nothing_changed_affects_nobody(branch: Workspace) -> None:
    """An empty change takes no time."""
    assert affected(branch) == {"not affected": "auth, billing, portal, workflows, shared"}


def test_several_reasons_are_counted(branch: Workspace) -> None:
    """A change of a hundred files is told in as many lines as there are members."""
    for number in range(3):
        change(branch, f"packages/auth/tests/test_{number}.py")

    assert affected(branch)["auth"] == "packages/auth/tests/test_0.py changed, and 2 reasons more"


@pytest.mark.parametrize("since", ["nowhere", "HEAD~1"])
def test_without_a_commit_to_compare_with_it_says_so(branch: Workspace, since: str) -> None:
    """A clone that is too shallow must not look like a change of nothing."""
    done = branch.script("affected.py", "--since", since)

    assert done.returncode == 1
    assert done.stderr == (
        f"affected: git finds no commit that this checkout has in common with {since}; "
        "name one that it has: nox -s affected -- --since HEAD~1\n"
    )
