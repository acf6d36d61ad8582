"""The keys that sign and verify: each pinned to one algorithm, and refused where it is weak."""

import re
from collections.abc import Mapping
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import JsonValue, SecretBytes, SecretStr

from netra_auth.algorithms import (
    SIGNERS,
    Algorithm,
    check_pair,
    check_secret,
    described,
    json_object,
    read_jwk,
    read_secret,
    thumbprint,
)
from netra_auth.errors import KeyRefused
from netra_auth.secret_lists import SecretList, common_passwords

_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_KID = re.compile(r"[\x21-\x7e]{1,200}")


class VerifyingKey:
    """What verifies tokens of one key id and one algorithm; made from a JWK or by a `SigningKey`."""

    def __init__(self, material: Any, *, algorithm: Algorithm, kid: str) -> None:
        """Take *material*, prepared and checked; use `from_jwk` or `SigningKey.verifying` instead."""
        if not _KID.fullmatch(kid):
            raise KeyRefused("its id is not 1 to 200 printable ASCII characters")
        self.algorithm = algorithm
        self.kid = kid
        self._material = material
        self._signer = SIGNERS[algorithm]

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, JsonValue]) -> Self:
        """Read a public key.

        Raises:
            KeyRefused: it is private, not for signatures, names no algorithm or one that is not its own.
            WeakKey: it is too short or badly made.
        """
        if not _PRIVATE.isdisjoint(jwk):
            raise KeyRefused("it is private, and only public keys belong in a key set")
        algorithm, kid = described(jwk, "verify")
        return cls(read_jwk(algorithm, jwk, private=False), algorithm=algorithm, kid=kid)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether *signature* is this key's of *message*."""
        return self._signer.verify(message, self._material, signature)

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JWK.

        Raises:
            KeyRefused: it is a shared secret.
        """
        if self.algorithm.is_symmetric:
            raise KeyRefused("a shared secret is never published")
        fields = self._signer.to_jwk(self._material, as_dict=True)
        public = {
            name: str(value) for name, value in fields.items() if name in {"kty", "crv", "x", "y", "n", "e"}
        }
        return {**public, "kid": self.kid, "use": "sig", "alg": self.algorithm.value}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kid={self.kid!r}, algorithm={self.algorithm.value!r})"


class SigningKey:
    """What signs tokens: a private key, or a secret that who verifies has to share.

    Args:
        secret: a private key in PEM, unencrypted; for HS256, HS384 and HS512 the bytes of the secret.
        kid: the key's id; by default the thumbprint of the public key. A shared secret needs one.
        weak: secrets that are refused whatever their length, as a set or as a file of one a line; by default
            Django's common passwords.

    Raises:
        WeakKey: an RSA key below 2,048 bits, or a secret that is shorter than the hash or listed as weak.
        KeyRefused: no key of the algorithm can be read.

    Source:
        RFC 7518, sections 3.2, 3.3 and 3.5 for sizes; RFC 7638 for thumbprints.
    """

    def __init__(
        self, secret: SecretStr | SecretBytes, *, algorithm: Algorithm, kid: str | None = None,
        weak: SecretList | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(secret, SecretStr | SecretBytes):
            raise TypeError("secret is a SecretStr or SecretBytes")
        content = _bytes(secret)
        if algorithm.is_symmetric:
            check_secret(content, algorithm, common_passwords() if weak is None else weak)
        self._set(read_secret(algorithm, content), algorithm, kid)

    @classmethod
    def from_jwk(cls, jwk: SecretStr, *, weak: SecretList | None = None) -> Self:
        """Read a private key or a shared secret from its JWK, as JSON.

        Raises:
            KeyRefused: it is not for signatures, names no algorithm or one that is not its own.
            WeakKey: it is too short, listed or badly made.
        """
        fields = json_object(jwk.get_secret_value())
        algorithm, kid = described(fields, "sign")
        material = read_jwk(algorithm, fields, private=True)
        if algorithm.is_symmetric:
            return cls(SecretBytes(material), algorithm=algorithm, kid=kid, weak=weak)
        key = cls.__new__(cls)
        key._set(material, algorithm, kid)
        return key

    @classmethod
    def generate(cls) -> Self:
        """Draw a new key for EdDSA."""
        key = cls.__new__(cls)
        key._set(Ed25519PrivateKey.generate(), Algorithm.EDDSA, None)
        return key

    def _set(self, material: Any, algorithm: Algorithm, kid: str | None) -> None:
        if not algorithm.is_symmetric:
            check_pair(material, algorithm, private=True)
        elif kid is None:
            raise KeyRefused("a shared secret needs an id of its own, since none may be derived from it")
        public = material if algorithm.is_symmetric else material.public_key()
        self.algorithm = algorithm
        self._material = material
        self.verifying = VerifyingKey(public, algorithm=algorithm, kid=kid or thumbprint(public, algorithm))
        self.kid = self.verifying.kid

    def sign(self, message: bytes) -> bytes:
        """Return the signature of *message*."""
        return SIGNERS[self.algorithm].sign(message, self._material)

    def pem(self) -> SecretStr:
        """Return the private key in PEM, to be kept where only who signs can read it.

        Raises:
            KeyRefused: it is a shared secret.
        """
        if self.algorithm.is_symmetric:
            raise KeyRefused("a shared secret has no form in PEM")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return SecretStr(self._material.private_bytes(*form).decode())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kid={self.kid!r}, algorithm={self.algorithm.value!r})"


def _bytes(secret: SecretStr | SecretBytes) -> bytes:
    value = secret.get_secret_value()
    try:
        return value if isinstance(value, bytes) else value.encode()
    except UnicodeEncodeError:
        raise KeyRefused("it is no text") from None
