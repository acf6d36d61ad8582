"""What is built comes out the same again, and works where nothing else is installed."""

import os
import shutil
from pathlib import Path

import pytest

from .workspaces import ROOT, Workspace

IN_TREE = """
[build-system]
requires = []
build-backend = "restless"
backend-path = ["."]
"""
RESTLESS = """
import os
import tarfile
import zipfile
from io import BytesIO

NAME = "netra_auth-0.1.0"
ABOUT = b"Metadata-Version: 2.3\\nName: netra-auth\\nVersion: 0.1.0\\n"


def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/{NAME}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("netra_auth/__init__.py", f"SEEN = {os.urandom(8)!r}")
        wheel.writestr(f"{NAME}.dist-info/METADATA", ABOUT)
    return f"{NAME}-py3-none-any.whl"


def build_sdist(folder, settings=None):
    with tarfile.open(f"{folder}/{NAME}.tar.gz", "w:gz") as sdist:
        for name in ("PKG-INFO", "pyproject.toml", "restless.py"):
            text = ABOUT if name == "PKG-INFO" else open(name, "rb").read()
            member = tarfile.TarInfo(f"{NAME}/{name}")
            member.size = len(text)
            sdist.addfile(member, BytesIO(text))
    return f"{NAME}.tar.gz"
"""


def built(workspace: Workspace) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (workspace.root / "dist").glob("netra*")}


def test_every_member_is_built_installed_and_imported(workspace: Workspace) -> None:
    """A wheel that nobody installed before its users do is a draft."""
    done = workspace.script("build.py")

    assert done.returncode == 0, done.stderr
    assert sorted(built(workspace)) == [
        "netra_auth-0.1.0-py3-none-any.whl",
        "netra_auth-0.1.0.tar.gz",
        "netra_fixtures-1.0.0-py3-none-any.whl",
        "netra_fixtures-1.0.0.tar.gz",
        "netra_workflows-0.3.1-py3-none-any.whl",
        "netra_workflows-0.3.1.tar.gz",
    ]
    assert "netra-workflows 0.3.1 installs into an empty environment and is imported there" in done.stdout


def test_another_checkout_gives_the_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    """Who doubts a wheel builds it from the tag, on another day and another machine, and compares."""
    copy = Workspace(tmp_path / "elsewhere")
    shutil.copytree(workspace.root, copy.root)
    for file in copy.root.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
        file.chmod(0o700 if file.is_dir() else 0o600)
    workspace.build()

    copy.build(TZ="Asia/Tokyo")

    assert built(copy) == built(workspace) != {}


def test_a_build_that_gives_other_bytes_is_refused(workspace: Workspace) -> None:
    """Nobody could tell it from one that was tampered with."""
    folder = workspace.root / "packages" / "auth"
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().partition("[build-system]")[0] + IN_TREE)
    (folder / "restless.py").write_text(RESTLESS)

    done = workspace.script("build.py")

    assert done.returncode == 1
    assert done.stderr.startswith("build: netra_auth-0.1.0-py3-none-any.whl came out with other bytes")


@pytest.mark.parametrize(
    "source", ["import numpy_nobody_declared", "raise RuntimeError"], ids=["undeclared", "broken"]
)
def test_a_member_that_cannot_be_imported_alone_is_refused(workspace: Workspace, source: str) -> None:
    """What it needs and doesn't declare is there in every environment but its users'."""
    (workspace.root / "packages" / "auth" / "src" / "netra_auth" / "__init__.py").write_text(source)

    done = workspace.script("build.py")

    assert done.returncode == 1
    assert source.split()[-1] in done.stderr


def test_an_entry_point_that_leads_nowhere_is_refused(workspace: Workspace) -> None:
    """The command that a package brings would fail at its first call."""
    pyproject = workspace.root / "packages" / "auth" / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + '\n[project.scripts]\nnetra-auth = "netra_auth:serve"\n')

    done = workspace.script("build.py")

    assert done.returncode == 1
    assert "has no attribute 'serve'" in done.stderr


@pytest.mark.soak
@pytest.mark.timeout(600)  # installs what every member declares
def test_every_member_of_this_checkout_is_built_installed_and_imported(tmp_path: Path) -> None:
    """The packages themselves, and not only small ones of their shape."""
    here = ("packages", "shared", "requirements", "pyproject.toml")
    for name in here:
        source, copy = ROOT / name, tmp_path / name
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)

    done = Workspace(tmp_path).script("build.py", deadline_s=500)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is imported there") == len([*ROOT.glob("packages/*/pyproject.toml")]) + 1
