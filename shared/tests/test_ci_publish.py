"""What is published gets to the index once, whole, and never changes there."""

import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from .environments import Environment
from .indexes import LOGIN, Index
from .workspaces import ROOT, Workspace

EVERYTHING = {
    "netra_auth-0.1.0-py3-none-any.whl",
    "netra_auth-0.1.0.tar.gz",
    "netra_fixtures-1.0.0-py3-none-any.whl",
    "netra_fixtures-1.0.0.tar.gz",
    "netra_workflows-0.3.1-py3-none-any.whl",
    "netra_workflows-0.3.1.tar.gz",
}
TEAM_TEST = """
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine


async def test_an_order_is_kept_and_counted(engine: AsyncEngine, redis_client: Redis) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("create temporary table orders (what text)"))
        await connection.execute(text("insert into orders values ('a book')"))
        assert await connection.scalar(text("select count(*) from orders")) == 1
    assert await redis_client.incr("orders") == 1
"""


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    """Give the workspace its wheels and sdists, as nox -s build leaves them."""
    workspace.build()
    return workspace


def named(index: Index) -> dict[str, str]:
    return {"NETRA_INDEX_URL": index.url, **LOGIN}


def test_everything_built_is_uploaded(built: Workspace, index: Index) -> None:
    """One command takes a release to where teams install it from."""
    done = built.script("publish.py", **named(index))

    assert done.returncode == 0, done.stderr
    assert index.files == {name: (built.root / "dist" / name).read_bytes() for name in EVERYTHING}


def test_publishing_again_uploads_nothing(built: Workspace, index: Index) -> None:
    """A job that is run twice, or was cut off in the middle, is simply run again."""
    built.script("publish.py", "auth", **named(index))

    done = built.script("publish.py", **named(index))

    assert done.returncode == 0, done.stderr
    assert "netra_auth-0.1.0-py3-none-any.whl already exists, skipping" in done.stdout
    assert "Uploading netra_auth" not in done.stdout
    assert set(index.files) == EVERYTHING


def test_a_changed_file_under_an_old_version_is_refused_and_nothing_is_uploaded(
    built: Workspace, index: Index
) -> None:
    """Whoever has the version installed must have what everybody else has."""
    built.script("publish.py", "workflows", **named(index))
    before = index.files
    source = built.root / "packages" / "workflows" / "src" / "netra_workflows" / "__init__.py"
    source.write_text("NAME = 'other'\n")
    built.build("--package", "netra-workflows")

    done = built.script("publish.py", **named(index))

    assert done.returncode == 1
    assert done.stderr.startswith(
        "publish: the index has netra_workflows-0.3.1-py3-none-any.whl and netra_workflows-0.3.1.tar.gz with other "
        "bytes; what was published stays as it is, so release a new version"
    )
    assert index.files == before


def test_a_wrong_password_is_said_and_shown_nowhere(built: Workspace, index: Index) -> None:
    """The remedy is a sentence, and the log of a job is read by many."""
    done = built.script("publish.py", **{**named(index), "UV_PUBLISH_PASSWORD": "hunter2"})

    assert done.returncode == 1
    assert done.stderr == (
        "publish: the index refuses this name and password; "
        "set UV_PUBLISH_USERNAME and UV_PUBLISH_PASSWORD, or UV_PUBLISH_TOKEN\n"
    )
    assert "hunter2" not in done.stdout
    assert index.files == {}


