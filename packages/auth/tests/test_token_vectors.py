"""What others published to break token libraries is verified or refused here as it should be."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretBytes, SecretStr

from netra_auth import (
    Algorithm,
    AlgorithmRefused,
    KeyRefused,
    KeyRing,
    KeyUnknown,
    SignatureInvalid,
    SigningKey,
    TokenMalformed,
    TokenRefused,
    VerifyingKey,
    WeakKey,
)
from netra_fixtures.data import ThirdPartyData

PART = "auth-vectors"
ALPHABET = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

Case = dict[str, Any]
Group = dict[str, Any]


def ring_of(group: dict[str, Any]) -> KeyRing:
    """Read a group's key or keys: public ones as published, shared secrets as configured."""
    public = group.get("public")
    if public is not None:
        return KeyRing.from_jwks(json.dumps(public if "keys" in public else {"keys": [public]}))
    private = group["private"]
    keys = private.get("keys", [private])
    read = [SigningKey.from_jwk(SecretStr(json.dumps(key)), weak=frozenset[bytes]()) for key in keys]
    return KeyRing(read[0], [key.verifying for key in read[1:]])


def keys_of(group: dict[str, Any]) -> dict[str, str]:
    """Return the algorithm that each key of a group names, by id."""
    held = group.get("public") or group["private"]
    return {key.get("kid"): key.get("alg") for key in held.get("keys", [held])}


def decoded(segment: str) -> bytes | None:
    """Decode a segment in the one form that RFC 7515, section 2, allows; None for any other."""
    if not set(segment) <= ALPHABET or len(segment) % 4 == 1:
        return None
    content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    return content if base64.urlsafe_b64encode(content).rstrip(b"=").decode() == segment else None


def header_of(token: str) -> dict[str, Any] | None:
    """Return the header of a token that has the form of one."""
    parts = token.split(".")
    content = decoded(parts[0]) if len(parts) == 3 and parts[0] else None
    try:
        header = json.loads(content or b"null")
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def reason(token: str, algorithms: dict[str, str]) -> set[type[TokenRefused]]:
    """Tell, from the form of an invalid token alone, how it may be refused."""
    header = header_of(token)
    if header is None:
        return {TokenMalformed}
    if header.get("alg") not in set(Algorithm):
        return {AlgorithmRefused}
    if header.keys() != {"alg", "kid"}:
        return {TokenMalformed}
    if header["kid"] not in algorithms:
        return {KeyUnknown}
    if algorithms[header["kid"]] != header["alg"]:
        return {AlgorithmRefused}
    if None in map(decoded, token.split(".")):
        return {TokenMalformed, SignatureInvalid}
    return {SignatureInvalid}


def is_not_canonical(case: Case, group: Group) -> bool:
    """Tell whether a part of the token holds characters, padding or bits that base64url has not."""
    return None in map(decoded, case["jws"].split("."))


def names_no_registered_algorithm(case: Case, group: Group) -> bool:
    """Tell whether one of the keys is labelled with an algorithm that there isn't."""
    return not set(keys_of(group).values()) <= {*Algorithm, "none", None, "ES256K"}


def is_called_valid_too(case: Case, group: Group) -> bool:
    """Tell whether the suite holds the same token under the same key and calls it valid."""
    return case["jws"] in group["valid"]


# Cases whose label contradicts the RFC: what they hold, how they are labelled, and the clause.
CONTRADICTIONS: list[tuple[Callable[[Case, Group], bool], str, str]] = [
    (is_not_canonical, "valid", "RFC 7515, sections 2 and 5.2, step 2; RFC 4648, section 3.3"),
    (names_no_registered_algorithm, "valid", "RFC 7518, section 3.1"),
    (is_called_valid_too, "invalid", "RFC 7515, section 5.2: the steps don't tell the two apart"),
]


def must_open(case: Case, group: Group) -> bool:
    """Tell whether a token has to verify: labelled so, not in contradiction, and with its key's algorithm."""
    contradicted = any(label == case["result"] and holds(case, group) for holds, label, _ in CONTRADICTIONS)
    header = header_of(case["jws"]) or {}
    pinned = header.get("alg") in set(Algorithm) and header["alg"] == keys_of(group).get(
        header.get("kid", "")
    )
    return pinned and (case["result"] == "valid") is not contradicted


def groups(data: ThirdPartyData, pattern: str) -> Iterator[tuple[str, Group]]:
    """Return the groups of each file, and note what was read."""
    for file in data.files(PART, pattern):
        held = json.loads(file.read_bytes())["testGroups"]
        data.read(file, cases=sum(len(group["tests"]) for group in held))
        for group in held:
            same = [other for other in held if other.get("private") == group.get("private")]
            cases = [case for other in same for case in other["tests"]]
            group["valid"] = {str(case.get("jws")) for case in cases if case["result"] == "valid"}
            yield f"{file.name}, {group.get('comment')}", group


def cases_of(group: Group, kind: str) -> list[Case]:
    """Return the cases of a group that hold a *kind*, as text where they are JSON objects."""
    cases = [case for case in group["tests"] if kind in case]
    return [
        {**case, kind: json.dumps(case[kind]) if isinstance(case[kind], dict) else case[kind]}
        for case in cases
    ]


