"""An internal package index on this machine: a real pypiserver that asks who is there."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LOGIN = {"UV_PUBLISH_USERNAME": "team", "UV_PUBLISH_PASSWORD": "s3cret/@:%"}
SERVE = """
import pathlib, sys, wsgiref.simple_server
import pypiserver

root, user, password = sys.argv[1:]
app = pypiserver.app(
    roots=[pathlib.Path(root)], authenticate=["update", "list", "download"], disable_fallback=True,
    auther=lambda *given: given == (user, password),
)
server = wsgiref.simple_server.make_server("127.0.0.1", 0, app)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Index:
    """The index at *url*, which keeps its files in *folder*."""

    url: str
    folder: Path

    @property
    def files(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.folder.iterdir()}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Serve an empty index, for upload and download by whom `LOGIN` names."""
    folder = tmp_path / "index"
    folder.mkdir()
    with (tmp_path / "index.log").open("w") as log:
        command = [sys.executable, "-W", "ignore", "-c", SERVE, str(folder), *LOGIN.values()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server:
            assert server.stdout is not None
            port = server.stdout.readline().strip()  # said once it listens; nothing where it died
            try:
                assert port, (tmp_path / "index.log").read_text()
                yield Index(f"http://127.0.0.1:{port}", folder)
            finally:
                server.kill()
