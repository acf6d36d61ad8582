"""What an operator may set is checked when it is set."""

import pytest
from pydantic import BaseModel

import netra_auth


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
