"""`netra-gateway`: a gateway as a process of its own, told what to do by its environment."""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError
from redis.asyncio import Redis
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from netra_sessions.errors import AuthenticationUnavailable, SessionsError
from netra_sessions.gateway import Gateway
from netra_sessions.handshake import Authentication
from netra_sessions.sessions import Sessions
from netra_sessions.settings import GatewaySettings, OpenAuthentication

_ORDINARY: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
_log: Final = logging.getLogger("netra_sessions.serve")


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


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        StoreUnavailable: a store did not answer at the start.
        OSError: the address can't be had.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = create_async_engine(settings.database_url.get_secret_value(), pool_pre_ping=True)
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    try:
        await _serve(
            settings, Sessions(engine=engine, redis=redis, namespace=settings.namespace), redis, stop
        )
    finally:
        await redis.aclose()
        await engine.dispose()


async def _serve(settings: GatewaySettings, sessions: Sessions, redis: Redis, stop: asyncio.Event) -> None:
    async with sessions, _authentication(settings) as authentication:
        gateway = Gateway(
            redis=redis, namespace=settings.namespace, authentication=authentication,
            endings=sessions.endings, origins=settings.origins, host=settings.host, port=settings.port,
            policy=settings.policy,
        )  # fmt: skip
        async with gateway:
            _log.info("ready", extra={"uri": gateway.uri})
            stopping, ended = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(gateway.closed())
            await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            _log.info("draining", extra={"connections": gateway.connections})
        await ended
    _log.info("stopped")


@asynccontextmanager
async def _authentication(settings: GatewaySettings) -> AsyncIterator[Authentication]:
    """Open what the settings name.

    Raises:
        AuthenticationUnavailable: it can't be opened; whatever it raises is no error of ours.
    """
    opening: OpenAuthentication = settings.authentication
    async with AsyncExitStack() as opened:
        try:
            authentication = await opened.enter_async_context(opening(settings))
        except Exception as error:
            raise AuthenticationUnavailable(type(error).__name__) from error
        yield authentication


def main() -> int:
    """Run the gateway; 2 where it can't start for what it was told, 1 where it failed."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    try:
        settings = GatewaySettings()  # type: ignore[call-arg]  # the environment has them
    except ValidationError as error:
        wrong = [f"NETRA_GATEWAY_{'__'.join(map(str, one['loc'])).upper()}" for one in error.errors()]
        _log.error("these variables are missing or can't be read", extra={"variables": wrong})
        return 2
    try:
        asyncio.run(run(settings))
    except SessionsError as error:  # its text holds no secret
        _log.error("the gateway can't start", extra={"error": type(error).__name__, "reason": str(error)})
        return 2
    except (ArgumentError, OSError, ValueError) as error:
        _log.error("the gateway can't start", extra={"error": type(error).__name__})
        return 2
    except Exception:
        _log.exception("the gateway failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
