"""A test reads and changes an environment of its own, typed, and the process's stays as it was."""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from netra_fixtures.environment import (
    EnvironmentVariableInvalid,
    EnvironmentVariableMissing,
    IsolatedEnvironment,
)

READS: dict[str, Callable[..., Any]] = {
    "require": IsolatedEnvironment.require,
    "int": IsolatedEnvironment.int,
    "float": IsolatedEnvironment.float,
    "bool": IsolatedEnvironment.bool,
    "duration": IsolatedEnvironment.duration,
    "url": IsolatedEnvironment.url,
    "json": IsolatedEnvironment.json,
}


@pytest.fixture
def environment() -> IsolatedEnvironment:
    return IsolatedEnvironment({"NETRA_COLOUR": "blue", "NETRA_EMPTY": ""})


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("require", " as it is ", " as it is "),
        ("int", "8", 8),
        ("int", "-12", -12),
        ("float", "1.5", 1.5),
        ("float", "1e3", 1000.0),
        ("bool", "true", True),
        ("bool", "ON", True),
        ("bool", "1", True),
        ("bool", "No", False),
        ("bool", "0", False),
        ("duration", "250ms", timedelta(milliseconds=250)),
        ("duration", "1.5s", timedelta(seconds=1.5)),
        ("duration", "1h30m", timedelta(minutes=90)),
        ("duration", "2d", timedelta(days=2)),
        ("url", "redis://localhost:6379/0", urlsplit("redis://localhost:6379/0")),
        ("url", "unix:///run/redis.sock", urlsplit("unix:///run/redis.sock")),
        ("json", '{"limit": [8, null]}', {"limit": [8, None]}),
    ],
)
def test_a_value_is_read_as_its_type(kind: str, text: str, value: object) -> None:
    """Every test reads `8` as the same number, with the same rules."""
    assert READS[kind](IsolatedEnvironment({"NETRA_X": text}), "NETRA_X") == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "8.5"),
        ("int", "1_000"),
        ("int", "٣"),
        ("int", "eight"),
        pytest.param("int", "9" * 5000, id="int-endless"),
        ("float", "nan"),
        ("float", "inf"),
        ("float", "fast"),
        ("bool", "maybe"),
        ("duration", "5"),
        ("duration", "5 s"),
        ("duration", "-5s"),
        ("duration", "5s later"),
        pytest.param("duration", "9" * 400 + "d", id="duration-endless"),
        ("url", "localhost"),
        ("url", "redis://"),
        ("url", "redis://localhost:port"),
        ("url", "redis://localhost:99999"),
        ("url", "redis://local\nhost"),
        ("url", "redis://[::1"),
        ("json", "{"),
        ("json", "NaN"),
        pytest.param("json", "[" * 100_000, id="json-endless"),
    ],
)
def test_a_value_of_another_type_names_the_variable_and_the_remedy(kind: str, text: str) -> None:
    """Who set it wrong learns which, and what to write."""
    with pytest.raises(EnvironmentVariableInvalid) as caught:
        READS[kind](IsolatedEnvironment({"NETRA_X": text}), "NETRA_X")

    assert caught.value.name == "NETRA_X"
    assert "write for example NETRA_X=" in str(caught.value)


@pytest.mark.parametrize("kind", sorted(READS.keys() - {"require"}))
def test_a_value_of_another_type_is_not_shown(kind: str) -> None:
    """A password set in the wrong variable does not end up in a log."""
    environment = IsolatedEnvironment({"NETRA_X": "s3cret"})

    with pytest.raises(EnvironmentVariableInvalid) as caught:
        READS[kind](environment, "NETRA_X")

    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize("name", ["NETRA_EMPTY", "NETRA_ABSENT"])
def test_a_variable_that_is_needed_and_missing_is_named(
    kind: str, name: str, environment: IsolatedEnvironment
) -> None:
    """A forgotten variable is one clear sentence."""
    with pytest.raises(EnvironmentVariableMissing, match=f"{name} is not set, or empty; set it") as caught:
        READS[kind](environment, name)

    assert caught.value.name == name


