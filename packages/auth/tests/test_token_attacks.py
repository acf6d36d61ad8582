"""A token that was forged, altered or made for something else opens nothing, and the attempt is on record."""

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from pydantic import SecretBytes, SecretStr

from netra_auth import (
    AccessTokens,
    Algorithm,
    AlgorithmRefused,
    ClaimRefused,
    KeyRing,
    KeyUnknown,
    Kind,
    SignatureInvalid,
    SignedToken,
    SigningKey,
    TenantId,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenPolicy,
    TokenRefused,
    Verifier,
    ViolationLog,
)
from netra_fixtures import Goal, ManualClock, Tier, business_value, eventually

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="nobody signs in with a token that we did not give them"
)

Sign = Callable[..., SignedToken]
OpenVerifier = Callable[..., Awaitable[Verifier]]
PEM = serialization.Encoding.PEM


def b64(content: bytes | str | dict[str, Any]) -> str:
    """Encode as a segment of a token."""
    if isinstance(content, dict):
        content = json.dumps(content, separators=(",", ":"))
    data = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def taken_apart(signed: SignedToken) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return header, claims and signature."""
    header, payload, signature = signed.token.get_secret_value().split(".")
    first, second = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload))
    return first, second, signature


async def recorded(log: ViolationLog, kind: Kind, token: str) -> None:
    """Wait until the attempt is in the log, by the token's digest."""

    async def check() -> None:
        digests = [violation.detail["token_sha256"] for violation in await log.find(kind=kind)]
        assert hashlib.sha256(token.encode()).hexdigest() in digests

    await eventually(check, seconds=10)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", None, 0, ["EdDSA"], {"alg": "EdDSA"}], ids=repr
)
@pytest.mark.parametrize("signature", ["", "kept"])
async def test_an_unsigned_token_is_refused_however_none_is_spelt(
    verifier: Verifier, signed: Sign, log: ViolationLog, alg: object, signature: str
) -> None:
    """Who may choose the algorithm chooses none at all (CVE-2015-9235)."""
    header, claims, kept = taken_apart(signed())
    forged = f"{b64({**header, 'alg': alg})}.{b64(claims)}.{kept if signature else ''}"

    with pytest.raises(AlgorithmRefused):
        verifier.verify(forged)

    await recorded(log, Kind.BAD_ALGORITHM, forged)


async def test_a_token_whose_signature_was_removed_or_altered_is_refused(
    verifier: Verifier, signed: Sign, log: ViolationLog
) -> None:
    """The signature is what makes a token ours (CVE-2020-28042); the right one is never told (CVE-2019-7644)."""
    token = signed().token.get_secret_value()
    header, payload, signature = token.split(".")
    altered = ("B" if signature[0] == "A" else "A") + signature[1:]
    raised = b64({**taken_apart(signed())[1], "roles": ["super_admin"]})

    for forged in (f"{header}.{payload}.", f"{header}.{payload}.{altered}", f"{header}.{raised}.{signature}"):
        with pytest.raises(SignatureInvalid) as caught:
            verifier.verify(forged)
        assert signature not in str(caught.value)
        await recorded(log, Kind.BAD_SIGNATURE, forged)


async def test_a_token_is_written_in_one_way_alone(verifier: Verifier, signed: Sign) -> None:
    """A token that is told by its digest, as stolen or as seen before, can't be dressed up as another one."""
    token = signed().token.get_secret_value()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    unused = token[:-1] + letters[letters.index(token[-1]) + 1]  # 64 bytes leave four bits of the last letter

    for other in (unused, token + "==", token + "\n", token[:-5] + "~" + token[-5:]):
        with pytest.raises(TokenMalformed):
            verifier.verify(other)


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
async def test_a_public_key_is_no_shared_secret(
    open_verifier: OpenVerifier, token_policy: TokenPolicy, clock: ManualClock, signed: Sign, log: ViolationLog,
    form: str,
) -> None:  # fmt: skip
    """Who knows a public key can't sign with it as if it were a password (CVE-2016-5431)."""
    private = generate_rsa_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ring = KeyRing(SigningKey(SecretBytes(pem), algorithm=Algorithm.RS256, kid="pair"))
    verifier = await open_verifier(keys=ring)
    public = private.public_key()
    secrets = {
        "pem": public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "jwk": json.dumps(ring.jwks()["keys"][0]).encode(),
    }
    message = f"{b64({'alg': 'HS256', 'kid': 'pair', 'typ': 'at+jwt'})}.{b64(taken_apart(signed())[1])}"
    forged = f"{message}.{b64(hmac.digest(secrets[form], message.encode(), 'sha256'))}"

    with pytest.raises(AlgorithmRefused):
        verifier.verify(forged)

    await recorded(log, Kind.BAD_ALGORITHM, forged)


