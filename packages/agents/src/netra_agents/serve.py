"""`netra-agents worker`: a worker as a process of its own, told what to do by its environment."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError
from redis.asyncio import Redis
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from netra_agents.errors import AgentsError
from netra_agents.settings import OpenEquipment, WorkerSettings
from netra_agents.worker import Worker

_ORDINARY: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
_log: Final = logging.getLogger("netra_agents.serve")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and what else the record was given."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record; of an exception its type alone, since its text may quote what came in."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


async def run(settings: WorkerSettings) -> None:
    """Carry runs until SIGTERM or SIGINT; those that go on then get the policy's grace, and are left to others.

    Raises:
        EngineUnavailable: the schema is missing or old.
        StoreUnavailable: PostgreSQL did not answer at the start.
        RuntimeError: the worker can't go on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = create_async_engine(settings.database_url.get_secret_value())
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    opening: OpenEquipment = settings.equipment
    try:
        async with opening(settings) as equipment:
            worker = Worker(
                plans=equipment.plans, engine=engine, redis=redis, namespace=settings.namespace,
                sink=equipment.sink, tools=equipment.tools, policy=settings.policy,
            )  # fmt: skip
            async with worker:
                _log.info("ready", extra={"worker": str(worker.id)})
                await _until(stop, worker)
                _log.info("leaving")
    finally:
        await redis.aclose()
        await engine.dispose()
    _log.info("stopped")


async def _until(stop: asyncio.Event, worker: Worker) -> None:
    """Wait until the worker is told to stop, or can't go on."""
    stopping, failing = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(worker.failed())
    await asyncio.wait([stopping, failing], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    failing.cancel()
    if failing.done() and not failing.cancelled():
        failing.result()


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; 2 where it can't start for what it was told, 1 where it failed."""
    parser = argparse.ArgumentParser(prog="netra-agents", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "what", choices=["worker"], help="carry runs until SIGTERM; NETRA_AGENTS_… says whose"
    )
    parser.parse_args(arguments)
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    try:
        settings = WorkerSettings()  # type: ignore[call-arg]  # the environment has them
    except ValidationError as error:
        wrong = [f"NETRA_AGENTS_{'__'.join(map(str, one['loc'])).upper()}" for one in error.errors()]
        _log.error("these variables are missing or can't be read", extra={"variables": wrong})
        return 2
    try:
        asyncio.run(run(settings))
    except AgentsError as error:  # its text holds no secret
        _log.error("the worker can't start", extra={"error": type(error).__name__, "reason": str(error)})
        return 2
    except (ArgumentError, OSError, ValueError) as error:
        _log.error("the worker can't start", extra={"error": type(error).__name__})
        return 2
    except Exception:
        _log.exception("the worker failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
