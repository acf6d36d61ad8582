"""Secrets that attackers try first: lists of them, as sets or files, and the default list."""

import gzip
import zlib
from collections.abc import Set
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from netra_auth.errors import SecretListMissing

SecretList = Set[bytes] | Set[str] | Path

_GZIP = b"\x1f\x8b"
_PROVIDER = "django"
_LIST = "django/contrib/auth/common-passwords.txt.gz"


def read_secrets(path: Path) -> frozenset[bytes]:
    """Read a list of one secret a line, plain or gzip.

    Lines end in LF or CR LF and are kept as bytes, whatever their encoding; empty ones are left out.

    Raises:
        SecretListMissing: the file can't be read.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(_GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise SecretListMissing(str(path)) from error
    lines = (line.removesuffix(b"\r") for line in content.split(b"\n"))
    return frozenset(line for line in lines if line)


def common_passwords() -> frozenset[bytes]:
    """Return the passwords that people choose most, in lower case, as Django ships them.

    Nothing of Django is imported: its file is found through the metadata of the installed package.

    Raises:
        SecretListMissing: the package or its list is not installed.

    Source:
        Django's `common-passwords.txt.gz`, from Royce Williams' list; BSD-3-Clause.
    """
    try:
        path = Path(str(distribution(_PROVIDER).locate_file(_LIST)))
    except PackageNotFoundError as error:
        raise SecretListMissing(f"{_PROVIDER}'s {_LIST}") from error
    return read_secrets(path)


def entries(source: SecretList | None) -> frozenset[bytes]:
    """Return the entries of a set or file, or without one the passwords that people choose most.

    Raises:
        SecretListMissing: the file can't be read.
    """
    if source is None:
        return common_passwords()
    if isinstance(source, Path):
        return read_secrets(source)
    return frozenset(one if isinstance(one, bytes) else one.encode("utf-8", "replace") for one in source)


def is_listed(secret: bytes, secrets: SecretList) -> bool:
    """Tell whether *secret*, or what is left without white space around it, is in the list."""
    known: Set[object] = read_secrets(secrets) if isinstance(secrets, Path) else secrets
    forms: set[bytes | str] = {secret, secret.strip()}
    forms |= {form.decode("utf-8", "replace") for form in (secret, secret.strip())}
    return not forms.isdisjoint(known)
