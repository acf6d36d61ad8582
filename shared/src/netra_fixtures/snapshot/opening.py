"""Opens the kept state of a failed test on a server for a person's own session, and removes what is kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from netra_fixtures.errors import NetraFixturesError
from netra_fixtures.isolation.connection import Database
from netra_fixtures.services.endpoint import PostgresEndpoint
from netra_fixtures.services.postgres import wheel_installation
from netra_fixtures.snapshot.keeping import (
    DUMP,
    KEYS,
    About,
    command,
    drop_left,
    find,
    folder,
    kept,
    prune,
    restore,
)

RESTORE_DEADLINE_S = 120


def listed() -> int:
    """List what is kept, newest first."""
    states = kept(folder())
    for about in states:
        print(f"{about.name}  {_moment(about)}  {about.nodeid}")
    if not states:
        print("no state of a failed test is kept; run it with --keep-failed")
    return 0


def opened(name: str, standing: Callable[[], dict[str, Any] | None]) -> int:
    """Put a kept database on the standing server, and say how to look at it.

    Args:
        standing: gives what is known of the servers, which it starts where none stand; None where they don't start.

    Raises:
        KeptStateMissing: there is none of that name.
        ServicesUnavailable: the database can't be read back.
    """
    about = find(folder(), name)
    place = folder() / name
    print(f"{about.nodeid}, failed in run {about.run}, {_moment(about)}")
    if about.server:
        print(f"database: {command(about, place)}")
    elif (place / DUMP).exists():
        servers = standing()
        if servers is None:
            return 1
        endpoint = _restored(PostgresEndpoint.from_url(servers["postgres"]), name)
        print(f"database: {wheel_installation() / 'bin' / 'psql'} {endpoint.dsn}")
    if (place / KEYS).exists():
        print(f"keys: {place / KEYS}")
    return 0


def _restored(admin: PostgresEndpoint, name: str) -> PostgresEndpoint:
    database = Database(admin, time_factor=1)
    try:
        database.drop(name)
        database.execute(f'create database "{name}" template template0')
    finally:
        database.close()
    endpoint = admin.named(name)
    restore(endpoint, folder() / name / DUMP, deadline_s=RESTORE_DEADLINE_S)
    return endpoint


def removed() -> int:
    """Remove all that is kept; a database on a server of somebody else's needs that server's address."""
    url = os.environ.get("NETRA_POSTGRES_URL")
    database: Database | None = None
    try:
        if url:
            database = Database(PostgresEndpoint.from_url(url), time_factor=1)
        stay = prune(folder(), runs=0, drop=lambda about: database is not None and drop_left(database, about))
    except (NetraFixturesError, ValueError) as error:
        print(f"NETRA_POSTGRES_URL doesn't help: {error}", file=sys.stderr)
        return 1
    finally:
        if database is not None:
            database.close()
    for about in stay:
        print(
            f"{about.name} stays on its server; set NETRA_POSTGRES_URL to that and call again",
            file=sys.stderr,
        )
    if not stay:
        print("nothing is kept any more")
    return 1 if stay else 0


def _moment(about: About) -> str:
    return f"{datetime.fromtimestamp(about.kept_at).astimezone():%Y-%m-%d %H:%M}"