@pytest.mark.parametrize("alg", ["RS384", "PS256", "ES256", "HS256", "ES521"])
async def test_a_key_works_with_the_algorithm_it_is_pinned_to_alone(
    verifier: Verifier, signed: Sign, alg: str
) -> None:
    """A header can't move a key to another algorithm, supported or not."""
    header, claims, signature = taken_apart(signed())

    with pytest.raises(AlgorithmRefused):
        verifier.verify(f"{b64({**header, 'alg': alg})}.{b64(claims)}.{signature}")


@pytest.mark.parametrize("brought", ["jwk", "jku", "x5u", "x5c", "x5t", "crit", "b64", "cty", "zip"])
async def test_a_key_that_the_token_brings_or_points_to_is_never_used(
    verifier: Verifier, signed: Sign, brought: str
) -> None:
    """A forger who signs with a key of his own and names it gets nothing (CVE-2018-0114), with the right id too."""
    own = SigningKey.generate()
    header, claims, _ = taken_apart(signed())
    values = {"jwk": own.verifying.jwk(), "crit": ["exp"], "b64": True, "x5c": ["MIIB"]}
    address = "https://attacker.example.com/.well-known/jwks.json"
    message = f"{b64({**header, brought: values.get(brought, address)})}.{b64(claims)}"

    with pytest.raises(TokenMalformed):
        verifier.verify(f"{message}.{b64(own.sign(message.encode()))}")


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null", "/etc/passwd", "file:///proc/sys/kernel/randomize_va_space", "|whoami",
        "x' UNION SELECT 'secret", "x'; drop table auth.violation; --", "",
        "https://attacker.example.com/key.pem", "kid\0", "x" * 500,
    ],
    ids=range(10),
)  # fmt: skip
async def test_a_key_id_is_looked_up_and_nothing_else(
    verifier: Verifier, signed: Sign, log: ViolationLog, kid: str
) -> None:
    """A path, a query or an address in place of an id finds no file, no row and no server."""
    header, claims, _ = taken_apart(signed())
    message = f"{b64({**header, 'kid': kid})}.{b64(claims)}"
    forged = f"{message}.{b64(hmac.digest(b'secret', message.encode(), 'sha256'))}"

    with pytest.raises(KeyUnknown) as caught:
        verifier.verify(forged)

    assert not kid or kid not in str(caught.value)
    await recorded(log, Kind.UNKNOWN_KEY, forged)


async def test_another_key_s_id_opens_nothing(
    open_verifier: OpenVerifier, keys: KeyRing, access_tokens: AccessTokens, signed: Sign
) -> None:
    """A token that names a neighbouring key is held against that key."""
    other = SigningKey.generate()
    verifier = await open_verifier(keys=keys.rotate(other))
    header, claims, signature = taken_apart(signed())

    with pytest.raises(SignatureInvalid):
        verifier.verify(f"{b64({**header, 'kid': other.kid})}.{b64(claims)}.{signature}")


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": None}, {"kid": 1}, {"kid": None}], ids=repr)
async def test_a_header_says_exactly_what_ours_say(
    verifier: Verifier, keys: KeyRing, signed: Sign, header: dict[str, object]
) -> None:
    """A token that was made for something else, an e-mail's link say, is no access token (RFC 8725)."""
    ours, claims, signature = taken_apart(signed())

    with pytest.raises(TokenMalformed):
        verifier.verify(f"{b64({**ours, **header})}.{b64(claims)}.{signature}")


async def test_a_header_member_that_comes_twice_is_refused(verifier: Verifier, signed: Sign) -> None:
    """What two readers could read in two ways is read by none."""
    header, claims, signature = taken_apart(signed())
    twice = json.dumps(header)[:-1] + f', "alg": "{header["alg"]}"}}'

    with pytest.raises(TokenMalformed):
        verifier.verify(f"{b64(twice)}.{b64(claims)}.{signature}")


