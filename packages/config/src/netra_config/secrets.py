"""Seal secrets under the environment's key, and open them there and nowhere else; pure."""

import base64
import os
import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import JsonValue

from netra_config.errors import ForeignKey, InputRefused, SealBroken, UnknownKey
from netra_config.layers import Path, pointer
from netra_config.revision import Environment

_NONCE_BYTES = 12
_ID = re.compile("(?:" + "|".join(Environment) + ")/[a-z0-9][a-z0-9._-]{0,62}")


class Key:
    """A key of one environment: 32 bytes, and a name such as ``production/2026-11`` that may be shown.

    Raises:
        InputRefused: the name does not begin with an environment, or there are not 32 bytes.
    """

    __slots__ = ("_cipher", "id")

    def __init__(self, id: str, material: bytes) -> None:
        if not _ID.fullmatch(id):
            raise InputRefused(
                "the name of a key", "name it <environment>/<name>, such as production/2026-11"
            )
        if len(material) != 32:
            raise InputRefused("the bytes of a key", "give 32 random bytes")
        self.id = id
        self._cipher = AESGCM(material)

    def __repr__(self) -> str:
        return f"Key({self.id!r})"

    @classmethod
    def read(cls, text: str) -> "Key":
        """Read ``production/2026-11=<32 bytes in base64>``."""
        id, _, encoded = text.strip().partition("=")
        try:
            material = base64.b64decode(encoded, validate=True)
        except ValueError:
            material = b""
        return cls(id, material)

    def seal(self, plain: str, bound: bytes) -> bytes:
        """Encrypt *plain* so that it opens with the same *bound* alone."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain.encode(), bound)

    def open(self, sealed: bytes, bound: bytes) -> str:
        """Decrypt what `seal` gave.

        Raises:
            SealBroken: it is not what was sealed, or was sealed for another place.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(self.id) from None


class Keyring:
    """The keys of one environment; the first one seals, all open.

    A sealed value is bound to the environment, the key and its place in the document: moved to another field,
    tenant or environment it does not open.

    Raises:
        ForeignKey: a key is another environment's.
        InputRefused: two keys have one name.
    """

    def __init__(self, environment: Environment, keys: Sequence[Key] = ()) -> None:
        self.environment = environment
        self._keys = {key.id: key for key in keys}
        if len(self._keys) < len(keys):
            raise InputRefused("a key whose name another key has", "name each key once")
        self._first = keys[0] if keys else None
        for id in self._keys:
            self._check(id)

    def __repr__(self) -> str:
        return f"Keyring({self.environment.value!r}, {list(self._keys)})"

    def seal(self, plain: str, path: Path) -> dict[str, JsonValue]:
        """Seal *plain* for its place in the document.

        Raises:
            UnknownKey: there is no key.
        """
        if self._first is None:
            raise UnknownKey(f"{self.environment}/…")
        sealed = self._first.seal(plain, self._bound(self._first.id, path))
        return {"key": self._first.id, "sealed": base64.b64encode(sealed).decode("ascii")}

    def open(self, value: JsonValue, path: Path) -> str:
        """Open what `seal` gave for the same place.

        Raises:
            ForeignKey: it was sealed in another environment.
            UnknownKey: the key is not at hand.
            SealBroken: it was altered or moved.
        """
        match value:
            case {"key": str() as id, "sealed": str() as text}:
                self._check(id)
                if id not in self._keys:
                    raise UnknownKey(_named(id))
                return self._keys[id].open(_decoded(text), self._bound(id, path))
        raise SealBroken("an unnamed key")

    def is_current(self, value: JsonValue) -> bool:
        """Tell whether the value is sealed with the key that seals now."""
        return isinstance(value, dict) and self._first is not None and value.get("key") == self._first.id

    def _check(self, id: str) -> None:
        owner = id.partition("/")[0]
        if owner != self.environment and owner in list(Environment):
            raise ForeignKey(_named(id), self.environment)

    def _bound(self, id: str, path: Path) -> bytes:
        return f"{self.environment}\n{id}\n{pointer(path)}".encode()


def _named(id: str) -> str:
    """Give the name of a key that came in from outside, if it is one."""
    return id if _ID.fullmatch(id) else "of no known form"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
