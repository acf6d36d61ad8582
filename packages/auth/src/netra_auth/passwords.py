"""Which passwords may be set, how they are stored, and whether one fits what is stored; pure."""

import base64
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from netra_auth.email import Email, local_part
from netra_auth.errors import PasswordFault, PasswordRefused
from netra_auth.secret_lists import SecretList, entries

ROUNDS_AT_LEAST = 100_000
_LONGEST = 4096  # code points that a policy may allow
_DECOMPOSED = 4  # code points as typed that normalisation may make one of
_SALT_BYTES = 16
_SCHEME = "pbkdf2-sha256"


class PasswordPolicy(BaseModel, frozen=True, extra="forbid"):
    """What a password must be to be set, and how costly it is to guess.

    `blocklist` is a set, or a file with an entry a line, plain or gzip; unless given, the list that comes with
    Django. Lengths are in code points after normalisation. There are no rules of composition.

    Raises:
        SecretListMissing: the blocklist can't be read.
        ValueError: fewer than 100,000 rounds, or lengths beyond what is allowed here.

    Source:
        NIST SP 800-63B-4, section 3.1.1.2; rounds by the OWASP Password Storage Cheat Sheet.
    """

    blocklist: SecretList | None = Field(default=None, repr=False)
    minimum_length: int = Field(default=8, ge=8, le=64)
    maximum_length: int = Field(default=256, ge=64, le=_LONGEST)
    rounds: int = Field(default=600_000, ge=ROUNDS_AT_LEAST, le=100_000_000)

    @cached_property
    def blocked(self) -> frozenset[str]:
        """The entries of the blocklist, in the form in which passwords are compared with them."""
        return frozenset(_folded(entry.decode("utf-8", "replace")) for entry in entries(self.blocklist))

    @model_validator(mode="after")
    def _read(self) -> Self:
        """Read the blocklist at once: a file that is missing stops the start, not a registration."""
        _ = self.blocked
        return self

    def check(self, password: SecretStr, email: Email) -> None:
        """Refuse a password that must not be set for the account of *email*.

        Raises:
            PasswordRefused: `fault` says why.
        """
        text = _text(password)
        if any(unicodedata.category(character) == "Cn" for character in text):
            raise PasswordRefused(PasswordFault.UNUSABLE)  # a later Unicode may normalise it otherwise
        if len(text) < self.minimum_length:
            raise PasswordRefused(PasswordFault.TOO_SHORT)
        if len(text) > self.maximum_length:
            raise PasswordRefused(PasswordFault.TOO_LONG)
        if _folded(text) in (_folded(email), _folded(local_part(email))):
            raise PasswordRefused(PasswordFault.OWN_EMAIL)
        if _folded(text) in self.blocked:
            raise PasswordRefused(PasswordFault.COMMON)


class Stored(NamedTuple):
    """What is kept of a password, read from its text."""

    rounds: int
    salt: bytes
    digest: bytes

    def __str__(self) -> str:
        return f"${_SCHEME}$i={self.rounds}${_base64(self.salt)}${_base64(self.digest)}"


def parsed(stored: str) -> Stored:
    """Read the text of a stored password: scheme, rounds, salt, digest.

    Raises:
        ValueError: it is none; the text is not repeated.
    """
    try:
        empty, scheme, rounds, salt, digest = stored.split("$")
        if (empty, scheme, rounds[:2]) != ("", _SCHEME, "i="):
            raise ValueError
        return Stored(int(rounds[2:]), base64.b64decode(salt + "=="), base64.b64decode(digest + "=="))
    except ValueError:
        raise ValueError("a stored password can't be read; restore the row from a backup") from None


def normalised(password: SecretStr) -> bytes:
    """Return the bytes that are hashed: NFKC in UTF-8, so that a password fits however a keyboard composes it.

    Raises:
        PasswordRefused: no account can have it: too long for any policy, a NUL, a lone surrogate.

    Source:
        NIST SP 800-63B-4, section 3.1.1.2. NUL: HMAC pads its key with them, so that one at the end is lost.
    """
    return _text(password).encode()


def derived(password: bytes, salt: bytes, rounds: int) -> bytes:
    """Return PBKDF2-HMAC-SHA256, 32 bytes of it.

    Source:
        RFC 8018, section 5.2.
    """
    return hashlib.pbkdf2_hmac("sha256", password, salt, rounds)


def hashed(password: bytes, rounds: int) -> str:
    """Hash what `normalised` returned with a salt of its own; return the text to store."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return str(Stored(rounds, salt, derived(password, salt, rounds)))


def verified(
    password: bytes,
    stored: str | None,
    rounds: int,
    *,
    derive: Callable[[bytes, bytes, int], bytes] = derived,
) -> bool:
    """Tell whether the password fits, in constant time and with the work of at least *rounds*.

    What was stored by fewer rounds, or not at all, costs as much as what is stored today.
    """
    kept = parsed(stored) if stored is not None else Stored(rounds, bytes(_SALT_BYTES), b"")
    digest = derive(password, kept.salt, kept.rounds)
    if kept.rounds < rounds:
        derive(password, kept.salt, rounds - kept.rounds)
    return hmac.compare_digest(digest, kept.digest)


def needs_rehash(stored: str, rounds: int) -> bool:
    """Tell whether the password was stored with fewer rounds than are wanted today."""
    return parsed(stored).rounds < rounds


def _text(password: SecretStr) -> str:
    typed = password.get_secret_value()
    if len(typed) > _LONGEST * _DECOMPOSED:
        raise PasswordRefused(PasswordFault.TOO_LONG)
    if "\x00" in typed or any("\ud800" <= character <= "\udfff" for character in typed):
        raise PasswordRefused(PasswordFault.UNUSABLE)
    return unicodedata.normalize("NFKC", typed)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode().rstrip("=")
