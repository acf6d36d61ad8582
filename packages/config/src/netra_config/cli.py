"""`netra-config`: look at settings, change them, and find drift, from a terminal."""

import argparse
import asyncio
import getpass
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from pydantic import JsonValue
from redis.asyncio import Redis
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_config.environment import read_environment
from netra_config.errors import ConfigError, InputRefused, RevisionInvalid
from netra_config.revision import Edit, Environment, TenantId
from netra_config.secrets import Key
from netra_config.service import ConfigService
from netra_config.shown import Shown, changes, drifts, faults, revisions, values

T = TypeVar("T")
DATABASE, REDIS, KEYS = "NETRA_CONFIG_DATABASE_URL", "NETRA_CONFIG_REDIS_URL", "NETRA_CONFIG_KEYS"


def main(arguments: Sequence[str] | None = None, *, variables: Mapping[str, str] = os.environ) -> int:
    """Run one command; 1 where drift or faults were found, 2 where it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        shown, status = asyncio.run(_run(options, variables))
    except RevisionInvalid as invalid:
        print(faults(invalid.faults).text(as_json=options.json))
        return 1
    except ConfigError as error:
        print(f"netra-config: {error}", file=sys.stderr)
        return 2
    print(shown.text(as_json=options.json))
    return status


async def _run(options: argparse.Namespace, variables: Mapping[str, str]) -> tuple[Shown, int]:
    schema = _schema(options.schema)
    layer = read_environment(schema, files=tuple(options.file), variables=variables)
    keys = [Key.read(text) for text in variables.get(KEYS, "").split()]
    async with AsyncExitStack() as opened:
        engine = _addressed(variables, DATABASE, "postgresql+asyncpg://…", _engine)
        opened.push_async_callback(engine.dispose)
        redis = _addressed(variables, REDIS, "redis://…", Redis.from_url)
        opened.push_async_callback(redis.aclose)
        service: ConfigService[Any] = ConfigService(
            schema, environment=Environment(options.environment), engine=engine, redis=redis,
            namespace=options.namespace, keys=keys, values=layer,
        )  # fmt: skip
        done: tuple[Shown, int] = await _COMMANDS[options.command](service, options)
        return done


async def _show(service: ConfigService[Any], options: argparse.Namespace) -> tuple[Shown, int]:
    await service.load()
    tenant = None if options.tenant is None else TenantId(options.tenant)
    return values(service.layers(tenant), service.version), 0


async def _diff(service: ConfigService[Any], options: argparse.Namespace) -> tuple[Shown, int]:
    after = options.after if options.after is not None else _newest(await service.history(limit=1))
    before = options.before if options.before is not None else max(0, after - 1)
    return changes(await service.compare(before, after), f"version {before} to {after}"), 0


async def _set(service: ConfigService[Any], options: argparse.Namespace) -> tuple[Shown, int]:
    if [text.partition("=")[2] for text in options.values].count("-") > 1:
        raise InputRefused("a change with several dashes", "read one value from stdin at a time")
    edit = Edit(
        set=dict(map(_assignment, options.values)),
        unset=tuple(options.unset),
        tenant=None if options.tenant is None else TenantId(options.tenant),
        flags=dict(map(_assignment, options.flag)),
    )
    if options.dry_run:
        proposal = await service.propose(edit)
        if proposal.faults:
            return faults(proposal.faults), 1
        return changes(proposal.differences, f"would change version {proposal.base}"), 0
    if options.base is None:
        raise InputRefused("a change without --base", "give the version that you looked at")
    signed = {"author": options.author, "reason": options.reason}
    return revisions([await service.commit(edit, base=options.base, **signed)]), 0


async def _rollback(service: ConfigService[Any], options: argparse.Namespace) -> tuple[Shown, int]:
    signed = {"author": options.author, "reason": options.reason}
    return revisions([await service.rollback(options.to, base=options.base, **signed)]), 0


async def _drift(service: ConfigService[Any], options: argparse.Namespace) -> tuple[Shown, int]:
    found = await service.drift(against=None if options.against is None else Environment(options.against))
    return drifts(found), 1 if found else 0


async def _history(service: ConfigService[Any], options: argparse.Namespace) -> tuple[Shown, int]:
    return revisions(await service.history(limit=options.limit)), 0


_COMMANDS: dict[str, Any] = {
    "show": _show, "diff": _diff, "set": _set, "rollback": _rollback, "drift": _drift, "history": _history,
}  # fmt: skip


def _author() -> str:
    """Name whoever types; a container's user may have a number alone."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netra-config", description="Look at settings, change them, and find drift.",
        epilog=f"Addresses stand in {DATABASE} and {REDIS}, keys in {KEYS}: <environment>/<name>=<base64>, by spaces.",
    )  # fmt: skip
    environments = [one.value for one in Environment]
    parser.add_argument("--schema", required=True, metavar="module:Model", help="the team's model")
    parser.add_argument("--environment", required=True, choices=environments)
    parser.add_argument("--namespace", default="netra")
    parser.add_argument(
        "--file", action="append", type=Path, default=[], help="a .toml, .json or .env of the environment"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", required=True)

    show = commands.add_parser("show", help="what is set, and by which layer; secrets masked")
    show.add_argument("--tenant")
    diff = commands.add_parser("diff", help="what is different between two versions; the last two without")
    diff.add_argument("before", type=int, nargs="?")
    diff.add_argument("after", type=int, nargs="?")
    change = commands.add_parser(
        "set", help="make a revision: limits.retries=5, database.password=- reads stdin"
    )
    change.add_argument("values", nargs="*", metavar="path=value")
    change.add_argument("--unset", action="append", default=[], metavar="path")
    change.add_argument("--flag", action="append", default=[], metavar="name=JSON")
    change.add_argument("--tenant")
    change.add_argument("--dry-run", action="store_true", help="tell what would change, and every fault")
    back = commands.add_parser("rollback", help="make a revision with the text of a former one")
    back.add_argument("to", type=int)
    for one in (change, back):
        one.add_argument("--base", type=int, required=one is back, help="the version that you looked at")
        one.add_argument("--reason", default="")
        one.add_argument("--author", default=_author())
    drift = commands.add_parser("drift", help="where schema, store, files and processes disagree")
    drift.add_argument("--against", choices=environments, help="compare with another environment too")
    history = commands.add_parser("history", help="who changed what, when and why")
    history.add_argument("--limit", type=int, default=20)
    return parser


def _assignment(text: str) -> tuple[str, JsonValue]:
    """Read ``path=value``, the value as JSON where it is some, else as text; a lone dash reads stdin."""
    path, equals, value = text.partition("=")
    if not equals:
        raise InputRefused("a change without =", "write path=value")
    if value == "-":
        return path, sys.stdin.read().removesuffix("\n")
    try:
        read: JsonValue = json.loads(value)
    except (ValueError, RecursionError):
        return path, value
    return path, read


def _schema(name: str) -> type:
    module, _, model = name.partition(":")
    if (folder := os.getcwd()) not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does: a team's model need not be installed
    try:
        found: Any = getattr(importlib.import_module(module), model)
    except (ImportError, AttributeError, ValueError):
        raise InputRefused("the schema", "name it as module:Model") from None
    if not isinstance(found, type):
        raise InputRefused("the schema", "name a model")
    return found


def _addressed(variables: Mapping[str, str], name: str, form: str, connect: Callable[[str], T]) -> T:
    """Make a client of the address in the variable *name*; the address holds a password, and is not shown."""
    address = variables.get(name, "")
    try:
        return connect(address)
    except (ArgumentError, ValueError):
        raise InputRefused(f"the address in {name}", f"write it as {form}") from None


def _engine(address: str) -> AsyncEngine:
    if make_url(address).drivername != "postgresql+asyncpg":
        raise ArgumentError
    return create_async_engine(address)


def _newest(history: Sequence[Any]) -> int:
    return int(history[0].version) if history else 0
