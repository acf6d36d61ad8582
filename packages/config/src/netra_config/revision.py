"""The values that cross the package's border: revisions, changes, faults, health; pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, SkipValidation

from netra_config.errors import InputRefused
from netra_config.layers import Path, Values, canonical, is_sealed, leaves, pointer

TenantId = NewType("TenantId", str)
MASK = "‹secret›"


class Environment(StrEnum):
    """Where the platform runs; each has settings and keys of its own."""

    TEST = "test"
    STAGING = "staging"
    PRODUCTION = "production"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class FaultKind(StrEnum):
    """Why a value does not load."""

    UNKNOWN = "unknown"  # the schema has no such field
    MISSING = "missing"  # a field without default that no layer sets
    INVALID = "invalid"
    UNREADABLE = "unreadable"  # a secret that does not open here


class Fault(_Frozen):
    """One reason why settings would not load; *path* is a JSON pointer into the document."""

    kind: FaultKind
    path: str
    problem: str


class Difference(_Frozen):
    """One value that differs; None stands for nothing there, and no secret is shown."""

    path: str
    before: str | None
    after: str | None


class Edit(_Frozen):
    """What to change.

    Args:
        set: values by path, ``limits.retries`` or ``/limits/retries``; a secret may be text or `SecretStr`.
        unset: paths to remove, so that lower layers show through.
        tenant: whose overlay is changed; the environment's own values without one.
        flags: flags by name, as JSON; None removes one.
    """

    # not validated by pydantic, whose message about a deep value is as long as the value
    set: SkipValidation[Mapping[str, JsonValue | SecretStr]] = Field(default={}, repr=False)
    unset: tuple[str, ...] = ()
    tenant: TenantId | None = None
    flags: SkipValidation[Mapping[str, JsonValue]] = Field(default={}, repr=False)


class Proposal(_Frozen):
    """What an edit would do: the differences, and every fault that keeps it from being committed."""

    base: int
    differences: tuple[Difference, ...]
    faults: tuple[Fault, ...]


class Revision(_Frozen):
    """One version of the dynamic layer; *document* is its text, byte for byte, secrets sealed."""

    version: int
    base: int
    author: str
    reason: str
    made_at: datetime
    restores: int | None = None
    differences: tuple[Difference, ...]
    document: str = Field(repr=False)


class Refused(_Frozen):
    """A revision that this process did not take up, and why."""

    version: int
    faults: tuple[Fault, ...]


class Health(_Frozen):
    """How current the settings in memory are.

    Args:
        confirmed_at: when PostgreSQL last said that *version* is the newest, or was refused here.
        age: the time since then; it grows while PostgreSQL is out of reach.
        listening: whether announcements come in; without, changes come with the next poll.
    """

    version: int
    confirmed_at: datetime
    age: timedelta
    listening: bool
    refused: Refused | None


@dataclass(frozen=True, slots=True)
class Document:
    """The dynamic layer: values, overlays by tenant, flags."""

    values: Values = field(default_factory=dict)
    tenants: Mapping[str, Values] = field(default_factory=dict)
    flags: Values = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a revision's text."""
        return cls(**json.loads(text))

    def whole(self) -> dict[str, JsonValue]:
        """Return it as one mapping."""
        return {"values": self.values, "tenants": self.tenants, "flags": self.flags}  # type: ignore[dict-item]

    def text(self) -> str:
        """Write it in the one way in which it is stored."""
        return canonical(self.whole())


def differences(before: Values, after: Values, *, visible: Callable[[Path], bool]) -> tuple[Difference, ...]:
    """Compare two documents leaf by leaf; what is not *visible*, and whatever is sealed, is masked."""
    old, new = (dict(leaves(side)) for side in (before, after))
    return tuple(
        Difference(
            path=pointer(path),
            before=told(old[path], masked=not visible(path)) if path in old else None,
            after=told(new[path], masked=not visible(path)) if path in new else None,
        )
        for path in sorted(old.keys() | new.keys())
        if len(path) > 1  # a section that is empty is no value
        and (path not in old or path not in new or canonical(old[path]) != canonical(new[path]))
    )


def told(value: JsonValue, *, masked: bool = False) -> str:
    """Write a value for people; of a sealed one only the key's name is told."""
    if is_sealed(value) and isinstance(value, Mapping):
        return f"‹sealed with {value['key']}›"
    return MASK if masked else canonical(value)


def check_text(text: str, what: str, *, most: int) -> None:
    """Refuse a text that PostgreSQL would not keep as it is, or that is empty or long."""
    if not text.strip() or len(text) > most:
        raise InputRefused(what, f"give 1 to {most} characters")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InputRefused(what, "leave out NUL and half characters")
