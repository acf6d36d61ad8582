"""netra_auth installs by itself, typed, and brings no neighbour along."""

import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files

import pytest
from pydantic import BaseModel

import netra_auth

NEIGHBOURS = {
    "netra_agents",
    "netra_config",
    "netra_sessions",
    "netra_tools",
    "netra_workflows",
}


def test_importing_the_package_imports_no_neighbour() -> None:
    """A domain can be installed and released alone, so a change next door cannot break it."""
    listing = subprocess.run(
        [sys.executable, "-c", "import netra_auth, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )

    assert "netra_auth" in listing.stdout.split()
    assert NEIGHBOURS.isdisjoint(listing.stdout.split())


def test_the_package_asks_for_no_test_tool() -> None:
    """Who installs the package for production gets no test kit with it."""
    asked = requires("netra-auth") or []

    assert not [requirement for requirement in asked if requirement.startswith(("netra-fixtures", "pytest"))]


@pytest.mark.parametrize(
    "policy",
    [
        netra_auth.FollowPolicy, netra_auth.GuessingPolicy, netra_auth.Limit, netra_auth.PasswordPolicy,
        netra_auth.RefreshPolicy, netra_auth.SignInPolicy, netra_auth.TokenPolicy, netra_auth.Totp,
    ],
)  # fmt: skip
def test_a_setting_that_is_misspelt_stops_the_start(policy: type[BaseModel]) -> None:
    """Who reads settings from a file and writes `minimum_lenght` is told, and doesn't run with the default."""
    needed = {"issuer": "netra", "audience": "netra", "failures": 5, "blocklist": {"password"}}
    known = {name: needed[name] for name in policy.model_fields.keys() & needed.keys()}
    policy.model_validate(known)

    with pytest.raises(ValueError, match="Extra inputs"):
        policy.model_validate({**known, "minimum_lenght": 15})


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    """A caller's type checker reads the annotations only where this marker is shipped."""
    assert files(netra_auth).joinpath("py.typed").is_file()
