"""A release moves one version, gathers what users will read, and says who has to look at it."""

import re
import shutil
from pathlib import Path

import pytest

from .workspaces import ROOT, Workspace


@pytest.fixture
def changed(workspace: Workspace) -> Workspace:
    """Give auth something to release."""
    changes = workspace.root / "packages" / "auth" / "changes"
    (changes / "sign-in.added.md").write_text("Added `netra_auth.sign_in()`,\nwhich signs in.\n")
    (changes / "7.fixed.md").write_text("A token that has expired is refused.\n")
    return workspace


def changelog(workspace: Workspace) -> str:
    return (workspace.root / "packages" / "auth" / "CHANGELOG.md").read_text()


def everything(workspace: Workspace) -> dict[str, str]:
    files = (file for file in workspace.root.rglob("*") if file.is_file())
    return {str(file): file.read_text() for file in files}


def test_a_release_moves_the_version_and_gathers_the_fragments(changed: Workspace) -> None:
    """Who upgrades reads one list of what changed, and no change is told twice."""
    done = changed.script("release.py", "auth", "minor")

    folder = changed.root / "packages" / "auth"
    assert done.returncode == 0, done.stderr
    assert 'version = "0.2.0"' in (folder / "pyproject.toml").read_text()
    assert list((folder / "changes").iterdir()) == []
    assert re.sub(r"\d{4}-\d\d-\d\d", "today", changelog(changed)) == (
        "# Changelog of netra-auth\n\n"
        "Each release gathers its fragments from `changes/` here, newest first.\n\n"
        "## 0.2.0 (today)\n\n"
        "### Added\n\n"
        "- Added `netra_auth.sign_in()`,\n  which signs in.\n\n"
        "### Fixed\n\n"
        "- A token that has expired is refused.\n"
    )


def test_a_release_names_the_tag_and_the_dependants_to_look_at(changed: Workspace) -> None:
    """A member that uses what is new and still allows the old version breaks where nobody looks."""
    done = changed.script("release.py", "auth", "minor")

    assert "git tag netra-auth-v0.2.0" in done.stdout
    assert (
        "packages/workflows/pyproject.toml asks for netra-auth>=0.1: netra-auth>=0.2.0 if it uses what is new"
        in done.stdout
    )


def test_the_next_release_stands_above_the_one_before(changed: Workspace) -> None:
    """The newest change is what most readers came for."""
    changed.script("release.py", "auth", "0.1.0")
    (changed.root / "packages/auth/changes/more.security.md").write_text("Closed a hole.\n")

    done = changed.script("release.py", "auth", "patch")

    assert done.returncode == 0, done.stderr
    assert re.findall(r"^## (\S+)", changelog(changed), re.MULTILINE) == ["0.1.1", "0.1.0"]


def test_a_checkout_under_git_has_the_release_ready_to_commit(changed: Workspace) -> None:
    """The command that the release prints must not leave a fragment behind."""
    if shutil.which("git") is None:
        pytest.skip("git isn't installed here; install it to test a release in a checkout")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.invalid")
    changed.run("git", "init", "-q")
    changed.run("git", "add", "-A")
    changed.run(*git, "commit", "-qm", "all")

    changed.script("release.py", "auth", "minor")
    changed.run(*git, "commit", "-qam", "auth: release 0.2.0")

    assert changed.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say which member and how far: nox -s release -- auth minor"),
        (("billing", "minor"), "there is no member 'billing'; take one of auth, workflows, shared"),
        (("auth", "huge"), "'huge' is no version; give major, minor, patch or one such as 1.4.0"),
        (("auth", "0.0.9"), "netra-auth is at 0.1.0 already; give a later version"),
        (("workflows", "minor"), "workflows/changes holds no fragment, so there is nothing to release"),
    ],
)
def test_a_release_that_makes_no_sense_changes_nothing_and_says_why(
    changed: Workspace, arguments: tuple[str, ...], sentence: str
) -> None:
    """A half-made release is worse than none."""
    before = everything(changed)

    done = changed.script("release.py", *arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(f"release: {sentence}")
    assert "Traceback" not in done.stderr
    assert everything(changed) == before


def test_a_misnamed_fragment_stops_the_release(changed: Workspace) -> None:
    """It would be left out of the changelog, and nobody would notice."""
    (changed.root / "packages/auth/changes/keys.news.md").write_text("Keys rotate.\n")
    before = everything(changed)

    done = changed.script("release.py", "auth", "minor")

    assert (
        "auth/changes/keys.news.md: name it <slug>.<added|changed|fixed|removed|security>.md" in done.stderr
    )
    assert everything(changed) == before


def test_where_the_fragments_cannot_be_gathered_nothing_is_changed(changed: Workspace) -> None:
    """The version must not move without its changes."""
    settings = changed.root / "pyproject.toml"
    settings.write_text(settings.read_text().replace("towncrier:default.md", "nowhere.md"))
    before = everything(changed)

    done = changed.script("release.py", "auth", "minor")

    assert done.stderr.startswith("release: towncrier failed: ")
    assert everything(changed) == before


@pytest.mark.parametrize("member", [*(path.name for path in ROOT.glob("packages/*/")), "shared"])
def test_every_member_of_this_checkout_can_be_released(tmp_path: Path, member: str) -> None:
    """What is wrong with a fragment shows with the change that adds it, and not on the day of the release."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in (*ROOT.glob("packages/*/"), ROOT / "shared"):
        copy = tmp_path / folder.relative_to(ROOT)
        shutil.copytree(folder / "changes", copy / "changes")
        shutil.copy(folder / "CHANGELOG.md", copy)
        shutil.copy(folder / "pyproject.toml", copy)
        (copy / "changes" / "one.added.md").write_text("Added.\n")

    done = Workspace(tmp_path).script("release.py", member, "major")

    assert done.returncode == 0, done.stderr
