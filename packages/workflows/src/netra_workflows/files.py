"""A file before DuckDB reads it: is it whole, which columns has it, where does a record begin."""

import contextlib
import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from netra_workflows.errors import BillUnreadable

MAX_LINE_BYTES: Final = 1 << 20
_PIECE: Final = 1 << 20


class Peek(NamedTuple):
    """What the beginning of a file tells, and the digest of all of it."""

    header: tuple[str, ...]
    short: bool
    sha256: str


def is_parquet(path: Path) -> bool:
    """Tell by the first bytes, whatever the name says."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def is_gzip(path: Path) -> bool:
    """Tell by the first bytes, whatever the name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lines(path: Path, name: str, *, longest: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """Give a file's lines, unpacked.

    Raises:
        BillUnreadable: truncated, corrupt, or with a line of more than *longest* bytes.
    """
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            while line := file.readline(longest + 1):
                if len(line) > longest:
                    raise BillUnreadable(name, f"a line is longer than {longest >> 20} megabytes")
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BillUnreadable(name, "its gzip stream is truncated or corrupt") from error
    except OSError as error:
        raise BillUnreadable(name, "it can't be opened") from error


def peek(path: Path) -> Peek:
    """Read a CSV file once to its end: verify gzip's sums, refuse what is no text, learn the header.

    Raises:
        BillUnreadable: truncated, corrupt, binary, empty, or with a line of more than a megabyte.
    """
    try:
        packed = is_gzip(path)
        told = None if packed else hashlib.sha256()
        with gzip.open(path) if packed else path.open("rb", buffering=0) as whole:
            begin = _scanned(path.name, whole, told)
        sha256 = told.hexdigest() if told else digest(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BillUnreadable(path.name, "its gzip stream is truncated or corrupt") from error
    except OSError as error:
        raise BillUnreadable(path.name, "it can't be opened") from error
    return Peek(*_header(path.name, begin), sha256)


def _scanned(bill: str, whole: gzip.GzipFile | io.FileIO, told: "hashlib._Hash | None") -> bytes:
    """Read all pieces once, into the digest too where it is asked for; give the first megabyte."""
    begin, behind = b"", 0
    while piece := whole.read(_PIECE):
        if told:
            told.update(piece)
        if len(begin) < _PIECE:
            begin += piece
        if b"\0" in piece:
            raise BillUnreadable(bill, "it holds zero bytes and is no text")
        first, last = piece.find(b"\n"), piece.rfind(b"\n")
        if first < 0:
            behind += len(piece)
        if behind + max(first, 0) > MAX_LINE_BYTES:
            raise BillUnreadable(bill, "a line is longer than a megabyte")
        if first >= 0:
            behind = len(piece) - last
    return begin


def _header(bill: str, begin: bytes) -> tuple[tuple[str, ...], bool]:
    text = begin.decode("utf-8-sig", errors="replace")
    records = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(records, [])
        some = [record for record, _ in zip(records, range(1000), strict=False) if record]
    except csv.Error as error:
        raise BillUnreadable(bill, "its first lines are no CSV") from error
    if not any(name.strip() for name in header):
        raise BillUnreadable(bill, "it is empty")
    if len(begin) >= _PIECE:
        some = some[:-1]  # cut in two
    return tuple(header), bool(some) and all(len(record) < len(header) for record in some)


class Place(NamedTuple):
    """Where a record begins: its number after the header, its line, and its byte of the unpacked file."""

    record: int
    line: int
    byte: int


class _Counting:
    """Lines of a file as text, and how many bytes they were."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = iter(file)
        self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.bytes += len(line)
            yield line.decode("utf-8", errors="replace")


def places(path: Path) -> Iterator[Place]:
    """Walk through a file's records; blank lines are none. It ends where the csv module gives up."""
    with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
        lines = _Counting(file)
        reader = csv.reader(lines)
        number, line, byte = -1, 0, 0
        with contextlib.suppress(csv.Error):
            for record in reader:
                if record:
                    number += 1
                    yield Place(number, line + 1, byte)
                line, byte = reader.line_num, lines.bytes
