"""Containers from compose.yaml: one project of Docker Compose, brought up, asked for its addresses, taken down."""

import contextlib
import json
import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.services.engine import Docker, Said

SHIPPED = Path(__file__).with_name("compose.yaml")
PORTS = {"postgres": 5432, "redis": 6379}
NAMES = {"postgres": "PostgreSQL", "redis": "Redis"}
REDIS_IMAGES = {"redis": "redis:8-alpine"}  # valkey's is the file's own
LOOK_S = 10.0
PULL_S = 50.0
CREATE_S = 20.0
HEALTHY_S = 40
MARGIN_S = 5.0
DOWN_S = 20.0
TAKEN = re.compile(r"127\.0\.0\.1:(\d+).*(?:already allocated|already in use)")


def compose_file(root: Path) -> Path:
    """Choose the file: the one that the kit ships, or the one in *root* where that was made for the kit.

    A project may well have a compose.yaml of its own, for something else; one made for the kit publishes the ports that
    the kit's variables name.
    """
    own = root / "compose.yaml"
    try:
        made_for_us = "NETRA_POSTGRES_PORT" in own.read_text(errors="replace")
    except OSError:
        made_for_us = False
    return own if made_for_us else SHIPPED


def environ_for(redis: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment in which the file means the engine *redis*; an image that the user named stays."""
    image = REDIS_IMAGES.get(redis)
    return {**({"NETRA_REDIS_IMAGE": image} if image else {}), **environ}


class Project:
    """One project of *file*, called *name*, or as the file says.

    Args:
        patience: multiplies every deadline.
    """

    def __init__(self, file: Path, docker: Docker, *, name: str | None = None, patience: float = 1) -> None:
        self.file = file
        self.docker = docker
        self._named = ("--project-name", name) if name else ()
        self._patience = patience
        self._services: dict[str, Any] | None = None

    def compose(self, *arguments: str, deadline_s: float, uninterrupted: bool = False) -> Said:
        """Have Compose do something with the project."""
        return self.docker.call(
            "compose", *self._named, "--file", str(self.file), *arguments,
            deadline_s=deadline_s * self._patience, uninterrupted=uninterrupted,
        )  # fmt: skip

    def services(self) -> dict[str, Any]:
        """Read the file as Compose understands it: services by name.

        Raises:
            ServicesUnavailable: it can't be read, or there is no Compose.
        """
        if self._services is None:
            said = self.compose("config", "--format", "json", deadline_s=LOOK_S)
            if said.code and self.docker.call("compose", "version", deadline_s=LOOK_S).code:
                raise ServicesUnavailable(
                    "Docker Compose",
                    "docker has no Compose plugin",
                    "install docker-compose-plugin (2.17 or newer), or use --services=embedded",
                )
            if said.code:
                raise ServicesUnavailable("Docker Compose", f"{self.file}: {said.why}", "mend the file")
            self._services = json.loads(said.out)["services"]
        return self._services

    def check_engine(self, *, deadline_s: float = LOOK_S) -> None:
        """Make sure that an engine answers.

        Raises:
            ServicesUnavailable: none does.
        """
        said = self.docker.call("version", "--format", "{{.Server.Version}}", deadline_s=deadline_s)
        if said.code:
            raise ServicesUnavailable(
                "Docker", f"no engine answers: {said.why}", "start Docker, or use --services=embedded"
            )

    def without_image(self, services: Sequence[str]) -> list[str]:
        """Give those of the services whose image the engine doesn't have.

        Raises:
            ServicesUnavailable: the file has no such service.
        """
        return [
            service
            for service in services
            if self.docker.call(
                "image", "inspect", "--format", "{{.Id}}", self.image(service), deadline_s=LOOK_S
            ).code
        ]

    def image(self, service: str) -> str:
        """Give the name of a service's image.

        Raises:
            ServicesUnavailable: the file has no such service.
        """
        try:
            return str(self.services()[service]["image"])
        except KeyError:
            raise ServicesUnavailable(
                NAMES[service], f"{self.file} names no image for a service {service!r}", "add one"
            ) from None

    def pull(self, services: Sequence[str]) -> None:
        """Fetch the images of services.

        Raises:
            ServicesUnavailable: one can't be fetched.
        """
        said = self.compose("pull", "--quiet", *services, deadline_s=PULL_S)
        if said.code:
            images = " and ".join(map(self.image, services))
            raise ServicesUnavailable(
                "Docker",
                f"it doesn't have {images} and can't pull: {said.why}",
                "pull by hand, or name other images with NETRA_POSTGRES_IMAGE and NETRA_REDIS_IMAGE",
            )

    def up(self, services: Sequence[str]) -> None:
        """Start the services and return once all are healthy.

        Raises:
            ServicesUnavailable: one isn't in time, or can't be started at all.
        """
        healthy_s = round(HEALTHY_S * self._patience)
        # apart: a container that the engine is asked for may come after a `down` if nobody waits for the answer
        said = self.compose("create", "--pull", "never", *services, deadline_s=CREATE_S, uninterrupted=True)
        if not said.code:
            said = self.compose(
                "up", "--detach", "--wait", "--wait-timeout", str(healthy_s), "--pull", "never", *services,
                deadline_s=HEALTHY_S + MARGIN_S,
            )  # fmt: skip
        if not said.code:
            return
        taken = TAKEN.search(said.err)
        if taken:
            raise ServicesUnavailable(
                "Docker",
                f"port {taken[1]} of 127.0.0.1 is taken",
                "end what listens there, or set NETRA_POSTGRES_PORT or NETRA_REDIS_PORT to a free one",
            )
        for service in services:
            self._check_health(service, healthy_s)
        raise ServicesUnavailable("Docker Compose", said.why, f"see {self.file}")

    def _check_health(self, service: str, healthy_s: int) -> None:
        """Name the service that isn't healthy, with what it said last."""
        container = self.container(service)
        if not container:
            return
        state = self.docker.call(
            "inspect", "--format", "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}",
            container, deadline_s=LOOK_S,
        ).out.split()  # fmt: skip
        if state != ["running", "healthy"]:
            found = (
                "it ended" if state[:1] == ["exited"]
                else "its health check fails" if state[1:] == ["unhealthy"]
                else f"it isn't healthy after {healthy_s} s"
            )  # fmt: skip
            raise ServicesUnavailable(
                NAMES[service],
                f"{found}; its last log lines: {last_lines(self.docker, container)}",
                f"see its command and its health check in {self.file}",
            )

    def container(self, service: str) -> str:
        """Give the id of a service's container; empty where there is none."""
        return self.compose("ps", "--all", "--quiet", service, deadline_s=LOOK_S).out.strip()

    def port(self, service: str) -> tuple[str, int]:
        """Give the host and port of a service that is up.

        Raises:
            ServicesUnavailable: it has none, or none that leads there from here.
        """
        said = self.compose("port", service, str(PORTS[service]), deadline_s=LOOK_S)
        host, _, port = said.out.strip().rpartition(":")
        if said.code or not port:
            raise ServicesUnavailable(NAMES[service], f"it has no port: {said.why}", f"see {self.file}")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_S).close()
        except OSError as error:
            raise ServicesUnavailable(
                NAMES[service],
                f"its container is healthy and {host}:{port} says {error}",
                "use an engine on this machine, or --services=external with an address that leads there",
            ) from error
        return host, int(port)

    def url(self, service: str) -> str:
        """Give the address of a service that is up, login included.

        Raises:
            ServicesUnavailable: it has none, or none that leads there from here.
        """
        host, port = self.port(service)
        if service == "redis":
            return f"redis://{host}:{port}/0"
        told = self.services()["postgres"].get("environment") or {}
        user = told.get("POSTGRES_USER") or "postgres"
        login = f"{quote(user, safe='')}:{quote(told.get('POSTGRES_PASSWORD') or '', safe='')}"
        return f"postgresql://{login}@{host}:{port}/{quote(told.get('POSTGRES_DB') or user, safe='')}"

    def down(self) -> None:
        """Remove the project's containers and what they stored.

        Raises:
            ServicesUnavailable: the engine didn't.
        """
        remove(self.docker, *self._named, "--file", str(self.file))


def last_lines(docker: Docker, container: str, count: int = 5) -> str:
    """Give the last lines of a container's log in one."""
    said = docker.call("logs", "--tail", str(count), container, deadline_s=LOOK_S)
    lines = (said.out + said.err).strip().splitlines()
    return " | ".join(line.strip() for line in lines[-count:]) or "its log is empty"


def remove(docker: Docker, *project: str) -> None:
    """Remove a project's containers and what they stored; its file needn't be there any more.

    Args:
        project: what names it to Compose, ``--project-name`` and a name for one.

    Raises:
        ServicesUnavailable: the engine didn't.
    """
    said = docker.call(
        "compose", *project, "down", "--volumes", "--remove-orphans", "--timeout", "0", deadline_s=DOWN_S
    )
    if said.code:
        raise ServicesUnavailable("Docker Compose", said.why, f"run docker compose {' '.join(project)} down")


def remove_of_run(name: str) -> None:
    """Remove the containers of a run that is over; an engine that is gone took them along."""
    with contextlib.suppress(ServicesUnavailable, OSError, subprocess.SubprocessError):
        remove(Docker(os.environ), "--project-name", name)
