"""Who may open a connection: decided before the upgrade, in memory, with no word on why not."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers, MultipleValuesError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from netra_sessions.errors import SessionsError
from netra_sessions.events import order
from netra_sessions.screen import Caller, Screen
from netra_sessions.session import UserId, check_user

PATH: Final = "/events"
PROTOCOL: Final = Subprotocol("netra.events.v1")
BEARER_PROTOCOL: Final = "netra.bearer."
"""A browser, which can't set headers, offers this with its token appended, beside `PROTOCOL`."""
_log: Final = logging.getLogger("netra_sessions.gateway")


class Verifier(Protocol):
    """Verifies tokens in memory; `netra_auth.Verifier` is one."""

    def verify(self, token: str, /) -> Caller:
        """Return whom *token* speaks for, or raise one of the refusals that the gateway was told of."""


@dataclass(frozen=True)
class Authentication:
    """A verifier, and the exceptions by which it refuses a token; any other lets nobody in either."""

    verifier: Verifier
    refusals: tuple[type[Exception], ...]


class Refused(SessionsError):
    """The handshake ends with this status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(f"the handshake was refused: {status.phrase}")
        self.status = status


class Door:
    """Lets callers in whose token holds, from the origins listed; a client without an origin is no browser.

    Args:
        frames_per_second: what each may send.
        unread_limit_bytes: what may lie written and unread for one who goes on sending.
    """

    def __init__(
        self,
        authentication: Authentication,
        *,
        origins: Iterable[str],
        frames_per_second: float,
        unread_limit_bytes: int,
    ) -> None:
        self._authentication = authentication
        self._origins = frozenset(origins)
        self._frames_per_second = frames_per_second
        self._unread_limit_bytes = unread_limit_bytes
        self.shut = False

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Let the caller in, or say what the HTTP status says and no more."""
        assert isinstance(connection, Screen)
        connection.frames_per_second = self._frames_per_second
        connection.unread_limit_bytes = self._unread_limit_bytes
        try:
            connection.caller, connection.after = self.admit(request)
        except Refused as refused:
            if refused.__cause__ is not None:
                _log.error("tokens can't be verified", extra={"error": type(refused.__cause__).__name__})
            response = connection.respond(refused.status, refused.status.phrase + "\n")
            if refused.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        return None

    def admit(self, request: Request) -> tuple[Caller, bytes | None]:
        """Return who calls, and the position after which they want their events.

        Raises:
            Refused: with what to answer.
        """
        if self.shut:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            origin, token = request.headers.get("Origin"), _token(request.headers)
        except MultipleValuesError:
            raise Refused(HTTPStatus.BAD_REQUEST) from None
        if origin is not None and origin not in self._origins:
            raise Refused(HTTPStatus.FORBIDDEN)
        if token is None:
            raise Refused(HTTPStatus.UNAUTHORIZED)
        try:
            caller = self._authentication.verifier.verify(token)
        except self._authentication.refusals:
            raise Refused(HTTPStatus.UNAUTHORIZED) from None
        except Exception as error:  # whatever it is, nobody gets in
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE) from error
        try:
            check_user(UserId(caller.user))
        except ValueError:
            raise Refused(HTTPStatus.UNAUTHORIZED) from None
        return caller, _after(request.path)


def _token(headers: Headers) -> str | None:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme:
        return token.strip() if scheme.lower() == "bearer" else None
    offered = [one.strip() for one in ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")]
    tokens = [one.removeprefix(BEARER_PROTOCOL) for one in offered if one.startswith(BEARER_PROTOCOL)]
    return tokens[0] if len(tokens) == 1 else None


def _after(target: str) -> bytes | None:
    try:
        parts = urlsplit(target)
    except ValueError:
        raise Refused(HTTPStatus.NOT_FOUND) from None
    if parts.path != PATH:
        raise Refused(HTTPStatus.NOT_FOUND)
    query: dict[str, list[Any]] = parse_qs(parts.query, keep_blank_values=True)
    asked = query.get("after")
    if asked is None:
        return None
    try:
        milliseconds, number = order(asked[-1])
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST) from None
    return b"%d-%d" % (milliseconds, number)
