"""The containers of one run: a project of Compose of its own, named like the run's directory."""

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

from netra_fixtures import hold
from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.services.compose import NAMES, Project, compose_file, environ_for
from netra_fixtures.services.engine import Docker
from netra_fixtures.services.process import ServerProcess

GLANCE_S = 1.0
PATIENT_S = 10.0
ANSWER_S = 1.0
# what either server answers without a login: PostgreSQL whether it has TLS, Redis even that it wants a password
KNOCKS = {"postgres": b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "redis": b"PING\r\n"}


class ContainerServer:
    """A server in a container, which `process` follows: it ends when that does, with its code and its last words."""

    def __init__(self, project: Project, service: str, log: Path) -> None:
        self.name = NAMES[service]
        self._service = service
        self._port = project.port(service)
        follow = [project.docker.program, "attach", "--no-stdin", "--sig-proxy=false"]
        self.process = ServerProcess(self.name, [*follow, project.container(service)], log=log)

    def listens(self) -> bool:
        """Tell whether the server itself answers."""
        return answers(self._service, self._port)


def answers(service: str, address: tuple[str, int]) -> bool:
    """Tell whether a server says something there: an engine takes connections for one that is dead, or hasn't begun."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=ANSWER_S) as connection:
        connection.sendall(KNOCKS[service])
        return bool(connection.recv(1))
    return False


class Containers:
    """What Compose runs for the run in *directory*, whose name is the project's.

    They are the run's too, though they lie elsewhere: whoever removes the directory removes them.

    Args:
        root: the folder whose compose.yaml counts, if it is one for the kit.
        redis: ``valkey`` or ``redis``.
        patience: multiplies every deadline.
    """

    def __init__(self, directory: Path, *, root: Path, redis: str, patience: float) -> None:
        self.servers: list[ContainerServer] = []
        self._directory = directory
        self._docker = Docker(
            {**environ_for(redis, os.environ), "NETRA_POSTGRES_PORT": "", "NETRA_REDIS_PORT": ""}
        )
        self._project = Project(compose_file(root), self._docker, name=directory.name, patience=patience)
        self._looked = False
        self._brought: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, ServicesUnavailable] = {}

    def bring(self, *, start: list[str], images: list[str], auto: bool, pull: bool) -> dict[str, Any]:
        """Start services that don't run yet; return the address of the first, and the seconds it took.

        What failed once fails again at once: the run's other workers needn't wait for it too.

        Args:
            images: of the services whose images have to be there before any starts.
            auto: an engine has a second to answer, since there is another way.
            pull: fetch images that aren't there.

        Raises:
            ServicesUnavailable: there is no engine, or it can't.
        """
        try:
            for service in start:
                if service in self._refused:
                    raise self._refused[service]
            wanted = [service for service in start if service not in self._brought]
            if wanted:
                self._look(deadline_s=GLANCE_S if auto else PATIENT_S)
                self._need_images(images, pull=pull)
                self._up(wanted)
        except ServicesUnavailable as error:
            hopeless = not self._looked or (auto and not self._brought)
            self._refused.update(dict.fromkeys(NAMES if hopeless else start, error))
            raise
        return self._brought[start[0]]

    def _look(self, *, deadline_s: float) -> None:
        if not self._looked:
            self._project.check_engine(deadline_s=deadline_s)
            self._project.services()  # a file that can't be read is told before anything starts
            self._looked = True

    def _need_images(self, services: list[str], *, pull: bool) -> None:
        missing = self._project.without_image(services)
        if missing and not pull:
            images = " and ".join(map(self._project.image, missing))
            raise ServicesUnavailable("Docker", f"it has no image {images}", "pull it")
        if missing:
            self._project.pull(missing)

    def _up(self, services: list[str]) -> None:
        logs = hold.note_containers(self._directory)
        began = time.monotonic()
        self._project.up(services)
        took = time.monotonic() - began
        for service in services:
            self.servers.append(ContainerServer(self._project, service, logs / service))
            self._brought[service] = {"url": self._project.url(service), "start_s": took}

    def let_go(self) -> None:
        """End at once what `bring` is at, from another thread: the run is over, and the containers may end."""
        for server in self.servers:
            server.process.expected_to_end = True
        self._docker.interrupt()
