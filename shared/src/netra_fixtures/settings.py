"""What a person chose: options, ini values and NETRA_* variables, each read once."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from netra_fixtures.errors import SettingInvalid

if TYPE_CHECKING:
    import pytest

BACKENDS = ("auto", "external", "compose", "embedded")
REDIS_ENGINES = ("valkey", "redis")


@dataclass(frozen=True)
class Settings:
    """The choices of one run, the same in every worker.

    Attributes:
        migrations: ``module:function`` names that replace those of the entry points ``netra.migrations``.
        cache: where clusters that hold a migrated template are kept; None where nothing may be reused.
        time_factor: multiplies every deadline and budget.
        strict: nothing that can't start is skipped, since a backend was named or ``CI`` is set.
        root: the folder whose compose.yaml counts, if it is one for the kit.
    """

    backend: str
    redis: str
    postgres_url: str | None
    redis_url: str | None
    migrations: tuple[str, ...]
    cache: Path | None
    time_factor: float
    strict: bool
    root: Path

    def to_json(self) -> dict[str, Any]:
        """Give what `from_json` reads."""
        return asdict(self) | {"cache": str(self.cache) if self.cache else None, "root": str(self.root)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        cache = told["cache"]
        read = {"migrations": tuple(told["migrations"]), "root": Path(told["root"])}
        return cls(**{**told, **read, "cache": Path(cache) if cache else None})


def add_options(parser: "pytest.Parser") -> None:
    """Declare the kit's options and ini values."""
    group = parser.getgroup("netra", "real services")
    add = group.addoption
    add(
        "--services",
        default=None,
        metavar="|".join(BACKENDS),
        help="where PostgreSQL and Redis come from (auto)",
    )
    add(
        "--redis",
        default=None,
        metavar="|".join(REDIS_ENGINES),
        help="the engine that the kit starts (valkey)",
    )
    add("--seed", type=int, default=None, help="the run's seed; drawn and printed where it isn't given")
    add("--random-order", action="store_true", help="run the tests in an order drawn from the seed")
    add("--enforce-budgets", action="store_true", help="fail the run when a budget doesn't hold")
    add("--keep-failed", action="store_true", help="keep the database and the keys of each test that fails")
    add("--report-dir", default=None, help="where the report goes (reports/latest)")
    add("--time-factor", type=float, default=None, help="multiply every deadline and budget (1)")
    parser.addini("netra_migrations", "module:function of each schema's migrations", type="args", default=[])
    parser.addini(
        "netra_require_value", "refuse integration tests without business_value", type="bool", default=False
    )


def read(config: "pytest.Config", environ: Mapping[str, str] = os.environ) -> Settings:
    """Gather the settings of a run.

    Raises:
        SettingInvalid: a value isn't one of those possible.
    """
    named = config.getoption("services") or environ.get("NETRA_SERVICES")
    backend = _one_of(config, "services", environ, BACKENDS)
    _folder("NETRA_TEST_DATA", environ)
    ci = bool(environ.get("CI"))
    return Settings(
        backend=backend,
        redis=_one_of(config, "redis", environ, REDIS_ENGINES),
        postgres_url=environ.get("NETRA_POSTGRES_URL") if backend in {"auto", "external"} else None,
        redis_url=environ.get("NETRA_REDIS_URL") if backend in {"auto", "external"} else None,
        migrations=tuple(config.getini("netra_migrations")),
        cache=None if ci else cache_folder(environ),
        time_factor=_time_factor(config.getoption("time_factor"), environ.get("NETRA_TIME_FACTOR")),
        strict=ci or (named is not None and backend != "auto"),
        root=config.rootpath,
    )


def cache_folder(environ: Mapping[str, str]) -> Path | None:
    """Say where the kit keeps what outlives a run; None for a user without a home."""
    named = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return None if named.startswith("~") else Path(named, "netra-fixtures")


def _one_of(
    config: "pytest.Config", option: str, environ: Mapping[str, str], allowed: tuple[str, ...]
) -> str:
    """Take the option, else the variable of its name, else the first that is allowed."""
    variable = f"NETRA_{option.upper()}"
    given: str | None = config.getoption(option)
    name, value = (f"--{option}", given) if given else (variable, environ.get(variable) or allowed[0])
    if value not in allowed:
        raise SettingInvalid(name, f"{value!r} is not known", f"use one of {', '.join(allowed)}")
    return value


def _folder(variable: str, environ: Mapping[str, str]) -> None:
    named = environ.get(variable)
    if named and not Path(named).is_dir():
        raise SettingInvalid(variable, f"there is no folder {named}", "correct it, or unset it")


def _time_factor(option: float | None, variable: str | None) -> float:
    name = "--time-factor"
    if option is None and variable:
        name = "NETRA_TIME_FACTOR"
        try:
            option = float(variable)
        except ValueError:
            raise SettingInvalid(name, f"{variable!r} is no number", "give one such as 2") from None
    factor = 1.0 if option is None else option
    if not 0 < factor < 1000:
        raise SettingInvalid(name, f"{factor:g} is out of range", "give a number above 0 and below 1000")
    return factor