def test_an_index_that_does_not_answer_is_said_without_the_password(built: Workspace) -> None:
    """What went wrong is shown, and who tried is not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    variables = {"NETRA_INDEX_URL": nobody, "UV_HTTP_RETRIES": "0", **LOGIN}

    done = built.script("publish.py", **variables)

    assert done.returncode == 1
    assert done.stderr.startswith("publish: uv publish failed: ")
    assert "s3cret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "no index is named; set NETRA_INDEX_URL to the internal index's address"),
        ({"NETRA_INDEX_URL": "packages"}, "NETRA_INDEX_URL is no address of an index"),
        (
            {"NETRA_INDEX_URL": "https://team:hunter2@index.invalid"},
            "NETRA_INDEX_URL holds a name or a password, which logs would show",
        ),
    ],
    ids=["none", "no address", "with a password"],
)
def test_without_an_index_it_stops_with_a_sentence(
    workspace: Workspace, variables: dict[str, str], sentence: str
) -> None:
    """It must not go to the public index by default, and the sentence repeats no secret."""
    done = workspace.script("publish.py", **variables)

    assert done.returncode == 1
    assert done.stderr.startswith(f"publish: {sentence}")
    assert "hunter2" not in done.stderr


def test_a_tag_publishes_the_version_it_names_and_no_other(built: Workspace, index: Index) -> None:
    """The job that a tag starts can't publish something else by mistake."""
    done = built.script("publish.py", "netra-auth-v0.1.0", **named(index))
    other = built.script("publish.py", "netra-auth-v0.2.0", **named(index))

    assert done.returncode == 0, done.stderr
    assert set(index.files) == {name for name in EVERYTHING if "auth" in name}
    assert other.stderr.startswith(
        "publish: netra-auth-v0.2.0 is neither a member nor the tag of one's version"
    )


def test_a_package_that_only_holds_its_place_is_not_published(built: Workspace, index: Index) -> None:
    """Version 0.0.0 would be taken at the first upload, and changes with every commit."""
    pyproject = built.root / "packages" / "auth" / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"0.1.0"', '"0.0.0"'))
    asks = built.root / "packages" / "workflows" / "pyproject.toml"
    asks.write_text(asks.read_text().replace("netra-auth>=0.1", "netra-auth"))
    built.build()

    built.script("publish.py", **named(index))

    assert set(index.files) == {name for name in EVERYTHING if "auth" not in name}


@pytest.fixture
def kit_index(index: Index, tmp_path: Path) -> Index:
    """Give the index the kit as it stands in this checkout."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "shared", folder / "shared", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    checkout = Workspace(folder)
    checkout.build()
    done = checkout.script("publish.py", "shared", **named(index))
    assert done.returncode == 0, done.stderr
    return index


@pytest.fixture
def project(tmp_path: Path) -> Workspace:
    """Make another team's project: its settings of pytest and one test."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.toml").write_text('[pytest]\nanyio_mode = "auto"\naddopts = ["-p", "no:valkey"]\n')
    (folder / "test_orders.py").write_text(TEAM_TEST)
    return Workspace(folder)


@pytest.mark.timeout(180)  # makes an environment first
def test_another_team_installs_the_kit_from_the_index_and_its_test_passes(
    kit_index: Index, project: Workspace, tmp_path: Path
) -> None:
    """The last step of a release: somebody else uses it, with nothing of this repository at hand."""
    # what it needs is linked from this session: the index has nothing else, and no test asks the internet
    team = Environment(tmp_path / "team")

    install = ("uv", "pip", "install", "--python", team.python, "--no-deps", "netra-fixtures")
    installed = project.run(*install, UV_DEFAULT_INDEX=address(kit_index))
    done = team.run("-m", "pytest", cwd=project.root)

    assert installed.returncode == 0, installed.stderr
    assert "+ netra-fixtures" in installed.stderr
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "report: reports/latest/index.html" in done.stdout


@pytest.mark.soak
@pytest.mark.timeout(600)  # fetches what the kit declares
def test_another_teams_empty_environment_gets_all_that_the_kit_needs(
    kit_index: Index, project: Workspace
) -> None:
    """Nothing is there before: what the kit needs comes from the index that this machine uses anyway."""
    project.run("uv", "venv", "--python", sys.executable, "env")
    python = project.root / "env" / "bin" / "python"

    install = ("uv", "pip", "install", "--python", python, "netra-fixtures")
    installed = project.run(*install, deadline_s=400, UV_INDEX=address(kit_index))
    done = project.run(python, "-m", "pytest")

    assert installed.returncode == 0, installed.stderr
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def address(index: Index) -> str:
    """Where pip asks, with the name and password that a team has in its settings."""
    user, password = (quote(word, safe="") for word in LOGIN.values())
    return index.url.replace("://", f"://{user}:{password}@") + "/simple/"
