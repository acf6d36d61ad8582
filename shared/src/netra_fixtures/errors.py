"""Failures of the kit, each with its remedy.

NetraFixturesError
├── ServicesUnavailable      a server can't be found or started
│   └── AddressUnusable      the server at an address that was given can't be used
├── ServerDied               a server ended while tests used it
├── ServiceUntouched         a test asked for a service and sent it nothing
├── FlushRefused             a test would empty a Redis that others use
├── ValueMissing             an integration test doesn't say for whom it matters
├── MigrationFailed          the template database can't be built
├── Leaked                   a test left something open
├── DatabaseDefinitionChanged  a test changed tables outside a database of its own
├── KeptStateMissing         no state of a failed test is kept under that name
├── ReportMissing            a folder holds no report that this version reads
├── ReportsDontMerge         several reports are not parts of one run
└── SettingInvalid           an option or NETRA_* variable can't be read
"""

from collections.abc import Sequence
from pathlib import Path


class NetraFixturesError(Exception):
    """Base of every error that netra_fixtures raises on purpose."""


class ServicesUnavailable(NetraFixturesError):
    """A real server can't be found or started."""

    def __init__(self, service: str, reason: str, remedy: str) -> None:
        super().__init__(f"{service} is not available: {reason}; {remedy}")
        self.service = service
        self.reason = reason
        self.remedy = remedy


class AddressUnusable(ServicesUnavailable):
    """The server at an address that was given can't be used; nothing stands in for it."""


class ServerDied(NetraFixturesError):
    """A server that the tests share ended while they ran."""

    def __init__(self, service: str, code: int | None, log: str) -> None:
        how = "" if code is None else f" with {code}"
        super().__init__(f"{service} ended{how} during the run; its last log lines: {log}")
        self.service = service
        self.code = code
        self.log = log


class ServiceUntouched(NetraFixturesError):
    """A test asked for a service and sent it nothing, so it proved nothing about it."""

    def __init__(self, services: tuple[str, ...]) -> None:
        super().__init__(
            f"the test asks for {' and '.join(services)} and sends it nothing; "
            "use it, or drop the fixture or base class that brings it"
        )
        self.services = services


class FlushRefused(NetraFixturesError):
    """A test would empty the Redis that it is given, which may be others' too."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"{command} would also empty what others keep where the server is shared; "
            "delete the keys below `namespace`, or ask for `private_redis` and flush that"
        )


class ValueMissing(NetraFixturesError):
    """An integration test doesn't say for whom it matters."""

    def __init__(self, nodeid: str) -> None:
        super().__init__(
            f"{nodeid}: an integration test says for whom it matters; "
            "add @business_value(tier=…, goals={…}, impact='…') to it, its class or its module"
        )
        self.nodeid = nodeid


class MigrationFailed(NetraFixturesError):
    """The migrations of a schema failed, so no test database can be built."""

    def __init__(
        self, name: str, reason: str, remedy: str = "run them by hand against an empty database"
    ) -> None:
        super().__init__(f"the migrations {name!r} failed: {reason}; {remedy}")
        self.name = name


class Leaked(NetraFixturesError):
    """A test left something open, which would have been the next test's."""

    def __init__(self, leaks: Sequence[str]) -> None:
        named = "; ".join(leaks)
        super().__init__(f"the test left open: {named}; close it in the test or in the fixture that opens it")
        self.leaks = tuple(leaks)


class DatabaseDefinitionChanged(NetraFixturesError):
    """A test changed tables in the database that all tests of its worker share."""

    def __init__(self) -> None:
        super().__init__(
            "the test ran CREATE, ALTER, DROP or the like in the worker's database; mark it @pytest.mark.fresh_database"
        )


class KeptStateMissing(NetraFixturesError):
    """No state of a failed test is kept under that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no state is kept as {name!r}; run the test with --keep-failed, and see the list: open"
        )
        self.name = name


class ReportMissing(NetraFixturesError):
    """A folder holds no report that this version can read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} holds no report that can be read; name the folder with report.json")
        self.folder = folder


class ReportsDontMerge(NetraFixturesError):
    """Several reports are not parts of one run."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the reports can't be merged: {reason}; merge each shard of one run, once")
        self.reason = reason


class SettingInvalid(NetraFixturesError):
    """An option, an ini value or a NETRA_* variable can't be read."""

    def __init__(self, name: str, reason: str, remedy: str) -> None:
        super().__init__(f"{name}: {reason}; {remedy}")
        self.name = name
