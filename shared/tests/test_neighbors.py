"""Runs that go on at the same time never meet: of one checkout, or of two."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import SHOP
from .runs import PLUGINS_LEFT_OUT

TESTS = """
import asyncio
import json
import os
import pathlib

import pytest
from sqlalchemy import text


@pytest.fixture(scope="session")
def here(netra_worker):
    directory, prefix = netra_worker.directory, netra_worker.prefix
    return {"directory": str(directory), "prefix": prefix, "namespace": netra_worker.namespace}


async def test_the_other_run_is_here_too(engine, redis_client, namespace, here):
    own, other, meeting = os.environ["OWN"], os.environ["OTHER"], pathlib.Path(os.environ["MEETING"])
    async with engine.begin() as connection:
        await connection.execute(text("insert into shop.orders (what) values (:own)"), {"own": own})
    await redis_client.set(f"{namespace}:visitor", own)
    (meeting / own).write_text(json.dumps(here))
    async with asyncio.timeout(40):
        while not (meeting / other).exists():
            await asyncio.sleep(0.01)
    async with engine.begin() as connection:
        assert (await connection.scalars(text("select what from shop.orders"))).all() == [own]
    assert await redis_client.keys("*") == [f"{namespace}:visitor".encode()]
    assert json.loads((meeting / other).read_text())["directory"] != here["directory"]
"""


def checkout(folder: Path) -> Path:
    """Lay out a project."""
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_shop.py").write_text(TESTS)
    (folder / "pytest.toml").write_text(
        f'[pytest]\naddopts = {PLUGINS_LEFT_OUT}\nanyio_mode = "auto"\n'
        'timeout = "60"\nnetra_migrations = ["shop:migrate"]\n'
    )
    return folder


def started(folder: Path, own: str, other: str, meeting: Path, cache: Path) -> "subprocess.Popen[str]":
    """Start a run that waits until the other has come as far."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NETRA_", "PYTEST_")) and name != "CI"
    }
    environ |= {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(cache), "OWN": own, "OTHER": other}
    environ["MEETING"] = str(meeting)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pytest", "--seed=7"],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def neighbors_meet_nowhere(tmp_path: Path, cache: Path, *, checkouts: int) -> None:
    """Run two at once and hold them apart."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    folders = [checkout(tmp_path / f"checkout{number}") for number in range(checkouts)]
    runs = [
        started(folders[0], "a", "b", meeting, cache),
        started(folders[-1], "b", "a", meeting, cache),
    ]
    said = [run.communicate(timeout=120)[0] for run in runs]

    assert [run.returncode for run in runs] == [0, 0], "\n".join(said)
    a, b = (json.loads((meeting / name).read_text()) for name in ("a", "b"))
    for what in ("directory", "prefix", "namespace"):
        assert a[what] != b[what]
    for folder in folders:
        report: dict[str, Any] = json.loads((folder / "reports/latest/report.json").read_text())
        assert report["run"]["verdict"] == "passed"
        name = report["run"]["id"]
        assert name in {Path(a["directory"]).name, Path(b["directory"]).name}
        for part in ("index.html", "report.md"):
            text = (folder / "reports/latest" / part).read_text()
            assert f"Run {name}," in text.replace("\\", "")
        assert {path.name for path in (folder / "reports").iterdir()} == {"latest", "latest.history"}
        assert len(list((folder / "reports/latest.history").iterdir())) == 2 // checkouts
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("checkouts", [1, 2])
def test_two_runs_at_once_never_meet(tmp_path: Path, kept_clusters: Path, checkouts: int) -> None:
    """Two branches are tested on one machine, or one branch twice, and neither explains the other's failures."""
    neighbors_meet_nowhere(tmp_path, kept_clusters, checkouts=checkouts)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(20))
@pytest.mark.parametrize("checkouts", [1, 2])
def test_twenty_pairs_never_meet(tmp_path: Path, kept_clusters: Path, checkouts: int, turn: int) -> None:
    """What goes well by luck goes wrong once in twenty times."""
    neighbors_meet_nowhere(tmp_path, kept_clusters, checkouts=checkouts)
