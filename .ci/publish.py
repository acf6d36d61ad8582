"""Upload from dist, to the index that NETRA_INDEX_URL names, what it doesn't have yet.

usage: publish.py [MEMBER or TAG]...; without one, all members that are more than a place.
UV_PUBLISH_USERNAME and UV_PUBLISH_PASSWORD, or UV_PUBLISH_TOKEN, say who uploads.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import build
import members
from members import Member

INDEX = "NETRA_INDEX_URL"
LOGIN = "UV_PUBLISH_USERNAME and UV_PUBLISH_PASSWORD, or UV_PUBLISH_TOKEN"
CHANGED = re.compile(r"do\s+not\s+match\s+for\s+`([^`]+)`")
DENIED = re.compile(r"status\s+code\s+40[13]\b")


class Refused(Exception):
    """Nothing more was uploaded, for the reason given."""


def main(arguments: Sequence[str], root: Path, environ: Mapping[str, str]) -> None:
    """Upload what is asked for and isn't there.

    Raises:
        Refused: nothing more was uploaded, for the reason given.
    """
    variables = index(environ)
    workspace = members.read(root)
    asked = chosen(workspace, arguments)
    files = [str(file) for member in asked for file in build.files(member, root / "dist")]
    upload("--dry-run", *files, variables=variables)  # before the first upload, so that it is all or nothing
    print(upload(*files, variables=variables), end="")


def index(environ: Mapping[str, str]) -> dict[str, str]:
    """Give uv's variables for the index: its commands would show up in logs.

    Raises:
        Refused: none is named, or not in a way that keeps the password out of logs.
    """
    url = environ.get(INDEX, "").rstrip("/")
    if not url:
        raise Refused(f"no index is named; set {INDEX} to the internal index's address, and {LOGIN}")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Refused(f"{INDEX} is no address of an index; give one that starts with https://")
    if parts.username or parts.password:
        raise Refused(f"{INDEX} holds a name or a password, which logs would show; set {LOGIN}")
    user, password = environ.get("UV_PUBLISH_USERNAME"), environ.get("UV_PUBLISH_PASSWORD")
    if token := environ.get("UV_PUBLISH_TOKEN"):
        user, password = "__token__", token
    login = f"{quote(user, safe='')}:{quote(password or '', safe='')}@" if user else ""
    simple = parts._replace(netloc=f"{login}{parts.netloc}", path=f"{parts.path}/simple/").geturl()
    return {"UV_PUBLISH_URL": f"{url}/", "UV_PUBLISH_CHECK_URL": simple}


def chosen(workspace: Mapping[str, Member], asked: Sequence[str]) -> list[Member]:
    """Find the members that are asked for, by name or by the tag of the version that stands here."""
    if not asked:
        return [member for member in workspace.values() if member.version != members.PLACEHOLDER]
    known = {name: member for member in workspace.values() for name in (member.name, member.tag)}
    for name in asked:
        if name not in known:
            raise Refused(f"{name} is neither a member nor the tag of one's version; take {', '.join(known)}")
    return [known[name] for name in asked]


def upload(*arguments: str, variables: Mapping[str, str]) -> str:
    """Let uv upload, or only look with --dry-run, and give what it said.

    Raises:
        Refused: a file is there with other bytes, or the index refuses.
    """
    done = subprocess.run(
        ("uv", "publish", "--trusted-publishing", "never", *arguments),
        env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if changed := CHANGED.findall(done.stderr):
        names = (re.sub(r"\s", "", name) for name in changed)  # long lines are broken anywhere
        raise Refused(
            f"the index has {' and '.join(names)} with other bytes; what was published stays as it is, "
            "so release a new version: nox -s release -- MEMBER patch"
        )
    if DENIED.search(done.stderr):
        raise Refused(f"the index refuses this name and password; set {LOGIN}")
    if done.returncode:
        raise Refused(f"uv publish failed: {done.stderr.partition(' Server says:')[0].strip()}")
    return done.stderr


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Path.cwd(), os.environ)
    except Refused as refused:
        sys.exit(f"publish: {refused}")
