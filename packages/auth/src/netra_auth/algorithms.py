"""Algorithms, and the material of their keys: read by PyJWT and cryptography, refused where it is weak."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError
from jwt.utils import base64url_encode
from pydantic import JsonValue, TypeAdapter

from netra_auth.errors import KeyRefused, WeakKey
from netra_auth.secret_lists import SecretList, is_listed

_RSA_BITS = range(2048, 8193)
_ROCA_PRIMES = (
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
)  # fmt: skip
_ROCA_RESIDUES = {p: {pow(65537, power, p) for power in range(p)} for p in _ROCA_PRIMES}


_OBJECT = TypeAdapter(dict[str, JsonValue])


class Algorithm(StrEnum):
    """How a token is signed; the values are those of the header `alg`.

    Source:
        RFC 7518, section 3.1, and RFC 8037, section 3.1; `EdDSA` is Ed25519 alone.
    """

    EDDSA = "EdDSA"
    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    HS256 = "HS256"
    HS384 = "HS384"
    HS512 = "HS512"

    @property
    def is_symmetric(self) -> bool:
        """Whether who verifies could also sign."""
        return self.startswith("HS")

    @property
    def kty(self) -> str:
        """The key type of its JWK."""
        return {"H": "oct", "R": "RSA", "P": "RSA"}.get(self[0]) or ("OKP" if self == "EdDSA" else "EC")


SIGNERS: Final = {name: signer for name, signer in get_default_algorithms().items() if name in set(Algorithm)}
_PAIRS: dict[str, tuple[tuple[type, ...], tuple[type, ...]]] = {
    "OKP": ((Ed25519PrivateKey,), (Ed25519PublicKey,)),
    "RSA": ((RSAPrivateKey,), (RSAPublicKey,)),
    "EC": ((EllipticCurvePrivateKey,), (EllipticCurvePublicKey,)),
}


def described(jwk: Mapping[str, JsonValue], act: str) -> tuple[Algorithm, str]:
    """Return a JWK's algorithm and id, once what it says of its use allows *act*, `sign` or `verify`."""
    kid, operations = jwk.get("kid"), jwk.get("key_ops", [act])
    if jwk.get("alg") not in set(Algorithm):
        raise KeyRefused("it names no algorithm that is supported")
    algorithm = Algorithm(str(jwk["alg"]))
    if jwk.get("kty") != algorithm.kty:
        raise KeyRefused("its algorithm is not one of its type")
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or act not in operations:
        raise KeyRefused("it is not meant for signatures")
    if not isinstance(kid, str):
        raise KeyRefused("it has no id")
    return algorithm, kid


def read_jwk(algorithm: Algorithm, jwk: Mapping[str, JsonValue], *, private: bool) -> Any:
    """Let PyJWT read a JWK, and check what it found.

    Raises:
        KeyRefused: it can't be read, is of another kind, or is weak.
    """
    try:
        material = SIGNERS[algorithm].from_jwk(dict(jwk))
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as error:
        raise KeyRefused("it can't be read") from error
    if not algorithm.is_symmetric:
        check_pair(material, algorithm, private=private)
    return material


def read_secret(algorithm: Algorithm, content: bytes) -> Any:
    """Let PyJWT read a private key in PEM, or the bytes of a shared secret.

    Raises:
        KeyRefused: it can't be read.
    """
    try:
        return SIGNERS[algorithm].prepare_key(content)
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused("it can't be read as a key of its algorithm") from None  # the cause may quote it


def check_pair(material: Any, algorithm: Algorithm, *, private: bool) -> None:
    """Refuse a key of another kind or curve than its algorithm's, and a weak one."""
    kinds = _PAIRS[algorithm.kty][0 if private else 1]
    if not isinstance(material, kinds):
        raise KeyRefused("it is not a private key" if private else "it is not a public key")
    try:
        SIGNERS[algorithm].prepare_key(material)  # an EC key is held against the algorithm's curve
    except (PyJWTError, ValueError, TypeError) as error:
        raise KeyRefused("its algorithm is not one of its curve") from error
    if isinstance(material, RSAPrivateKey | RSAPublicKey):
        _check_rsa(material if isinstance(material, RSAPublicKey) else material.public_key())


def _check_rsa(public: RSAPublicKey) -> None:
    """Refuse sizes and exponents out of bounds, and the mark that the ROCA library leaves in its moduli.

    Source:
        NIST FIPS 186-5, section A.1.1, for the exponent; CVE-2017-15361 for ROCA.
    """
    numbers = public.public_numbers()
    if public.key_size not in _RSA_BITS:
        raise WeakKey(f"RSA takes {_RSA_BITS[0]} to {_RSA_BITS[-1]} bits")
    if numbers.e < 65537:
        raise WeakKey("its public exponent is below 65537")
    if all(numbers.n % prime in residues for prime, residues in _ROCA_RESIDUES.items()):
        raise WeakKey("its modulus was made by a library whose keys can be factored")


def check_secret(secret: bytes, algorithm: Algorithm, weak: SecretList) -> None:
    """Refuse a shared secret that is shorter than the hash, or listed as weak."""
    least = int(algorithm[2:]) // 8
    if len(secret) < least:
        raise WeakKey(f"{algorithm.value} takes a secret of at least {least} bytes")
    if is_listed(secret, weak):
        raise WeakKey("its secret is on a list of known ones")


def thumbprint(public: Any, algorithm: Algorithm) -> str:
    """Return the name that RFC 7638 gives a public key."""
    fields = SIGNERS[algorithm].to_jwk(public, as_dict=True)
    required = {name: fields[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in fields}
    canonical = json.dumps(required, separators=(",", ":"), sort_keys=True).encode()
    return base64url_encode(hashlib.sha256(canonical).digest()).decode()


def json_object(text: str | bytes) -> dict[str, JsonValue]:
    """Read a key or a set of keys, without what it held in the error."""
    try:
        return _OBJECT.validate_json(text)
    except (ValueError, TypeError):  # the latter for a lone surrogate
        raise KeyRefused("it is no JSON object") from None
