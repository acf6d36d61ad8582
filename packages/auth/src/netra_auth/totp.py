"""One-time passwords that follow from a shared secret and the time; pure."""

import base64
import hmac
from enum import StrEnum
from urllib.parse import quote, urlencode

from pydantic import BaseModel, Field


class Hash(StrEnum):
    """The hash functions that RFC 6238 names."""

    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"


class Totp(BaseModel, frozen=True, extra="forbid"):
    """How codes are made. The defaults are those that every authenticator app knows.

    Source:
        RFC 6238, section 4; a drift of one step by its section 5.2.
    """

    hash: Hash = Hash.SHA1
    digits: int = Field(default=6, ge=6, le=8)
    step_seconds: int = Field(default=30, ge=1, le=300)
    drift_steps: int = Field(default=1, ge=0, le=10)

    def step(self, unix_time: float) -> int:
        """Return the step that an instant falls in."""
        return int(unix_time // self.step_seconds)

    def code(self, secret: bytes, step: int) -> str:
        """Return the code of a step.

        Source:
            RFC 4226, section 5.3.
        """
        mac = hmac.digest(secret, step.to_bytes(8, "big"), self.hash.value.lower())
        offset = mac[-1] & 0xF
        number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
        return str(number % 10**self.digits).zfill(self.digits)

    def matched(self, secret: bytes, code: str, unix_time: float) -> int | None:
        """Return the latest step near *unix_time* whose code this is, in constant time, or None."""
        now = self.step(unix_time)
        near = range(max(0, now - self.drift_steps), now + self.drift_steps + 1)
        fits = [hmac.compare_digest(self.code(secret, step).encode(), _bytes(code)) for step in near]
        return max((step for step, fit in zip(near, fits, strict=True) if fit), default=None)

    def looks_right(self, code: str) -> bool:
        """Tell whether it is as many ASCII digits as a code has."""
        return len(code) == self.digits and code.isascii() and code.isdigit()

    def uri(self, secret: bytes, *, issuer: str, name: str) -> str:
        """Return what authenticator apps read from a picture.

        Source:
            Key Uri Format, as Google Authenticator documents it.
        """
        label = f"{quote(issuer, safe='')}:{quote(name, safe='@')}"
        what = {"secret": base32(secret), "issuer": issuer, "algorithm": self.hash.value}
        how = {"digits": self.digits, "period": self.step_seconds}
        return f"otpauth://totp/{label}?{urlencode(what | how, quote_via=quote)}"


def base32(secret: bytes) -> str:
    """Write a secret the way people type it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def _bytes(code: str) -> bytes:
    return code.encode("utf-8", "surrogatepass")
