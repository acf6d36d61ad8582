"""A key that could be guessed, or that was made for something else, neither signs nor verifies."""

import base64
import gzip
import json
import secrets
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from pydantic import JsonValue, SecretBytes, SecretStr

from netra_auth import (
    Algorithm,
    KeyRefused,
    KeyRing,
    KeyUnknown,
    SecretListMissing,
    SigningKey,
    TokenMalformed,
    VerifyingKey,
    WeakKey,
    common_passwords,
)
from netra_auth.secret_lists import read_secrets
from netra_fixtures.data import ThirdPartyData

LEAST = {Algorithm.HS256: 32, Algorithm.HS384: 48, Algorithm.HS512: 64}
Jwk = dict[str, JsonValue]


def hmac_key(secret: bytes, **changed: object) -> SigningKey:
    """Make a key for HS256."""
    arguments = {"algorithm": Algorithm.HS256, "kid": "one", **changed}
    return SigningKey(SecretBytes(secret), **arguments)  # type: ignore[arg-type]


def public() -> Jwk:
    """Return a new public key as a JWK."""
    return dict(SigningKey.generate().verifying.jwk())


@pytest.mark.parametrize("algorithm", LEAST)
def test_a_shared_secret_is_at_least_as_long_as_the_hash(algorithm: Algorithm) -> None:
    """One byte less is refused (RFC 7518, section 3.2)."""
    secret = secrets.token_bytes(LEAST[algorithm])

    assert hmac_key(secret, algorithm=algorithm).algorithm is algorithm
    with pytest.raises(WeakKey):
        hmac_key(secret[1:], algorithm=algorithm)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CR LF"])
@pytest.mark.parametrize("name", ["list.txt", "list.txt.gz"])
def test_a_listed_secret_is_refused_whatever_form_the_list_has(tmp_path: Path, name: str, end: bytes) -> None:
    """A long secret that stands in a tutorial is no secret."""
    listed, free = b"correct-horse-battery-staple-correct", secrets.token_bytes(32).hex().encode()
    file = tmp_path / name
    content = end.join([b"short", listed, b"\xff" * 40, b""])
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    for weak in (file, {listed}, {listed.decode()}, read_secrets(file)):
        for secret in (listed, listed + b"\n"):
            with pytest.raises(WeakKey) as caught:
                hmac_key(secret, weak=weak)
            assert listed.decode() not in str(caught.value)
        assert hmac_key(free, weak=weak).kid == "one"
    with pytest.raises(WeakKey):
        hmac_key(b"\xff" * 40, weak=file)


def test_a_list_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    """A check that could not be made is no check that was passed."""
    broken = tmp_path / "broken.txt.gz"
    packed = gzip.compress(b"secret\n" * 1000)

    with pytest.raises(SecretListMissing, match=r"missing\.txt"):
        hmac_key(secrets.token_bytes(32), weak=tmp_path / "missing.txt")
    for content in (packed[:-10], packed[:12] + b"\xff" * 20 + packed[32:]):
        broken.write_bytes(content)
        with pytest.raises(SecretListMissing):
            hmac_key(secrets.token_bytes(32), weak=broken)


