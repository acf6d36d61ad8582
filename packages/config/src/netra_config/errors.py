"""What can go wrong with settings.

ConfigError
├── InputRefused         an author, reason, tenant or path that can't be kept as it is
├── RevisionInvalid      the change would not load; every fault of it at once
├── VersionConflict
├── RevisionNotFound
├── SecretRefused        a sealed value that this environment can't open
│   ├── ForeignKey
│   ├── UnknownKey
│   └── SealBroken
├── FlagNotFound
├── NotPermitted         the database role may not do this
└── StoreUnavailable
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netra_config.revision import Fault

_NAMED = 20  # faults in a message; all are in the attribute
_LONGEST = 200  # characters of what somebody typed


class ConfigError(Exception):
    """Base of every error that netra_config raises on purpose."""


class InputRefused(ConfigError, ValueError):
    """A text of the caller's can't be kept unchanged."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} can't be kept as it is; {remedy}")
        self.what = what


class RevisionInvalid(ConfigError):
    """A revision does not load under this schema."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        listed = "; ".join(f"{brief(fault.path) or '/'}: {brief(fault.problem)}" for fault in faults[:_NAMED])
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        super().__init__(f"the settings would not load: {listed}{more}; correct these and propose it again")
        self.faults = tuple(faults)


class VersionConflict(ConfigError):
    """Somebody else changed the settings since the version that the change was based on."""

    def __init__(self, base: int, current: int) -> None:
        super().__init__(
            f"the change is based on version {base} and the settings are at version {current}; "
            f"look at what changed and base it on version {current}"
        )
        self.base = base
        self.current = current


class RevisionNotFound(ConfigError):
    """No revision has this version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"there is no version {version}; look for one in the history")
        self.version = version


class SecretRefused(ConfigError):
    """A sealed value does not open here."""


class ForeignKey(SecretRefused):
    """A key of another environment, or a secret sealed with one."""

    def __init__(self, key: str, environment: str) -> None:
        super().__init__(
            f"key {key} does not belong in {environment}; seal the secret with a key of {environment}"
        )
        self.key = key
        self.environment = environment


class UnknownKey(SecretRefused):
    """A secret was sealed with a key that this process was not given."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key} was not given to this process; add it, or seal the secret anew")
        self.key = key


class SealBroken(SecretRefused):
    """A sealed value was altered, moved from another place, or sealed with other bytes under the same name."""

    def __init__(self, key: str) -> None:
        super().__init__(f"a value sealed with {key} does not open in this place; seal the secret anew")
        self.key = key


class FlagNotFound(ConfigError):
    """No flag has this name in the present revision."""

    def __init__(self, flag: str) -> None:
        super().__init__("the present revision has no flag of that name; define it, or correct the name")
        self.flag = flag


class NotPermitted(ConfigError):
    """The role with which this process reaches PostgreSQL lacks the right."""

    def __init__(self) -> None:
        super().__init__("the database role may not do this; use one with the grants that it needs")


class StoreUnavailable(ConfigError):
    """A store did not answer within the deadline; of a change nothing can be said but by reading the history."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store


def brief(text: str) -> str:
    """Write what somebody typed for people: short, and without what a terminal or a log would obey."""
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")