def test_every_published_signature_verifies_or_is_refused_with_its_reason(
    third_party_data: ThirdPartyData,
) -> None:
    """Valid tokens of the project Wycheproof open, and each broken one is refused for what is broken in it."""
    for where, group in groups(third_party_data, "wycheproof/json_web_*_test.json"):
        cases = cases_of(group, "jws")
        try:
            ring = ring_of(group) if cases else KeyRing()
        except KeyRefused:
            assert not [case for case in cases if must_open(case, group)], where
            continue  # nothing starts with such keys
        for case in cases:
            if must_open(case, group):
                assert ring.open(case["jws"]) == decoded(case["jws"].split(".")[1]), (where, case["comment"])
                continue
            with pytest.raises(TokenRefused) as caught:
                ring.open(case["jws"])
            assert type(caught.value) in reason(case["jws"], keys_of(group)), (where, case["comment"])


def test_an_encrypted_token_is_no_access_token(third_party_data: ThirdPartyData) -> None:
    """What we never issue we never try to read."""
    ring = KeyRing(SigningKey.generate())
    for _, group in groups(third_party_data, "wycheproof/json_web_*_test.json"):
        for case in cases_of(group, "jwe"):
            with pytest.raises(TokenMalformed):
                ring.open(case["jwe"])


def test_the_published_authentication_codes_are_the_ones_that_verify(
    third_party_data: ThirdPartyData,
) -> None:
    """A shared secret verifies what it signed, whole, and nothing that was altered."""
    for where, group in groups(third_party_data, "wycheproof/hmac_*_test.json"):
        algorithm = {"sha256": Algorithm.HS256, "sha384": Algorithm.HS384, "sha512": Algorithm.HS512}.get(
            where.split("_")[1]
        )
        if algorithm is None:
            continue  # no JWS algorithm rests on the hash
        for case in group["tests"]:
            key, message, tag = (bytes.fromhex(case[name]) for name in ("key", "msg", "tag"))
            secret = SecretBytes(key)
            if len(key) * 8 < int(algorithm[2:]):
                with pytest.raises(WeakKey):
                    SigningKey(secret, algorithm=algorithm, kid="one", weak=frozenset[bytes]())
                continue
            signing = SigningKey(secret, algorithm=algorithm, kid="one", weak=frozenset[bytes]())
            whole = group["tagSize"] == int(algorithm[2:])
            assert signing.verifying.verify(message, tag) is (case["result"] == "valid" and whole), where
            assert not signing.verifying.verify(message + b"x", tag), where


def example_ring(key: dict[str, Any], algorithm: str) -> KeyRing:
    """Pin an example's key to the algorithm that the example uses."""
    jwk = {"kid": "example", **key, "alg": algorithm}
    if key["kty"] == "oct":
        return KeyRing(SigningKey.from_jwk(SecretStr(json.dumps(jwk))))
    public = {name: value for name, value in jwk.items() if name not in {"d", "p", "q", "dp", "dq", "qi"}}
    return KeyRing.from_jwks(json.dumps({"keys": [public]}))


def test_the_examples_of_the_standards_verify(third_party_data: ThirdPartyData) -> None:
    """The signatures that RFC 7520 and RFC 8037 show are ours to read, where their form is the one we take."""
    for pattern in ("rfc7520-cookbook/jws/*.json", "rfc7520-cookbook/curve25519/jws.json"):
        for file in third_party_data.files(PART, pattern):
            example = json.loads(file.read_bytes())
            third_party_data.read(file, cases=1)
            token, algorithm = example["output"].get("compact"), example["input"].get("alg")
            if token is None or not isinstance(algorithm, str):
                continue  # only in the form of JSON, which is no access token
            ring = example_ring(example["input"]["key"], algorithm)
            header = header_of(token)
            if header is None or header.keys() != {"alg", "kid"} or not token.split(".")[1]:
                with pytest.raises(TokenRefused):
                    ring.open(token)
                message = example["signing"].get("sig-input", ".".join(token.split(".")[:2]))
            else:
                assert ring.open(token) == example["input"]["payload"].encode(), file.name
                message = token.rpartition(".")[0]
            signature = base64.urlsafe_b64decode(example["signing"]["sig"] + "==")
            if example["input"]["key"]["kty"] != "oct":
                jwk = json.loads(json.dumps(ring_key(ring)))
                assert VerifyingKey.from_jwk(jwk).verify(message.encode(), signature), file.name


def ring_key(ring: KeyRing) -> dict[str, str]:
    """Return the one public key of a ring."""
    [key] = ring.jwks()["keys"]
    return key


def test_strings_that_break_parsers_are_no_tokens(third_party_data: ThirdPartyData) -> None:
    """Whatever stands in the header of a request, the answer is the same short sentence."""
    ring = KeyRing(SigningKey.generate())
    for file in third_party_data.files("bad-inputs", "*.json"):
        strings = json.loads(file.read_bytes())
        third_party_data.read(file, cases=len(strings))
        for text in strings:
            for token in (text, f"{text}.{text}.{text}"):
                with pytest.raises(TokenRefused) as caught:
                    ring.open(token)
                assert not text.strip(" .") or len(text) < 4 or text not in str(caught.value)