def test_the_default_list_is_read_without_importing_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of words brings no web framework into the process."""
    assert not [name for name in sys.modules if name.partition(".")[0] == "django"]
    monkeypatch.setitem(sys.modules, "django", None)  # whoever imports it from now on gets an ImportError

    found = common_passwords()

    assert b"password" in found
    assert b"" not in found


def test_all_published_weak_secrets_are_refused(third_party_data: ThirdPartyData) -> None:
    """Whatever attackers try first opens nothing."""
    for file in third_party_data.files("auth-vectors", "jwt_weak_secrets.txt.gz"):
        weak = read_secrets(file)
        lines = [line.removesuffix(b"\r") for line in gzip.decompress(file.read_bytes()).split(b"\n")]
        third_party_data.read(file, cases=len(lines))

        for secret in lines:
            with pytest.raises(WeakKey):
                hmac_key(secret, weak=weak)


@pytest.mark.parametrize(("bits", "exponent"), [(1024, 65537), (2048, 3)])
def test_a_weak_rsa_key_is_refused(bits: int, exponent: int) -> None:
    """A key below 2,048 bits, or with a tiny exponent, is not worth its name."""
    private = generate_private_key(public_exponent=exponent, key_size=bits)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    with pytest.raises(WeakKey):
        SigningKey(SecretBytes(private.private_bytes(*form)), algorithm=Algorithm.RS256)


def test_a_key_comes_back_from_its_pem_and_shows_no_secret() -> None:
    """A key that is kept in a file has the same id the next day, and no log holds it."""
    key = SigningKey.generate()
    pem = key.pem()

    again = SigningKey(pem, algorithm=Algorithm.EDDSA)

    assert again.kid == key.kid
    assert key.verifying.verify(b"message", again.sign(b"message"))
    shown = repr(key) + str(key) + repr(pem) + repr(hmac_key(b"s3cr3t-" * 6)) + repr(KeyRing(key))
    assert pem.get_secret_value().splitlines()[1] not in shown
    assert "s3cr3t" not in shown


@pytest.mark.parametrize(
    "pem", ["", "-----BEGIN PRIVATE KEY-----", "x" * 1_000_000, "\0", "\ud800"], ids=range(5)
)
def test_what_is_no_key_is_refused_and_not_shown(pem: str) -> None:
    """A mistyped setting stops the start with a sentence, not with what was typed."""
    with pytest.raises(KeyRefused) as caught:
        SigningKey(SecretStr(pem), algorithm=Algorithm.EDDSA)

    assert len(str(caught.value)) < 200


def test_a_secret_is_taken_as_a_secret_type_only() -> None:
    """What passes through as plain text ends up in logs."""
    with pytest.raises(TypeError):
        SigningKey("a" * 32, algorithm=Algorithm.HS256, kid="one")  # type: ignore[arg-type]


def test_a_shared_secret_is_never_published() -> None:
    """Who could read it could sign."""
    key = hmac_key(secrets.token_bytes(32))

    assert KeyRing(key).jwks() == {"keys": []}
    with pytest.raises(KeyRefused):
        key.verifying.jwk()
    with pytest.raises(KeyRefused):
        key.pem()


def test_published_keys_are_public_and_verify_what_was_signed() -> None:
    """Another service verifies our tokens with what we publish, and can make none."""
    old, new = SigningKey.generate(), SigningKey.generate()
    ring = KeyRing(old)
    token = ring.seal(b"payload", typ="at+jwt")
    ring = ring.rotate(new)

    published = json.dumps(ring.jwks())
    theirs = KeyRing.from_jwks(published)

    assert theirs.open(token, typ="at+jwt") == b"payload"
    assert theirs.open(ring.seal(b"later", typ="at+jwt"), typ="at+jwt") == b"later"
    assert '"d"' not in published
    with pytest.raises(KeyRefused):
        theirs.seal(b"forged", typ="at+jwt")


def test_a_rotation_leaves_the_ring_that_others_hold_as_it_is() -> None:
    """A verification that is under way sees one ring from beginning to end."""
    old, new = SigningKey.generate(), SigningKey.generate()
    ring = KeyRing(old)
    token = ring.seal(b"payload", typ="at+jwt")

    rotated = ring.rotate(new)
    retired = rotated.retire(old.kid)

    assert rotated.open(token, typ="at+jwt") == ring.open(token, typ="at+jwt") == b"payload"
    with pytest.raises(KeyUnknown):
        retired.open(token, typ="at+jwt")
    with pytest.raises(KeyRefused):
        retired.retire(new.kid)


BAD: dict[str, Jwk] = {
    "private": {"d": "AA"},
    "secret": {"kty": "oct", "k": "A" * 43, "alg": "HS256"},
    "for encryption": {"use": "enc"},
    "to sign": {"key_ops": ["sign"]},
    "unreadable use": {"key_ops": "verify"},
    "no algorithm": {"alg": None},
    "none": {"alg": "none"},
    "another type's algorithm": {"alg": "RS256"},
    "another curve": {"crv": "X25519"},
    "another type": {"kty": "RSA"},
    "no id": {"kid": None},
    "an id that is no text": {"kid": 7},
    "an id with a line feed": {"kid": "a\nb"},
    "unreadable": {"x": "!"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_published_key_that_is_not_fit_is_refused(name: str) -> None:
    """One bad key in a set is a mistake or an attack, so the set is not taken."""
    bad = {**public(), **BAD[name]}

    with pytest.raises(KeyRefused):
        KeyRing.from_jwks(json.dumps({"keys": [public(), bad]}))
    with pytest.raises(KeyRefused):
        VerifyingKey.from_jwk(bad)


def test_two_keys_of_one_id_are_refused() -> None:
    """Which of them is meant would be anybody's guess."""
    one = public()

    with pytest.raises(KeyRefused):
        KeyRing.from_jwks(json.dumps({"keys": [one, {**public(), "kid": one["kid"]}]}))


def test_shared_secrets_and_public_keys_don_t_share_a_ring() -> None:
    """Where both are in use, a public key may be taken for a secret."""
    with pytest.raises(KeyRefused):
        KeyRing(SigningKey.generate(), [hmac_key(secrets.token_bytes(32)).verifying])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"keys": {}}', '{"keys": [1]}', "[" * 100_000, "\ud800", '{"keys":[' + " " * 300_000],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_set_of_keys_is_refused(text: str) -> None:
    """A broken answer of the issuer stops the start, and leaves the old keys in use."""
    with pytest.raises(KeyRefused):
        KeyRing.from_jwks(text)


def test_the_key_id_of_a_pair_is_its_thumbprint() -> None:
    """Two services name one key alike without having agreed on it (RFC 7638; the example is RFC 8037's, A.3)."""
    jwk = {
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "x",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }  # fmt: skip
    pem = SigningKey.from_jwk(SecretStr(json.dumps(jwk))).pem()

    assert SigningKey(pem, algorithm=Algorithm.EDDSA).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_base64_is_read_in_its_one_canonical_form() -> None:
    """One token has one spelling, so that a list of refused ones can't be walked around."""
    key = SigningKey.generate()
    ring = KeyRing(key)
    header, payload, signature = ring.seal(b"payload", typ="at+jwt").split(".")
    other = chr(ord(signature[-1]) + 1)  # it differs in the bits that 64 bytes leave unused

    assert base64.urlsafe_b64decode(f"{signature}==") == base64.urlsafe_b64decode(
        f"{signature[:-1]}{other}=="
    )
    for spelt in (f"{signature}==", f"{signature[:-1]}{other}", f"{signature} ", f"{signature}\n"):
        with pytest.raises(TokenMalformed):
            ring.open(f"{header}.{payload}.{spelt}", typ="at+jwt")
