"""A forked run of pytest finds what one does that is started from a command line."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from .forked import ForkedRuns
from .runs import PLUGINS_LEFT_OUT

LOOKS = """
import gc
import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import pytest

def test_look(request, pytestconfig):
    Path(os.environ["SEEN"]).write_text(json.dumps({
        "path": sys.path,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "arguments": sys.argv[1:],
        "program": sys.argv[0],
        "main": sys.modules["__main__"].__spec__.name,
        "of the tests": sorted(name for name in sys.modules if name.startswith(("tests", "conftest", "test_"))),
        "rewritten": type(sys.modules["netra_fixtures.fixtures"].__loader__).__name__,
        "plugins": sorted(name for name, _ in pytestconfig.pluginmanager.list_name_plugin() if not name.isdigit()),
        "finders": [type(one).__name__ for one in sys.meta_path],
        "warnings": list(map(repr, warnings.filters)),
        "collects": [gc.isenabled(), gc.get_threshold()],
        "signals": [repr(signal.getsignal(number)) for number in (2, 13, 14, 15, 17)],
        "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "group": os.getpgrp(),
        "threads": threading.active_count(),
        "open": len(os.listdir("/proc/self/fd")),
        "input": os.read(0, 1).decode(),
        "coding": [(one.encoding, one.line_buffering) for one in (sys.__stdin__, sys.__stdout__, sys.__stderr__)],
    }))

def test_draw(rng):
    pass
"""


def untimed(text: str) -> str:
    """Leave out how long it took."""
    return re.sub(r"[\d.]+ ?m?s\b", "", text)


def test_a_forked_run_sees_what_a_started_one_sees(forked_runs: ForkedRuns, tmp_path: Path) -> None:
    """What a fork brought along would make tests pass that fail for every user, or the other way round."""
    (tmp_path / "test_shop.py").write_text(LOOKS)
    (tmp_path / "pytest.toml").write_text(
        f'[pytest]\naddopts = {PLUGINS_LEFT_OUT}\nfilterwarnings = ["error"]\n'
    )
    (tmp_path / "far").mkdir()
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "far"), "HOME": str(tmp_path), "SEEN": "seen.json",
        "LANG": "C.UTF-8",  # without one, Python sets a variable as it starts
    }  # fmt: skip

    forked = forked_runs.run("pytest", "-q", "--seed=7", folder=tmp_path, environ=environ)
    seen = json.loads((tmp_path / "seen.json").read_text())
    started = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--seed=7"], cwd=tmp_path, env=environ,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a run in the background ignores it
    )  # fmt: skip

    assert seen == json.loads((tmp_path / "seen.json").read_text())
    assert forked.returncode == started.returncode == 0, forked.stdout + started.stdout
    assert forked.stderr == started.stderr == ""
    assert untimed(forked.stdout) == untimed(started.stdout)


def test_two_forked_runs_know_nothing_of_each_other(forked_runs: ForkedRuns, tmp_path: Path) -> None:
    """A module of a name that another run had is another module, and chance draws something else."""
    drawn = []
    for number in range(2):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        (folder / "test_shop.py").write_text(
            f"import random, uuid\nfrom pathlib import Path\n\ndef test_draw():\n"
            f"    Path('drawn').write_text(f'{number} {{random.random()}} {{uuid.uuid4()}}')\n"
        )
        forked_runs.run("pytest", *PLUGINS_LEFT_OUT, folder=folder, environ=os.environ)
        drawn.append((folder / "drawn").read_text().split())

    assert [one[0] for one in drawn] == ["0", "1"]
    assert drawn[0][1] != drawn[1][1]
    assert drawn[0][2] != drawn[1][2]


@pytest.mark.parametrize(("last", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", -9)])
def test_how_a_forked_run_ended_is_known(
    forked_runs: ForkedRuns, tmp_path: Path, last: str, code: int
) -> None:
    """A run that dies is told from one that fails."""
    (tmp_path / "test_shop.py").write_text(f"import os, signal\ndef test_one():\n    {last}\n")

    done = forked_runs.run("pytest", *PLUGINS_LEFT_OUT, folder=tmp_path, environ=os.environ)

    assert done.returncode == code
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