def test_a_default_stands_in_for_what_is_not_set(environment: IsolatedEnvironment) -> None:
    """Falsy defaults count as well."""
    url = urlsplit("redis://localhost")

    assert environment.get("NETRA_ABSENT") is None
    assert environment.get("NETRA_ABSENT", "none") == "none"
    assert environment.int("NETRA_ABSENT", 0) == 0
    assert environment.float("NETRA_ABSENT", 0.0) == 0.0
    assert environment.bool("NETRA_ABSENT", default=False) is False
    assert environment.duration("NETRA_ABSENT", timedelta(0)) == timedelta(0)
    assert environment.url("NETRA_ABSENT", url) is url
    assert environment.json("NETRA_ABSENT", []) == []


def test_an_address_of_another_scheme_is_refused() -> None:
    """A Redis address in PostgreSQL's variable is told as that, not as a driver's error."""
    environment = IsolatedEnvironment({"NETRA_POSTGRES_URL": "redis://localhost"})

    with pytest.raises(EnvironmentVariableInvalid, match="starts with postgres or postgresql://"):
        environment.url("NETRA_POSTGRES_URL", schemes={"postgresql", "postgres"})


def test_the_processs_environment_is_neither_changed_nor_followed() -> None:
    """A test's settings can't leak into its neighbours, nor theirs into it."""
    before = dict(os.environ)
    environment = IsolatedEnvironment(os.environ)

    environment.set("NETRA_X", "1")
    environment.unset("PATH")

    assert dict(os.environ) == before
    assert environment.get("NETRA_X") == "1"
    assert environment.get("PATH") is None


def test_changes_are_undone_at_the_end(environment: IsolatedEnvironment) -> None:
    """Also those of a block that failed: set, changed and unset variables are as before."""
    before = environment.for_process()

    def change_and_fail() -> None:
        with environment:
            environment.set("NETRA_COLOUR", "red")
            environment.set("NETRA_NEW", "1")
            environment.unset("NETRA_EMPTY")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()

    assert environment.for_process() == before


def test_overrides_end_with_their_block_and_nest(environment: IsolatedEnvironment) -> None:
    """A test says what differs for a few lines, and gets back what was there."""
    seen = []
    with environment.override({"NETRA_COLOUR": "red", "NETRA_EMPTY": None}):
        with environment.override({"NETRA_COLOUR": "green"}):
            seen.append(dict(environment.as_mapping()))
        seen.append(environment.for_process())

    assert seen == [{"NETRA_COLOUR": "green"}, {"NETRA_COLOUR": "red"}]
    assert environment.for_process() == {"NETRA_COLOUR": "blue", "NETRA_EMPTY": ""}


def test_a_view_follows_and_cannot_be_written(environment: IsolatedEnvironment) -> None:
    """Code under test can read the environment it is given, and nothing else."""
    view = environment.as_mapping()
    environment.set("NETRA_COLOUR", "red")

    assert view["NETRA_COLOUR"] == "red"
    with pytest.raises(TypeError):
        view["NETRA_COLOUR"] = "blue"  # type: ignore[index]


def test_a_process_sees_it_and_the_copy_stays_apart() -> None:
    """A program that a test starts gets the test's settings."""
    environment = IsolatedEnvironment(os.environ)
    environment.set("NETRA_COLOUR", "blå")
    program = "import json, os; print(json.dumps(dict(os.environ)))"

    given = environment.for_process()
    seen = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, check=True)
    given["NETRA_COLOUR"] = "red"

    assert json.loads(seen.stdout)["NETRA_COLOUR"] == "blå"
    assert environment.get("NETRA_COLOUR") == "blå"


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")])
def test_what_no_process_could_take_is_refused(name: str, value: str) -> None:
    """A name or value that the operating system refuses is told where it was set."""
    with pytest.raises(ValueError, match="environment variable"):
        IsolatedEnvironment({}).set(name, value)


def test_values_stay_out_of_its_repr() -> None:
    """Secrets in the environment do not end up in a failed assertion."""
    assert "s3cret" not in repr(IsolatedEnvironment({"NETRA_PASSWORD": "s3cret"}))
