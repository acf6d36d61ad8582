"""Python programs that a test starts as processes, forked where all that they import is there already."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from netra_fixtures.environment import IsolatedEnvironment
from netra_fixtures.errors import NetraFixturesError
from netra_fixtures.forkserver import LENGTH
from netra_fixtures.waiting import within

PROGRAM: Final = Path(__file__).with_name("forkserver.py")
LINE_LIMIT: Final = 2**26  # bytes
STDERR: Final = 2
START_DEADLINE_S: Final = 60


class ProgramLost(NetraFixturesError):
    """What forks the programs of a worker's tests ended."""

    def __init__(self, program: str) -> None:
        super().__init__(
            f"{program} can't be run: what forks programs has ended, for want of memory perhaps; run the tests again"
        )


class Program:
    """A running program.

    Attributes:
        pid: of its process, until it ended.
        stdin: what it reads; `write_eof()` ends it.
        stdout: what it writes. Its standard error is the test's.
    """

    def __init__(
        self, pid: int, told: _Told, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader,
        unused: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self._told = told
        self._streams = (stdin, unused)

    @property
    def returncode(self) -> int | None:
        """How it ended, a signal as a negative number; None while it runs, or where nobody can tell."""
        ended = self._told.ended
        return ended.result() if ended.done() and ended.exception() is None else None

    async def wait(self) -> int:
        """Wait for its end, and return how it ended.

        Raises:
            ProgramLost: nobody can tell any more.
        """
        return await asyncio.shield(self._told.ended)

    async def communicate(self) -> bytes:
        """End its input, wait for its end, and return what it wrote that was not read yet."""
        with suppress(OSError):
            self.stdin.write_eof()
        output = await self.stdout.read()
        await self.wait()
        return output

    async def close(self) -> None:
        """Kill it, unless it ended, and close its streams."""
        self.kill()
        with suppress(ProgramLost):
            await self.wait()
        for stream in self._streams:
            stream.close()
            with suppress(OSError):
                await stream.wait_closed()
        await self._told.closed.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM, unless it ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless it ended."""
        self.send_signal(signal.SIGKILL)


class StartProgram(Protocol):
    """Starts a Python program with the test's `environment`.

    Args:
        program: a script's path; the name of a module for `python -m`; or the name of an installed command.
        arguments: what follows it on a command line.
        folder: where it runs; where the tests run, unless given.
        imports: modules that it needs and does not import at its top.

    Raises:
        ProgramLost: nothing can be forked any more.
    """

    def __call__(
        self, program: str | Path, *arguments: str, folder: Path | None = None, imports: Sequence[str] = ()
    ) -> Awaitable[Program]: ...


class Programs:
    """Starts a worker's programs, by a process that is started with the first of them."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def close(self) -> None:
        """End what forks, and what it forked."""
        if self._server is not None and self._control is not None:
            self._control.close()
            self._server.kill()
            self._server.wait()

    @asynccontextmanager
    async def starting(self, environment: IsolatedEnvironment) -> AsyncIterator[StartProgram]:
        """Start programs in the block; those that still run at its end are killed."""
        started: list[Program] = []

        async def start(
            program: str | Path, *arguments: str, folder: Path | None = None, imports: Sequence[str] = ()
        ) -> Program:
            request = {
                **_named(program), "arguments": arguments, "folder": str(folder or Path.cwd()),
                "imports": imports, "environment": environment.for_process(),
            }  # fmt: skip
            started.append(await self._start(request))
            return started[-1]

        try:
            yield start
        finally:
            for one in started:
                await one.close()

    async def _start(self, request: Mapping[str, object]) -> Program:
        own, given = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        try:
            self._ask(request, [*(one.fileno() for one in given), STDERR])
        except ProgramLost:
            for one in own:
                one.close()
            raise
        finally:
            for one in given:
                one.close()
        loop = asyncio.get_running_loop()
        _, stdin = await asyncio.open_unix_connection(sock=own[0])
        stdout, unused = await asyncio.open_unix_connection(sock=own[1], limit=LINE_LIMIT)
        name = str(request["program"])
        telling, told = await loop.create_unix_connection(lambda: _Told(name), sock=own[2])
        try:
            async with within(seconds=START_DEADLINE_S):
                return Program(await told.began, told, stdin, stdout, unused)
        except BaseException:
            for transport in (stdin, unused, telling):
                transport.close()
            raise

    def _ask(self, request: Mapping[str, object], descriptors: Sequence[int]) -> None:
        if self._server is None or self._control is None:
            self._control, given = socket.socketpair()
            with given:
                self._server = subprocess.Popen(
                    [sys.executable, "-P", PROGRAM, str(given.fileno())], pass_fds=[given.fileno()],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
        data = json.dumps(request).encode()
        try:
            socket.send_fds(self._control, [LENGTH.pack(len(data))], descriptors)
            self._control.sendall(data)
        except OSError as error:
            raise ProgramLost(str(request["program"])) from error


class _Told(asyncio.Protocol):
    """Hears of a program's begin and end."""

    def __init__(self, program: str) -> None:
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.closed = asyncio.Event()
        self._program = program
        self._data = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            for name, number in json.loads(line).items():
                future = self.began if name == "pid" else self.ended
                if not future.done():  # nobody waits any more for one that was too slow
                    future.set_result(number)

    def connection_lost(self, _: Exception | None) -> None:
        for future in (self.began, self.ended):
            if not future.done():
                future.set_exception(ProgramLost(self._program))
                future.exception()  # it may be that nobody asks
        self.closed.set()


def _named(program: str | Path) -> dict[str, object]:
    if isinstance(program, Path):
        return {"program": str(program), "module": False}
    command = Path(sys.executable).with_name(program)
    if command.exists():
        return {"program": str(command), "module": False}
    return {"program": program, "module": True}
