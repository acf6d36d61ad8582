"""What can't be undone asks for a proof of a moment ago."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netra_auth import Method, Principal, SessionId, StepUpRequired, TenantId, TokenId, UserId, require_recent
from netra_fixtures import ManualClock

NOW = ManualClock().now()
WITHIN = timedelta(minutes=5)


@given(st.sets(st.sampled_from(Method)), st.timedeltas(timedelta(0), timedelta(days=1)))
def test_only_a_recent_second_factor_is_enough(methods: set[Method], ago: timedelta) -> None:
    """A stolen session, or a stolen password, does not delete what a company owns."""
    principal = Principal(
        user=UserId("alice"), tenant=TenantId("acme"), session=SessionId("s"), token=TokenId("t"),
        roles=frozenset(), methods=frozenset(methods), authenticated_at=NOW - ago, issued_at=NOW,
        expires_at=NOW + WITHIN,
    )  # fmt: skip
    enough = ago <= WITHIN and bool(methods - {Method.PASSWORD})

    if enough:
        require_recent(principal, within=WITHIN, now=NOW)
    else:
        with pytest.raises(StepUpRequired) as refused:
            require_recent(principal, within=WITHIN, now=NOW)
        assert refused.value.within == WITHIN
