"""The keys that are in use together: one signs, and others verify until they are retired."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final, Self

from pydantic import JsonValue

from netra_auth.algorithms import Algorithm, json_object
from netra_auth.errors import AlgorithmRefused, KeyRefused, KeyUnknown, SignatureInvalid, TokenMalformed
from netra_auth.keys import SigningKey, VerifyingKey

TOKEN_LIMIT: Final = 8192  # characters; what servers take as one header is seldom longer
_HEADERS = 64  # how many forms of verified headers are remembered
_HEADER_LIMIT = 1024
_SET_LIMIT = 262_144
_KEYS = 100


class KeyRing:
    """One key that signs, or none, and keys that verify; a value, which `rotate` and `retire` leave as it is.

    A verification under way sees one ring from its beginning to its end, and a change takes effect where its
    holder is handed the new ring: by one assignment, with all that was derived from the old ring dropped.

    Args:
        signing: signs, and verifies too.
        verifying: verify only, until they are retired.

    Raises:
        KeyRefused: two keys have one id, or shared secrets are mixed with public keys.
    """

    def __init__(self, signing: SigningKey | None = None, verifying: Iterable[VerifyingKey] = ()) -> None:
        keys = [*([signing.verifying] if signing else []), *verifying]
        by_id = {key.kid: key for key in keys}
        if len(by_id) != len(keys):
            raise KeyRefused("another one has the same id")
        if len({key.algorithm.is_symmetric for key in keys}) > 1:
            raise KeyRefused("shared secrets and public keys don't belong in one ring")
        if len(keys) > _KEYS:
            raise KeyRefused(f"a ring holds at most {_KEYS}")
        self._signing = signing
        self._keys = MappingProxyType(by_id)
        self._headers: dict[tuple[str | None, str], VerifyingKey] = {}

    @classmethod
    def from_jwks(cls, text: str | bytes) -> Self:
        """Read the public keys of another party, to verify with.

        Raises:
            KeyRefused: it is no set of keys, or one of them is private, has no id or another's, is not for
                signatures, or names no algorithm or one that is not its own.
            WeakKey: one of them is too short or badly made.

        Source:
            RFC 7517, sections 4 and 5.
        """
        if len(text) > _SET_LIMIT:
            raise KeyRefused(f"its set is longer than {_SET_LIMIT} characters")
        listed = json_object(text).get("keys")
        if not isinstance(listed, list):
            raise KeyRefused("its set has no list of keys")
        return cls(verifying=[_verifying(jwk) for jwk in listed])

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JWKS, to be published; a shared secret is never among them."""
        return {"keys": [key.jwk() for key in self._keys.values() if not key.algorithm.is_symmetric]}

    def rotate(self, signing: SigningKey) -> "KeyRing":
        """Return a ring in which *signing* signs, and the key that did so verifies until it is retired.

        Hand a new key's public half to whoever verifies before it signs; retire the old one once the last
        token that it signed has expired.
        """
        return KeyRing(signing, self._keys.values())

    def retire(self, kid: str) -> "KeyRing":
        """Return a ring without the key *kid*, whose tokens are refused from then on.

        Raises:
            KeyRefused: it signs, or is not there.
        """
        if kid not in self._keys or (self._signing and kid == self._signing.kid):
            raise KeyRefused("only one that no longer signs can be retired")
        left = [key for key in self._keys.values() if key.kid != kid]
        if self._signing:
            left.remove(self._signing.verifying)
        return KeyRing(self._signing, left)

    def seal(self, payload: bytes, *, typ: str) -> str:
        """Sign *payload* with the signing key, as JWS in compact form.

        Raises:
            KeyRefused: no key signs.
        """
        if self._signing is None:
            raise KeyRefused("this ring only verifies")
        header = {"alg": self._signing.algorithm.value, "kid": self._signing.kid, "typ": typ}
        text = json.dumps(header, separators=(",", ":")).encode()
        message = _encoded(text) + b"." + _encoded(payload)
        return (message + b"." + _encoded(self._signing.sign(message))).decode()

    def open(self, token: str, *, typ: str | None = None) -> bytes:
        """Return the payload of a JWS in compact form, once its signature is verified.

        Args:
            typ: what the header has to give as its type; None for a header without one.

        Raises:
            TokenMalformed: it is not in compact form, not canonical base64url, longer than 8,192 characters, or
                its header has another type or other members than `alg`, `kid` and `typ`.
            AlgorithmRefused: the algorithm is not the one that the key is pinned to.
            KeyUnknown: no key of the ring has that id.
            SignatureInvalid: the signature is not the key's.

        Source:
            RFC 7515, section 5.2; RFC 8725, sections 3.1 to 3.3 and 3.11.
        """
        if len(token) > TOKEN_LIMIT or not token.isascii():
            raise TokenMalformed
        try:
            header, payload, signature = token.split(".")
        except ValueError:
            raise TokenMalformed from None
        key = self._headers.get((typ, header))
        known = key is not None
        if key is None:
            key = self._key(header, typ)
        if not key.verify(token[: len(header) + 1 + len(payload)].encode(), _decoded(signature)):
            raise SignatureInvalid
        if not known and len(self._headers) < _HEADERS:
            self._headers[typ, header] = key  # only headers that a key has signed come here
        return _decoded(payload)

    def _key(self, segment: str, typ: str | None) -> VerifyingKey:
        """Return the key that a header names, and none that it brings along or points to."""
        header = _header(segment)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in set(Algorithm):
            raise AlgorithmRefused
        if header.keys() != ({"alg", "kid"} if typ is None else {"alg", "kid", "typ"}):
            raise TokenMalformed
        if header.get("typ") != typ or not isinstance(kid, str):
            raise TokenMalformed
        key = self._keys.get(kid)
        if key is None:
            raise KeyUnknown
        if key.algorithm != algorithm:
            raise AlgorithmRefused
        return key


def _header(segment: str) -> dict[str, JsonValue]:
    if not segment or len(segment) > _HEADER_LIMIT:
        raise TokenMalformed
    try:
        header = json.loads(_decoded(segment), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise TokenMalformed from None
    if not isinstance(header, dict):
        raise TokenMalformed
    return header


def _unique(members: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """Refuse a member that comes twice, as it may be read in two ways."""
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member comes twice")
    return found


def _verifying(jwk: JsonValue) -> VerifyingKey:
    if not isinstance(jwk, dict):
        raise KeyRefused("it is no JSON object")
    return VerifyingKey.from_jwk(jwk)


def _encoded(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")


def _decoded(segment: str) -> bytes:
    """Decode base64url, and refuse every form of it but the one without padding or unused bits."""
    text = segment.encode()
    try:
        content = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise TokenMalformed from None
    if _encoded(content) != text:
        raise TokenMalformed
    return content
