"""Programs that a test starts are processes of their own, and none outlives its test."""

import os
import signal
import sys
from pathlib import Path

import pytest

from netra_fixtures import IsolatedEnvironment, StartProgram, eventually, within

from .crashing import processes
from .runs import Run

LIVE = """
import os
import time
from pathlib import Path

async def test_left(start_program, tmp_path):
    (tmp_path / "left.py").write_text("import time\\nprint(flush=True)\\ntime.sleep(600)")
    left = await start_program(tmp_path / "left.py")
    await left.stdout.readline()
    Path({noted!r}).write_text(str(left.pid))
    {then}

def test_next():
    assert not Path("/proc", Path({noted!r}).read_text()).exists()
"""


async def test_a_program_runs_as_from_a_command_line(
    start_program: StartProgram, environment: IsolatedEnvironment, tmp_path: Path
) -> None:
    """Arguments, variables, folder, neighbours and standard streams are what they would be there."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "near.py").write_text("NAME = 'beside'")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "far.py").write_text("NAME = 'on the path'")
    program = tmp_path / "beside" / "program.py"
    program.write_text(
        "import os, sys\nimport near, far\n"
        "print(__name__, sys.argv, os.environ['SAID'], 'HOME' in os.environ, os.getcwd(), near.NAME, far.NAME)\n"
        "print(os.getppid() != int(os.environ['TEST']), sys.stdin.read())\nsys.exit(3)\n"
    )
    environment.set("SAID", "grüße \udcff")
    environment.set("TEST", str(os.getpid()))
    environment.set("PYTHONPATH", str(tmp_path / "path"))
    environment.set("PYTHONIOENCODING", "utf-8:surrogateescape")
    environment.unset("HOME")

    ran = await start_program(program, "--one", "zwei", folder=tmp_path)
    ran.stdin.write(b"asked")
    async with within(seconds=20):
        first, second = (await ran.communicate()).splitlines()

    assert ran.returncode == 3
    assert first.decode(errors="surrogateescape") == (
        f"__main__ {[str(program), '--one', 'zwei']} grüße \udcff False {tmp_path} beside on the path"
    )
    assert second == b"True asked"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", 0),
        ("import sys; sys.exit('why')", 1),
        ("raise ValueError", 1),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT),
        ("import atexit; atexit.register(print, 'last', flush=True)", 0),
        (
            "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('last'))).start()",
            0,
        ),
    ],
    ids=["ends", "exits", "raises", "leaves", "killed", "interrupted", "at exit", "thread"],
)
async def test_how_a_program_ended_is_told(
    start_program: StartProgram, tmp_path: Path, source: str, code: int
) -> None:
    """Whoever waits for a program learns how it ended, after all that it had still to do."""
    (tmp_path / "program.py").write_text(source)

    ran = await start_program(tmp_path / "program.py")
    async with within(seconds=20):
        output = await ran.communicate()

    assert ran.returncode == await ran.wait() == code
    assert output == (b"last\n" if "last" in source else b"")
    ran.kill()  # what ended is not killed


async def test_a_program_finds_imported_what_it_imports(start_program: StartProgram, tmp_path: Path) -> None:
    """A process that needs a second to import its libraries is ready at once, and nothing else is shared."""
    source = (
        "import sys\nprint('xml.dom.minidom' in sys.modules, 'wave' in sys.modules)\nimport xml.dom.minidom\n"
    )
    (tmp_path / "program.py").write_text(f"{source}xml.dom.minidom.mark = 1\n")
    (tmp_path / "next.py").write_text(f"{source}print(hasattr(xml.dom.minidom, 'mark'))\n")

    said = []
    for name, imports in (("program.py", ()), ("next.py", ["wave", "no.such.module"])):
        ran = await start_program(tmp_path / name, imports=imports)
        async with within(seconds=20):
            said.append(await ran.communicate())

    assert said == [b"True False\n", b"True True\nFalse\n"]


async def test_what_a_program_imported_is_let_go_at_its_end(
    start_program: StartProgram, tmp_path: Path
) -> None:
    """A library that looks for leaks at Python's end, as nanobind does, finds none that Python would not have."""
    (tmp_path / "program.py").write_text(
        "import os\nimport wave\n"
        "class Mark:\n    def __del__(self, write=os.write): write(1, b'let go')\n"
        "wave.Wave_read.mark = Mark()\n"
    )

    ran = await start_program(tmp_path / "program.py")
    async with within(seconds=20):
        output = await ran.communicate()

    assert output == b"let go"


async def test_a_command_and_a_module_are_programs_too(start_program: StartProgram) -> None:
    """What is installed is started by its name."""
    module = await start_program("json.tool", "--compact")
    module.stdin.write(b'{"a": 1}')
    command = await start_program(
        "mypy" if Path(sys.executable).with_name("mypy").exists() else "pytest", "--version"
    )

    async with within(seconds=60):
        assert await module.communicate() == b'{"a":1}\n'
        assert b"." in await command.communicate()
    assert (module.returncode, command.returncode) == (0, 0)


async def test_programs_side_by_side_are_told_apart(start_program: StartProgram, tmp_path: Path) -> None:
    """One that is killed is noticed, and the others go on."""
    (tmp_path / "program.py").write_text("import sys\nprint(sys.argv[1], flush=True)\nsys.stdin.read()")
    programs = [await start_program(tmp_path / "program.py", str(number)) for number in range(4)]

    async with within(seconds=20):
        assert [await one.stdout.readline() for one in programs] == [b"0\n", b"1\n", b"2\n", b"3\n"]
        programs[2].kill()
        assert await programs[2].wait() == -signal.SIGKILL
        assert [one.returncode for one in programs] == [None, None, -signal.SIGKILL, None]
        programs[1].terminate()
        assert await programs[1].wait() == -signal.SIGTERM
        await programs[0].communicate()

    assert [one.returncode for one in programs] == [0, -signal.SIGTERM, -signal.SIGKILL, None]


def test_a_program_ends_with_its_test(run: Run, tmp_path: Path) -> None:
    """A test that forgets a process leaves none to the next one."""
    noted = tmp_path / "noted"

    outcome = run(LIVE.format(noted=str(noted), then=""))

    outcome.result.assert_outcomes(passed=2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent; run it there")
async def test_a_program_ends_with_a_worker_that_is_killed(run: Run, tmp_path: Path) -> None:
    """A run that is killed leaves no process behind."""
    noted = tmp_path / "noted"

    run(LIVE.format(noted=str(noted), then="os.kill(os.getpid(), 9)"), "-n1", "--max-worker-restart=0")

    pid = int(noted.read_text())

    async def gone() -> None:
        assert pid not in {process.pid for process in processes()}

    await eventually(gone, seconds=20)


def test_what_can_not_be_forked_is_said(run: Run) -> None:
    """Where the process that forks was ended, a sentence says so, and nothing hangs."""
    outcome = run(
        """
        import os
        import pytest
        from netra_fixtures.programs import ProgramLost

        async def test_lost(start_program, netra_programs):
            ran = await start_program("json.tool")
            os.kill(netra_programs._server.pid, 9)
            with pytest.raises(ProgramLost, match="what forks programs has ended"):
                await ran.wait()
            assert ran.returncode is None
            await start_program("json.tool")
        """
    )

    outcome.result.assert_outcomes(failed=1)
    assert "ProgramLost: json.tool can't be run: what forks programs has ended" in outcome.text
