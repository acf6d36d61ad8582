"""What a snapshot shows of a value: what is or may be a secret is masked, what is long is cut."""

from __future__ import annotations

import json
import re
from typing import Any

MOST_CHARACTERS = 120  # of a value that is shown
READ_CHARACTERS = (
    4000  # of a value that is looked at; a secret that begins beyond is beyond what is shown, too
)

# anywhere in a name
_PARTS = re.compile(
    r"passw|passphrase|secret|token|digest|credential|cookie|authoriz|signature|keymaterial"
    r"|(?:api|access|private|signing|encryption|master|session)key|recoverycode",
    re.IGNORECASE,
)
# a whole word of a name
_WORDS = frozenset(
    {"auth", "bearer", "cvv", "hash", "hmac", "jwt", "otp", "pass", "pin", "pwd", "salt", "totp"}
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_ASSIGNED = re.compile(
    r"(?:passw\w*|pwd|passphrase|secret|token|api[-_ ]?key|authorization|cookie|credentials?)\w*[\"']?\s*[:=>]+\s*\S",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"""
    \beyJ[\w-]+\.[\w-]+                         # a JSON Web Token
    | -----BEGIN                                # PEM
    | \b(?:bearer|basic)\s+\S{8}                # a header
    | ://[^\s/@]*:[^\s@]+@                      # a URL with a password
    | \$(?:2[aby]|argon2\w*|pbkdf2[\w-]*|scrypt|[156y])\$   # a stored password
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b | \b[sr]k[-_]\w[\w-]{15} | \bgh[a-z]_\w{20} | \bxox[a-z]-\w | \bAIza[\w-]{30}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_LONG = re.compile(r"[A-Za-z0-9+/_-]{40,}")
_PROSE = frozenset("abcdefghijklmnopqrstuvwxyz_-/")  # of forty such letters chance hardly draws one run


def masked(length: int) -> str:
    """Stand in for a secret of *length* characters."""
    return f"‹masked {length:,} character{'s' if length != 1 else ''}›"


def says_secret(name: str) -> bool:
    """Tell whether what stands under *name* is a secret, or may be one."""
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(_PARTS.search(re.sub(r"[\W_]", "", name)) or words & _WORDS)


def looks_secret(text: str) -> bool:
    """Tell whether *text* holds what looks like a secret."""
    if _SHAPES.search(text) or _ASSIGNED.search(text):
        return True
    return any(not _PROSE.issuperset(run) for run in _LONG.findall(_UUID.sub(" ", text)))


def shown(name: str, text: str, length: int | None = None) -> str:
    """Show what stands under *name*.

    Args:
        text: the value, or its first `READ_CHARACTERS`.
        length: how long the whole value is, where *text* isn't all of it.
    """
    length = len(text) if length is None else length
    if says_secret(name) and not _is_count(name, text):
        return masked(length)
    if text[:1] in ("{", "["):
        try:
            return shortened(json.dumps(_walked(json.loads(text)), ensure_ascii=False), length)
        except (ValueError, RecursionError):
            pass  # an array of PostgreSQL's, or not all of it: judged as text
    return masked(length) if looks_secret(text) else shortened(text, length)


def _is_count(name: str, text: str) -> bool:
    """Tell whether this is a number of tokens, which language models are paid by."""
    return name.lower().endswith("tokens") and text.replace(".", "", 1).isdigit()


def _walked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {_name(key): _walked(part, f"{name} {key}") for key, part in value.items()}
    if isinstance(value, list):
        return [_walked(part, name) for part in value]
    if value is None or isinstance(value, bool):
        return value
    seen = shown_leaf(name, str(value))
    return value if seen == str(value) else seen


def shown_leaf(name: str, text: str) -> str:
    """Show a value inside another; its length is judged with the whole."""
    secret = (says_secret(name) and not _is_count(name, text)) or looks_secret(text)
    return masked(len(text)) if secret else text


def _name(text: str) -> str:
    return masked(len(text)) if looks_secret(text) else text


def shown_key(key: str) -> str:
    """Show the name of a key; a part between colons that looks like a secret is masked."""
    return ":".join(_name(part) for part in key.split(":")) if looks_secret(key) else key


def shortened(text: str, length: int) -> str:
    """Cut *text*, of a value *length* characters long, to what is shown."""
    if len(text) <= MOST_CHARACTERS and length <= READ_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}… ({length:,} characters)"
