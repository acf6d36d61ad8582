"""The one reader of environment variables in tests: a private copy, read typed, and its changes undone."""

import builtins
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import MappingProxyType, TracebackType
from typing import NoReturn, Self, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import JsonValue

from netra_fixtures.errors import NetraFixturesError

T = TypeVar("T")

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
TIME_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


class EnvironmentVariableMissing(NetraFixturesError):
    """A variable that has to be set is not, or is empty."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the environment variable {name} is not set, or empty; set it")
        self.name = name


class EnvironmentVariableInvalid(NetraFixturesError):
    """A variable's value cannot be read as what it is for; the value stays untold, for it may be a secret."""

    def __init__(self, name: str, *, expected: str, example: str) -> None:
        super().__init__(
            f"the environment variable {name} is not {expected}; "
            f"write for example {name}={example}, or unset it"
        )
        self.name = name
        self.expected = expected


class IsolatedEnvironment:
    """A copy of an environment that a test reads and changes, while the process keeps its own.

    A default stands in for a variable that is not set; without one, a typed read raises
    `EnvironmentVariableMissing`, as it does for an empty value. A value of another type raises
    `EnvironmentVariableInvalid`.

    Args:
        base: what it starts from, such as `os.environ`; it is copied, and never changed.
    """

    def __init__(self, base: Mapping[str, str]) -> None:
        self._variables = dict(base)
        self._saved: list[dict[str, str]] = []

    def __repr__(self) -> str:
        return f"IsolatedEnvironment({len(self._variables)} variables)"

    def __enter__(self) -> Self:
        self._saved.append(dict(self._variables))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        saved = self._saved.pop()
        self._variables.clear()
        self._variables.update(saved)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the text of *name*, which may be empty, or *default* if it is not set."""
        return self._variables.get(name, default)

    def require(self, name: str) -> str:
        """Return the text of *name*."""
        if not (text := self._variables.get(name)):
            raise EnvironmentVariableMissing(name)
        return text

    def int(self, name: str, default: builtins.int | None = None) -> builtins.int:
        """Read a whole number."""
        return self._read(name, default, _whole_number, expected="a whole number", example="8")

    def float(self, name: str, default: builtins.float | None = None) -> builtins.float:
        """Read a finite number."""
        return self._read(name, default, _finite_number, expected="a finite number", example="1.5")

    def bool(self, name: str, default: builtins.bool | None = None) -> builtins.bool:
        """Read yes or no, in any case: 1, true, yes, on; 0, false, no, off."""
        return self._read(
            name, default, _yes_or_no, expected="one of true, yes, on, 1, false, no, off, 0", example="true"
        )

    def duration(self, name: str, default: timedelta | None = None) -> timedelta:
        """Read a time span of numbers with units, ms, s, m, h or d: "250ms", "1.5s", "1h30m"."""
        expected = "a time span with its unit (ms, s, m, h or d)"
        return self._read(name, default, _time_span, expected=expected, example="1.5s")

    def url(
        self, name: str, default: SplitResult | None = None, *, schemes: Set[str] = frozenset()
    ) -> SplitResult:
        """Read an address: a scheme, one of *schemes* where given, and a host or a path."""
        example = f"{min(schemes, default='https')}://localhost:4321/name"
        expected = f"an address that starts with {' or '.join(sorted(schemes)) or 'a scheme'}://"
        return self._read(name, default, partial(_address, schemes), expected=expected, example=example)

    def json(self, name: str, default: JsonValue = None) -> JsonValue:
        """Read JSON of any type."""
        read = self._read(name, default, _json_value, expected="JSON", example='{"limit": 8}')
        return cast(JsonValue, read)

    def set(self, name: str, value: str) -> None:
        """Give *name* a value."""
        _check(name, value)
        self._variables[name] = value

    def unset(self, name: str) -> None:
        """Remove *name*, set or not."""
        self._variables.pop(name, None)

    @contextmanager
    def override(self, changes: Mapping[str, str | None]) -> Iterator[None]:
        """Set variables, or unset those given as None; what changes in the block is undone after it."""
        with self:
            for name, value in changes.items():
                if value is None:
                    self.unset(name)
                else:
                    self.set(name, value)
            yield

    def as_mapping(self) -> Mapping[str, str]:
        """Return a view that follows later changes and allows none, for code that takes its environment."""
        return MappingProxyType(self._variables)

    def for_process(self) -> dict[str, str]:
        """Return a copy as it stands, for the `env` of a process to start."""
        return dict(self._variables)

    def _read(
        self, name: str, default: T | None, parse: Callable[[str], T], *, expected: str, example: str
    ) -> T:
        if default is not None and name not in self._variables:
            return default
        text = self.require(name)
        try:
            return parse(text)
        except (ValueError, OverflowError, RecursionError):
            raise EnvironmentVariableInvalid(name, expected=expected, example=example) from None


def _check(name: str, value: str) -> None:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot name an environment variable; it is empty, or holds = or NUL")
    if "\0" in value:
        raise ValueError(f"the environment variable {name} cannot hold NUL")


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError
    return int(text)


def _finite_number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _yes_or_no(text: str) -> bool:
    if (word := text.lower()) not in TRUE | FALSE:
        raise ValueError
    return word in TRUE


def _time_span(text: str) -> timedelta:
    parts = TIME_SPAN.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError
    return sum((float(number) * UNITS[unit] for number, unit in parts), timedelta())


def _address(schemes: Set[str], text: str) -> SplitResult:
    url = urlsplit(text)
    known = url.scheme in schemes if schemes else url.scheme
    # urlsplit drops line breaks, and reads the port only when asked
    if not known or not (url.hostname or url.path) or not text.isprintable() or " " in text or url.port == 0:
        raise ValueError
    return url


def _json_value(text: str) -> JsonValue:
    return cast(JsonValue, json.loads(text, parse_constant=_refuse))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