def resigned(keys: KeyRing, signed: SignedToken, **changed: object) -> str:
    """Sign the claims again, some of them changed; None leaves one out."""
    claims = {**taken_apart(signed)[1], **changed}
    kept = {name: value for name, value in claims.items() if value is not None}
    return keys.seal(json.dumps(kept).encode(), typ="at+jwt")


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "https://evil.example.com"), ("aud", "another service"), ("aud", ["netra", "others"]),
        ("sub", 7), ("sub", ""), ("sub", "a\0b"), ("exp", "9999999999"), ("exp", 1e300), ("exp", 1.0),
        ("iat", True), ("nbf", "now"), ("roles", "admin"), ("roles", ["root"]), ("roles", [None]),
        ("amr", ["guess"]), ("tenant", {"$ne": ""}), ("jti", ["x"]), ("sid", 1.5), ("auth_time", -1),
        *((name, None) for name in ("iss", "aud", "sub", "exp", "nbf", "iat", "jti", "sid", "tenant", "roles")),
    ],
    ids=repr,
)  # fmt: skip
async def test_a_signed_token_with_a_wrong_claim_is_refused(
    verifier: Verifier, keys: KeyRing, signed: Sign, claim: str, value: object
) -> None:
    """A token of another issuer, for another service or with half its claims says nothing about our users."""
    with pytest.raises(ClaimRefused) as caught:
        verifier.verify(resigned(keys, signed(), **{claim: value}))

    assert caught.value.claim == claim


@pytest.mark.parametrize(
    "payload", [b"", b"foo", b"[]", b"null", b"{", b"\xff", b'{"exp": NaN}', b"[" * 3000], ids=range(8)
)
async def test_a_signed_payload_that_is_no_object_is_refused(
    verifier: Verifier, keys: KeyRing, payload: bytes
) -> None:
    """A signature over something else than claims is not about a user."""
    with pytest.raises(TokenRefused):
        verifier.verify(keys.seal(payload, typ="at+jwt"))


async def test_a_token_that_lives_longer_than_the_policy_is_refused(
    verifier: Verifier, keys: KeyRing, signed: Sign, clock: ManualClock, token_policy: TokenPolicy
) -> None:
    """A revocation may be forgotten only because no token outlives it."""
    longer = clock.now() + token_policy.lifetime + timedelta(seconds=1)

    with pytest.raises(ClaimRefused) as caught:
        verifier.verify(resigned(keys, signed(), exp=longer.timestamp()))

    assert caught.value.claim == "exp"


async def test_a_token_from_the_future_is_refused(
    verifier: Verifier, keys: KeyRing, signed: Sign, clock: ManualClock, token_policy: TokenPolicy
) -> None:
    """A token that says it is issued later would be none of those that a user's revocation covers."""
    later = clock.now() + timedelta(seconds=3)
    expires = later + token_policy.lifetime

    with pytest.raises(TokenNotYetValid):
        verifier.verify(resigned(keys, signed(), iat=later.timestamp(), exp=expires.timestamp()))


async def test_a_token_is_valid_in_its_time_and_not_outside_of_it(
    verifier: Verifier, signed: Sign, clock: ManualClock, token_policy: TokenPolicy
) -> None:
    """The leeway for clocks is two seconds to either side, for a token that was seen before as for a new one."""
    seen, new = signed(), signed()
    issued = clock.now()

    clock.set(issued - token_policy.leeway - timedelta(seconds=1))
    with pytest.raises(TokenNotYetValid):
        verifier.verify(seen.token)
    clock.set(issued - token_policy.leeway)
    assert verifier.verify(seen.token) == seen.principal
    clock.set(issued + token_policy.lifetime + token_policy.leeway - timedelta(milliseconds=1))
    assert verifier.verify(seen.token) == seen.principal
    clock.advance(timedelta(milliseconds=1))
    for expired in (seen, seen, new):
        with pytest.raises(TokenExpired):
            verifier.verify(expired.token)


async def test_a_token_of_another_tenant_is_refused_and_noted(
    verifier: Verifier, signed: Sign, log: ViolationLog
) -> None:
    """Who works for one customer never acts in another's name."""
    token = signed()
    assert verifier.verify(token.token, tenant=TenantId("acme")).tenant == "acme"

    with pytest.raises(ClaimRefused) as caught:
        verifier.verify(token.token, tenant=TenantId("globex"))

    assert caught.value.claim == "tenant"
    await recorded(log, Kind.OTHER_TENANT, token.token.get_secret_value())


