"""Access tokens for the tests of the gateway: signed, verified in memory, refused by an error of their own."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from netra_sessions import Authentication
from netra_sessions.settings import GatewaySettings


class TokenRefused(Exception):
    """The token opens nothing."""


@dataclass(frozen=True)
class Principal:
    """Whom a token speaks for."""

    user: str
    session: str
    expires_at: datetime


class Tokens:
    """Signs tokens and verifies them, as the platform's own verifier does."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def sign(self, user: str, session: str, *, lasting: timedelta = timedelta(hours=1)) -> str:
        """Sign a token for a session of *user*."""
        claims = {"user": user, "session": session, "exp": (datetime.now(UTC) + lasting).timestamp()}
        payload = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        return f"{payload}.{self._seal(payload)}"

    def verify(self, token: str) -> Principal:
        """Return whom *token* speaks for.

        Raises:
            TokenRefused: it was not signed by this key, or is too old.
        """
        payload, _, seal = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(seal, self._seal(payload)):
            raise TokenRefused
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        if expires_at <= datetime.now(UTC):
            raise TokenRefused
        return Principal(claims["user"], claims["session"], expires_at)

    def _seal(self, payload: str) -> str:
        return hmac.new(self.key, payload.encode(), hashlib.sha256).hexdigest()


@asynccontextmanager
async def authentication(settings: GatewaySettings) -> AsyncIterator[Authentication]:
    """Give the verifier to a gateway that runs as a process; its key stands in the file of keys."""
    assert settings.keys_file is not None
    yield Authentication(Tokens(settings.keys_file.read_bytes()), refusals=(TokenRefused,))
