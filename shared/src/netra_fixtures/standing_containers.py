"""The containers of a person's own session: started, named and removed with ``standing``."""

import os
from pathlib import Path

from netra_fixtures.errors import ServicesUnavailable
from netra_fixtures.services import engine
from netra_fixtures.services.compose import PORTS, Project, compose_file, environ_for


class StandingContainers:
    """The project of compose.yaml, at the ports that the file gives; whoever starts it by hand has the same.

    Args:
        redis: ``valkey`` or ``redis``.
    """

    def __init__(self, redis: str) -> None:
        docker = engine.Docker(environ_for(redis, os.environ))
        self._project = Project(compose_file(Path.cwd()), docker)

    def stands(self) -> list[str]:
        """Name the images of the containers that run."""
        listed = self._project.compose("ps", "--format", "{{.Image}}", deadline_s=10)
        return listed.out.split() if listed.code == 0 else []

    def up(self) -> int:
        """Start what doesn't run yet and print what to export.

        Raises:
            ServicesUnavailable: it can't be started; nothing that wasn't there before is left.
        """
        self._project.check_engine()
        stood = self.stands()
        missing = self._project.without_image(list(PORTS))
        if missing:
            self._project.pull(missing)
        try:
            self._project.up(list(PORTS))
        except ServicesUnavailable:
            if not stood:
                self._project.down()
            raise
        return self.urls()

    def down(self) -> int:
        """Remove the containers."""
        self._project.check_engine()
        stood = self.stands()
        self._project.down()
        print("the servers are down" if stood else "no servers stand")
        return 0

    def status(self) -> int:
        """Say what stands; 1 where nothing does."""
        self._project.check_engine()
        images = " and ".join(sorted(self.stands()))
        print(f"{images} stand in containers" if images else "no servers stand; start them with up")
        return 0 if images else 1

    def urls(self) -> int:
        """Print what to export so that tests and tools use the servers.

        Raises:
            ServicesUnavailable: none stand.
        """
        self._project.check_engine()
        if not self.stands():
            raise ServicesUnavailable("the session", "no servers stand", "start them with up")
        postgres, redis = map(self._project.url, PORTS)
        print(f"export NETRA_POSTGRES_URL={postgres}\nexport NETRA_REDIS_URL={redis}")
        return 0
