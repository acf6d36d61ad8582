"""noxw makes one private environment, once, and says in a sentence what a machine lacks."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

NOXW = Path(__file__).parents[2] / "noxw"

# What noxw finds in the environment: tells how it was called, and which uv it was given.
MADE = """#!/bin/sh
case "$*" in
*pip*) [ -z "$NO_INDEX" ] ;;
*) printf '<%s> ' "$@"; command -v uv ;;
esac
"""

# The real interpreter, but for `-m venv`, which lays down the above, and a venv module that may be missing.
PYTHON = f"""#!/bin/sh
case "$*" in
*"-m venv"*)
    echo venv >>"$JOURNAL"
    sleep 0.2
    mkdir -p "$3/bin"
    cp "$TOOLS/made" "$3/bin/python"
    cp "$TOOLS/made" "$3/bin/uv" ;;
*"import ensurepip"*)
    [ -z "$NO_VENV" ] ;;
*)
    exec '{sys.executable}' "$@" ;;
esac
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout with nothing but what noxw reads, and a PATH that holds nothing but what noxw needs."""

    path: Path
    tools: Path
    journal: Path

    def add_python(self, text: str = PYTHON) -> None:
        for name, content in (("python3", text), ("made", MADE)):
            (self.tools / name).write_text(content)
            (self.tools / name).chmod(0o755)

    def start(self, *arguments: str, program: Path | None = None, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(program or self.path / "noxw"), *arguments],
            cwd="/",
            env={
                "PATH": str(self.tools),
                "HOME": str(self.tools),
                "TOOLS": str(self.tools),
                "JOURNAL": str(self.journal),
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, program: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, program=program, **environ) as process:
            stdout, stderr = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    @property
    def times_made(self) -> int:
        return self.journal.read_text().count("venv") if self.journal.exists() else 0

    @property
    def environments(self) -> list[Path]:
        return [path for path in (self.path / ".nox" / ".noxw").iterdir() if path.is_dir()]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    path = tmp_path / "a check out"
    (path / "requirements").mkdir(parents=True)
    (path / "requirements" / "noxw.txt").write_text("nox==1\n")
    shutil.copy2(NOXW, path / "noxw")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cp", "dirname", "id", "mkdir", "readlink", "rm", "sh", "sleep"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    return Checkout(path, tools, tmp_path / "journal")


def test_it_hands_its_arguments_to_nox_with_uv_on_the_path(checkout: Checkout) -> None:
    """A person types what they would type to nox, whatever the folder they stand in."""
    checkout.add_python()

    ran = checkout.run("-s", "auth", "--", "-k", "a word")

    (environment,) = checkout.environments
    noxfile, uv = checkout.path / "noxfile.py", environment / "bin" / "uv"
    assert ran.stdout == f"<-m> <nox> <--noxfile> <{noxfile}> <-s> <auth> <--> <-k> <a word> {uv}\n"
    assert ran.returncode == 0


def test_a_second_call_makes_nothing(checkout: Checkout) -> None:
    """The environment costs seconds, so it is paid for once."""
    checkout.add_python()
    checkout.run("-l")

    again = checkout.run("-l")

    assert checkout.times_made == 1
    assert again.returncode == 0
    assert again.stderr == ""


def test_two_calls_at_once_make_one_environment(checkout: Checkout) -> None:
    """Neither finds the other's half-made environment."""
    checkout.add_python()

    with checkout.start("-l") as first, checkout.start("-l") as second:
        outputs = [first.communicate(timeout=30)[0], second.communicate(timeout=30)[0]]

    assert checkout.times_made == 1
    assert [first.returncode, second.returncode] == [0, 0]
    assert all("<-m> <nox>" in output for output in outputs)


def test_an_environment_that_was_left_half_made_is_made_again(checkout: Checkout) -> None:
    """An interrupted first call leaves nothing to clean up by hand."""
    checkout.add_python()
    interrupted = checkout.run("-l", NO_INDEX="1")

    ran = checkout.run("-l")

    assert interrupted.returncode == 1
    assert "could not be made" in interrupted.stderr
    assert ran.returncode == 0
    assert checkout.times_made == 2


def test_other_pins_make_another_environment(checkout: Checkout) -> None:
    """A branch with a newer nox doesn't change the one that the other branch uses."""
    checkout.add_python()
    checkout.run("-l")

    (checkout.path / "requirements" / "noxw.txt").write_text("nox==2\n")
    checkout.run("-l")

    assert len(checkout.environments) == 2


def test_it_is_found_through_a_symbolic_link(checkout: Checkout, tmp_path: Path) -> None:
    """Who links to it from a folder on PATH gets the checkout that the link leads to."""
    checkout.add_python()
    (tmp_path / "relative").symlink_to(Path(checkout.path.name, "noxw"))
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")

    ran = checkout.run("-l", program=tmp_path / "absolute")

    assert f"<--noxfile> <{checkout.path / 'noxfile.py'}>" in ran.stdout


def test_a_machine_without_a_recent_python_is_told_so(checkout: Checkout) -> None:
    """The sentence names what to install; no traceback comes first."""
    checkout.add_python("#!/bin/sh\nexit 1\n")

    ran = checkout.run("-l")

    assert ran.returncode == 1
    assert ran.stderr.startswith("noxw: no Python 3.11 or newer is on PATH; install one")
    assert ran.stderr.count("\n") == 1


def test_a_python_without_its_venv_module_is_told_so(checkout: Checkout) -> None:
    """Debian's python3 comes without it, and its own message is several screens away from the remedy."""
    checkout.add_python()

    ran = checkout.run("-l", NO_VENV="1")

    assert ran.returncode == 1
    assert "has no venv module; install it (on Debian and Ubuntu: apt-get install python3-venv)" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("home", ["", "/nonexistent"])
def test_a_home_that_cannot_be_written_leaves_the_cache_in_the_checkout(
    checkout: Checkout, home: str
) -> None:
    """uv refuses to start without a cache, and a service's account often has no home."""
    checkout.add_python()
    checkout.run("-l")
    (environment,) = checkout.environments
    (environment / "bin" / "python").write_text('#!/bin/sh\necho "$UV_CACHE_DIR"\n')

    ran = checkout.run("-l", HOME=home)

    assert ran.stdout.strip() == str(checkout.path / ".nox" / ".uv-cache")
