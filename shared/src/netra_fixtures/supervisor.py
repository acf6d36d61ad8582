"""The process that owns a run's servers and ends them when the run lets go; `python -m netra_fixtures.supervisor`.

It is told what to do over a Unix socket in the run's directory, one JSON line a request. A worker keeps its connection
for as long as it lives: when that closes, what was started for the worker ends. The run itself holds a lock, the lease;
when it is free, nobody holds the run any more, and everything ends.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from netra_fixtures import hold
from netra_fixtures.belongings import Belongings
from netra_fixtures.errors import NetraFixturesError, ServerDied, ServicesUnavailable
from netra_fixtures.lease import ORDERLY, record_death
from netra_fixtures.services import embedded
from netra_fixtures.services.containers import Containers, ContainerServer
from netra_fixtures.services.postgres import PostgresServer
from netra_fixtures.services.process import remedy_for
from netra_fixtures.services.redis import RedisServer

Server = PostgresServer | RedisServer
Answer = dict[str, Any]
POSTGRES_DEADLINE_S = 30
REDIS_DEADLINE_S = 10
DYING_S = 1  # a process that is ending no longer answers, and isn't dead yet


class Supervisor:
    """The servers of one run, below *directory*."""

    def __init__(
        self, directory: Path, *, cache: Path | None, redis: str, time_factor: float, root: Path
    ) -> None:
        self.directory = directory
        self.time_factor = time_factor
        self.belongings = Belongings(directory.name, time_factor=time_factor)
        self.backend = embedded.Embedded(directory, cache=cache, redis=redis)
        self.containers = Containers(directory, root=root, redis=redis, patience=time_factor)
        self._servers: dict[str, Server] = {}
        self._watched: list[Server | ContainerServer] = []
        self._lease: IO[bytes] | None = None
        self._cluster: Answer = {}
        self._ending = False
        self._numbers = iter(range(1_000_000))
        self._main: list[tuple[Callable[[], Answer], list[Answer], threading.Event]] = []
        self._wanted = threading.Semaphore(0)

    # what a worker can ask for

    def op_postgres(self, owned: set[str], key: str, redis_next: str | None) -> Answer:
        """Start the run's cluster, from the cached one of this key where there is one.

        Args:
            redis_next: a worker that will ask for its Redis next, which begins to start meanwhile.
        """
        if redis_next and f"{redis_next}-redis" not in self._servers:
            with contextlib.suppress(
                ServicesUnavailable, OSError, subprocess.SubprocessError
            ):  # op_redis says why
                self._redis(redis_next, owned).launch()
        if not self._cluster:
            self._cluster = self._start("pg", self.backend.postgres("pg", key), set())
            self._watch(self._servers["pg"])
        return self._cluster

    def op_seal(self, owned: set[str], key: str) -> Answer:
        """Keep the cluster as it is, template migrated, for private servers and for later runs."""
        server = self._servers["pg"]
        assert isinstance(server, PostgresServer)
        server.stop()
        server.pristine = self.backend.keep(server.data, key)
        self._begin(server)
        self._watch(server)
        self._cluster["sealed"] = True
        return {}

    def op_redis(self, owned: set[str], worker: str) -> Answer:
        """Start the worker's own server."""
        server = self._redis(worker, owned)
        answer = self._start(f"{worker}-redis", server, owned)
        self._watch(server)
        return answer

    def _redis(self, worker: str, owned: set[str]) -> RedisServer:
        name = f"{worker}-redis"
        server = self._servers.get(name) or self.backend.redis(name)
        assert isinstance(server, RedisServer)
        owned.add(name)
        self._servers[name] = server
        return server

    def op_compose(self, owned: set[str], **wanted: Any) -> Answer:
        """Start servers in containers, which all workers share."""
        answer = self.containers.bring(**wanted)
        for server in self.containers.servers:
            if server not in self._watched:
                self._watch(server)
        return answer

    def op_private(self, owned: set[str], kind: str, key: str = "") -> Answer:
        """Start a server that one test may restart and kill."""
        name = f"private{next(self._numbers)}"
        server = self.backend.postgres(name, key) if kind == "postgres" else self.backend.redis(name)
        return self._start(name, server, owned)

    def _start(self, name: str, server: Server, owned: set[str]) -> Answer:
        began = time.monotonic()
        owned.add(name)
        self._servers[name] = server
        if isinstance(server, PostgresServer):
            server.create()
        try:
            self._begin(server)
        except ServicesUnavailable:
            if not isinstance(server, PostgresServer) or server.pristine is None or self._ending:
                raise
            server.forget_pristine()  # kept without fsync: a machine that crashed may have spoilt it
            server.create()
            self._begin(server)
        return {
            "name": name,
            "socket": str(server.socket_path),
            "sealed": isinstance(server, PostgresServer) and server.pristine is not None,
            "start_s": server.start_s if isinstance(server, RedisServer) else time.monotonic() - began,
            **self.backend.about(server),
        }

    def _begin(self, server: Server) -> None:
        """Start a server, unless the run is over."""
        if self._ending:
            raise ServicesUnavailable(server.name, "the run is over", "run the tests again")
        deadline_s = POSTGRES_DEADLINE_S if isinstance(server, PostgresServer) else REDIS_DEADLINE_S
        server.start(deadline_s=deadline_s * self.time_factor)

    def op_lend(self, owned: set[str], name: str, **about: Any) -> Answer:
        """Keep in mind what the worker has on a server that outlives it."""
        owned.add(name)
        self.belongings.note(name, about)
        return {}

    def op_returned(self, owned: set[str], name: str) -> Answer:
        """Forget it: the worker removed it."""
        owned.discard(name)
        self.belongings.forget(name)
        return {}

    def op_health(self, owned: set[str]) -> Answer:
        """Look at every server now: after a test that failed the next mustn't begin before a death is known."""
        for server in self._watched:
            process = server.process
            if process and not process.expected_to_end and not server.listens():
                code = process.wait(DYING_S)
                if code is not None:
                    self._record(server, code)
        return {}

    def op_act(self, owned: set[str], name: str, act: str, keep: bool = False) -> Answer:
        """Stop, kill or start a private server."""
        server = self._servers.get(name)
        if server is None:
            raise ServicesUnavailable(name, "it ended with its test", "ask for one in the test that uses it")
        if act == "start":
            server.start()
        elif act == "kill":
            server.kill()
        elif isinstance(server, RedisServer):
            server.stop(keep=keep)
        else:
            server.stop()
        return {}

    def op_discard(self, owned: set[str], name: str) -> Answer:
        """End a private server and remove what it stored."""
        owned.discard(name)
        self._discard(name)
        return {}

    # life

    def _watch(self, server: Server | ContainerServer) -> None:
        """Record the server's end, if it wasn't asked to end, for whoever uses it."""
        process = server.process
        assert process is not None
        if server not in self._watched:
            self._watched.append(server)

        def wait() -> None:
            code = process.wait()
            if code is not None and not process.expected_to_end:
                self._record(server, code)

        threading.Thread(target=wait, daemon=True).start()

    def _record(self, server: Server | ContainerServer, code: int) -> None:
        assert server.process is not None
        record_death(self.directory, ServerDied(server.name, code, server.process.last_lines()))

    def _discard(self, name: str) -> None:
        server = self._servers.pop(name, None)
        if server is not None:
            if server in self._watched:
                self._watched.remove(server)
            server.abandon()
            shutil.rmtree(server.directory, ignore_errors=True)

    def answer(self, owned: set[str], request: Answer) -> Answer:
        """Carry out one request on the main thread: a child dies with the thread that started it."""
        operation = str(request.pop("op"))
        answers: list[Answer] = []
        done = threading.Event()
        self._main.append((lambda: getattr(self, f"op_{operation}")(owned, **request), answers, done))
        self._wanted.release()
        done.wait()
        return answers[0]

    def release(self, owned: set[str]) -> None:
        """End what was started for a worker that has gone, and remove what it had elsewhere."""
        for name in list(owned):
            self._discard(name)
            if not self._ending and not (self._lease and hold.is_free(self._lease)):  # else all goes, at once
                self.belongings.reclaim(name)

    def serve(self, lease: IO[bytes]) -> None:
        """Answer until nobody holds the lease, then end everything and remove the directory."""
        supervisor = self
        self._lease = lease

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                owned: set[str] = set()
                try:
                    for line in self.rfile:
                        answer = supervisor.answer(owned, json.loads(line))
                        self.wfile.write(json.dumps(answer).encode() + b"\n")
                except OSError:
                    pass
                finally:
                    supervisor.release(owned)

        class ControlServer(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        control = self.directory / "control"
        server = ControlServer(str(control) + ".part", Handler)
        os.chmod(str(control) + ".part", 0o600)
        os.rename(str(control) + ".part", control)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=self._until_released, args=(lease,), daemon=True).start()
        while True:
            self._wanted.acquire()
            if self._ending:
                break
            work, answers, done = self._main.pop(0)
            answers.append(self._answered(work))
            done.set()
        for name in list(self._servers):
            self._discard(name)
        self.belongings.reclaim_all()
        self.backend.end()
        hold.remove(self.directory)

    def _answered(self, work: Callable[[], Answer]) -> Answer:
        """Do one piece of work; who asked for it hears what went wrong, and everybody else is served on."""
        try:
            return work()
        except ServerDied as error:
            record_death(self.directory, error)
            return {"died": error.service}
        except ServicesUnavailable as error:
            return {"unavailable": [error.service, error.reason, error.remedy]}
        except (NetraFixturesError, OSError, subprocess.SubprocessError) as error:
            remedy = remedy_for(str(error), self.directory / "server", "mend what it names and run again")
            return {"unavailable": ["the service", str(error), remedy]}
        except Exception as error:
            traceback.print_exc()  # into its log
            reason = f"it can't do what it was asked ({type(error).__name__}: {error})"
            return {"unavailable": ["the supervisor", reason, "ask only for what the test has now"]}

    def _until_released(self, lease: IO[bytes]) -> None:
        """Block until the run's lock is free: let go, or its holder is dead and nothing is worth finishing."""
        with contextlib.suppress(OSError):
            fcntl.lockf(lease, fcntl.LOCK_EX)
        self._ending = True
        self.containers.let_go()
        if lease.read(1) != ORDERLY:
            self.backend.hurry()
            for server in list(self._servers.values()):
                server.abandon()
        self._wanted.release()


def main() -> None:
    """Serve one run; the arguments are one JSON object on the command line."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group: the run lets go of its lease itself
    told = json.loads(sys.argv[1])
    directory = Path(told["directory"])
    try:
        lease = open(told["lease"], "r+b", buffering=0)  # noqa: SIM115  locked until the end
    except OSError:
        return  # whoever held the run is dead
    if hold.is_free(lease):
        return
    owner = hold.claim(directory)
    log = os.open(directory / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with owner:
        Supervisor(
            directory,
            cache=Path(told["cache"]) if told["cache"] else None,
            redis=told["redis"],
            time_factor=told["time_factor"],
            root=Path(told["root"]),
        ).serve(lease)


if __name__ == "__main__":
    main()