async def test_a_token_that_pyjwt_signed_with_our_key_verifies(
    open_verifier: OpenVerifier, signed: Sign
) -> None:
    """What we read is the standard, not a dialect of our own."""
    private = generate_private_key(SECP256R1())
    pem = private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    key = SigningKey(SecretStr(pem), algorithm=Algorithm.ES256)
    verifier = await open_verifier(keys=KeyRing(verifying=[key.verifying]))
    token = signed()
    theirs = jwt.encode(taken_apart(token)[1], private, "ES256", headers={"typ": "at+jwt", "kid": key.kid})

    assert verifier.verify(theirs) == token.principal


async def test_a_retired_key_opens_nothing_from_then_on(
    open_verifier: OpenVerifier, keys: KeyRing, access_tokens: AccessTokens, signed: Sign
) -> None:
    """A rotation signs nobody out, and what a retired key signed is dead, also where it was seen before."""
    verifier = await open_verifier()
    before = signed()
    rotated = keys.rotate(SigningKey.generate())
    verifier.use(rotated)
    access_tokens.use(rotated)
    after = signed()
    assert verifier.verify(before.token) == before.principal
    assert verifier.verify(after.token) == after.principal

    old = json.loads(base64.urlsafe_b64decode(before.token.get_secret_value().split(".")[0] + "=="))["kid"]
    verifier.use(rotated.retire(old))

    with pytest.raises(KeyUnknown):
        verifier.verify(before.token)
    assert verifier.verify(after.token) == after.principal


async def test_more_tokens_than_are_remembered_are_verified_all_the_same(
    open_verifier: OpenVerifier, signed: Sign
) -> None:
    """Memory is bounded, and being forgotten costs a token nothing but a moment."""
    verifier = await open_verifier(remembered=2)
    tokens = [signed() for _ in range(5)]

    for token in [*tokens, *tokens]:
        assert verifier.verify(token.token) == token.principal


DEEP = b64("[" * 700)
NO_TOKENS = {
    "empty": "",
    "dots": "..",
    "words": "not a token",
    "1 MB": "a" * 1_000_000,
    "1 MB of dots": "." * 1_000_000,
    "1 MB in three parts": f"{'a' * 333_333}.{'a' * 333_333}.{'a' * 333_333}",
    "NUL": "\0.\0.\0",
    "lone surrogates": "\ud800.\udfff.\ud800",
    "not ASCII": "é.é.é",
    "right to left": "\u202ea.b.c",
    "digits of other scripts": "١٢٣.٤٥٦.٧٨٩",
    "deep JSON": f"{DEEP}.{DEEP}.{DEEP}",
    "a list of pairs": f"{b64(json.dumps([['alg', 'EdDSA'], ['kid', 'x'], ['typ', 'at+jwt']]))}.e30.e30",
    "a number": f"{b64('1')}.e30.e30",
}


@pytest.mark.parametrize("name", NO_TOKENS)
async def test_what_is_no_token_is_refused_and_not_shown_back(verifier: Verifier, name: str) -> None:
    """A request's header may hold anything; the answer is one short sentence."""
    with pytest.raises(TokenMalformed) as caught:
        verifier.verify(NO_TOKENS[name])

    assert len(str(caught.value)) < 100


async def test_a_flood_of_forged_tokens_is_counted_and_fills_no_memory(
    verifier: Verifier, signed: Sign, log: ViolationLog
) -> None:
    """An attacker can't make a server keep or write without end, and the log says how many came."""
    forged = signed().token.get_secret_value().rpartition(".")[0] + "."

    for _ in range(1200):
        with pytest.raises(SignatureInvalid):
            verifier.verify(forged)
    await eventually(partial(written, log, 1000), seconds=20)
    with pytest.raises(SignatureInvalid):
        verifier.verify(forged, address="203.0.113.7")
    await eventually(partial(written, log, 1001), seconds=20)

    [last] = await log.find(size=1)
    assert (last.address, last.detail["left_out_before"]) == ("203.0.113.7", "200")


async def written(log: ViolationLog, count: int) -> None:
    """Hold how many violations the log has against *count*."""
    assert len(await log.find(size=2000)) == count
